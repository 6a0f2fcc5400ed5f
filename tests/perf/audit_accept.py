"""How many events a second become lines of the tree, and how many lines a second are verified, on one core.

    python -m tests.perf.audit_accept [EVENTS]

CPU time, the best of some rounds. Accepting is all there is before the store: parse the source's text, make the event,
commit, line, hash, tree. Two figures more have what not every event goes through: the sealing of the text, and the
inbox's encoding and back, which MongoDB needs and SQLite does not. Beside it a loop that only parses, sorts and hashes
the same texts, in turns with it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

import msgspec

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.draft import Draft, Place, prepare, sequenced
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.audit.line import GENESIS, encode
from dezky_operator.audit.merkle import Frontier, leaf_hash
from dezky_operator.audit.randomness import Randomness
from dezky_operator.audit.times import from_source, from_unix_ns
from dezky_operator.audit.verify import verify_lines
from tests.audit.corpus import SECOND
from tests.audit.golden import ORIGIN, VKEY
from tests.perf.figure import Figure

EVENTS, ROUNDS, TENANTS, PEOPLE, TOGETHER = 20_000, 5, 200, 2_000, 500
START = 1_795_492_801_000_000_000


class Text(msgspec.Struct):
    """What is read of an event of Authentik."""

    pk: str
    action: str
    created: str
    client_ip: str
    user: dict[str, str | int]
    context: dict[str, str]


READ = msgspec.json.Decoder(Text)
INBOX, OUTBOX = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Draft)
SORTED = msgspec.json.Encoder(order="sorted")
UIDS = [f"5e298916-14cb-5616-8a85-{n:012x}" for n in range(TENANTS)]


def main(count: int) -> None:
    """Print the figures."""
    texts = [text_of(n) for n in range(count)]
    lines = list(log_of(texts, sealed=False))
    rate = {
        name: max(count / seconds(action) for _ in range(ROUNDS))
        for name, action in {
            "bare": lambda: bare(texts),
            "accept": lambda: deque(log_of(texts, sealed=False), maxlen=0),
            "inbox": lambda: deque(log_of(texts, sealed=False, inbox=True), maxlen=0),
            "sealed": lambda: deque(log_of(texts, sealed=True), maxlen=0),
            "first": lambda: verify_lines(lines, [], chain=KeyChain([KeyRange(parse_vkey(VKEY))])),
            "second": lambda: walk(lines),
        }.items()
    }
    size = f"lines of {sum(map(len, lines)) // count} B, texts of {sum(map(len, texts)) // count} B"
    loop = "bare parse, sort and hash"
    show(f"audit: accept, {size}", rate["accept"], 75_000, loop, rate["bare"])
    show("audit: accept, share of the bare loop", rate["accept"] / rate["bare"], 0.20, loop, 1.0, "ratio")
    show("audit: accept, text sealed", rate["sealed"], 75_000, "without sealing", rate["accept"])
    show("audit: accept, through the inbox", rate["inbox"], 75_000, "without the inbox", rate["accept"])
    show("audit: verify lines in memory, canonical check", rate["first"], 150_000, "second verifier", rate["second"])
    show("audit: second verifier, lines in memory", rate["second"], 80_000, "first verifier", rate["first"])


def show(name: str, value: float, budget: float, beside: str, peer: float, unit: str = "1/s") -> None:
    """One figure of which more is better."""
    Figure(name=name, value=value, unit=unit, budget=budget, beside=beside, peer=peer, better="higher").show()


def seconds(action: Callable[[], object]) -> float:
    """CPU time of one round."""
    before = time.process_time()
    action()
    return time.process_time() - before


def text_of(n: int) -> bytes:
    """The n-th event as Authentik writes it, a little shorter than most."""
    person = n % PEOPLE
    return msgspec.json.encode(
        {
            "pk": f"{n:032x}",
            "action": "login",
            "app": "authentik.events.signals",
            "created": from_unix_ns(START + n * 1_000_000),
            "client_ip": f"10.0.{n % 256}.{person % 199}",
            "user": {"pk": person, "email": f"person{person}@acme.test", "username": f"person{person}"},
            "context": {"auth_method": "password", "geo": "DE", "http_request": "/api/v3/flows/executor/" + "x" * 120},
            "brand": {"pk": "aa", "name": "dezky", "domain": "id.dezky.test", "flow": "default-authentication-flow"},
        }
    )


def events(texts: Sequence[bytes], *, sealed: bool) -> Iterator[Event]:
    """The texts as events with two to four personal values."""
    for n, text in enumerate(texts):
        if n % TOGETHER == 0:
            recv = from_unix_ns(START + n * 1_000_000)
        read = READ.decode(text)
        at, time_source = from_source(read.created)
        values = {"actor.id": str(read.user["pk"]), "tenant.slug": "acme"}
        if n % 3:
            values["actor.email"] = str(read.user["email"])
        if n % 3 == 1:
            values["actor.ip"] = read.client_ip
        yield Event(
            src="authentik-main",
            source="authentik",
            ext=read.pk,
            action="authentik.login",
            outcome=Outcome.SUCCESS,
            at=at,
            time_source=time_source,
            recv=recv,
            actor_type="user",
            resource_type="application",
            tenant=UIDS[n % TENANTS],
            data={"method": read.context["auth_method"]},
            values=values,
            raw=text if sealed else b"",
        )


def log_of(texts: Sequence[bytes], *, sealed: bool, inbox: bool = False) -> Iterator[bytes]:
    """The texts as lines, linked, hashed and in the tree."""
    ring = KeyRing(lambda tenant, subject: sha256(f"{tenant}/{subject}".encode()).digest(), lambda _: bytes(32))
    random = Randomness(os.urandom)
    tree, prev, heads = Frontier(), GENESIS, dict[str, tuple[int, bytes]]()
    for seq, event in enumerate(events(texts, sealed=sealed)):
        draft = prepare(event, keys=ring, random=random)
        if inbox:
            draft = OUTBOX.decode(INBOX.encode(draft))
        t_seq, t_prev = heads.get(draft.tenant, (0, GENESIS))
        line = encode(sequenced(draft, Place(ORIGIN, seq, prev, t_seq, t_prev, draft.at)))
        prev = leaf_hash(line)
        tree.append(prev)
        heads[draft.tenant] = (t_seq + 1, prev)
        yield line


def bare(texts: Sequence[bytes]) -> None:
    """The least that any log of canonical JSON does."""
    for text in texts:
        sha256(SORTED.encode(msgspec.json.decode(text))).digest()


def walk(lines: Sequence[bytes]) -> None:
    """The second verifier over the same lines."""
    log = SECOND.Log(ORIGIN, {})
    for line in lines:
        log.take(line)
    if log.findings:
        raise RuntimeError(f"the second verifier found {log.findings[0]}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
