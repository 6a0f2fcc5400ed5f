"""Events, drafts and whole little logs for the audit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from dezky_operator.audit.checkpoint import Checkpoint, Signers
from dezky_operator.audit.draft import Draft, Place, prepare, sequenced
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keys import hmac_key, log_key, time_key
from dezky_operator.audit.line import GENESIS, encode
from dezky_operator.audit.merkle import leaf_hash, root_of
from dezky_operator.audit.times import TimeSource, from_unix_ns
from tests.audit.golden import LOG_SEED, ORIGIN, PARTNER, RAW, SECRET, TENANT, TIME_SEED

AT = "2026-11-24T04:00:00.000000Z"


def ring(everybody: bytes | None = None) -> KeyRing:
    """Keys made from the names of people and tenants, or one key for everybody."""
    return KeyRing(
        lambda tenant, subject: everybody or sha256(f"{tenant}/{subject}".encode()).digest(),
        lambda tenant: sha256(tenant.encode()).digest(),
    )


def counting(start: int = 0) -> Callable[[int], bytes]:
    """A generator whose n-th answer is n again and again: tests see which salt went where."""
    numbers = iter(range(start, 1 << 30))
    return lambda count: bytes([next(numbers) % 256]) * count


def login(ext: str = "3f", /, **changed: object) -> Event:
    """A sign-in of ann, as the worked example has it."""
    fields: dict[str, object] = {
        "src": "authentik-main",
        "source": "authentik",
        "ext": ext,
        "action": "authentik.login",
        "outcome": Outcome.SUCCESS,
        "at": "2026-11-24T03:59:58.123456Z",
        "time_source": TimeSource.SOURCE,
        "recv": "2026-11-24T04:00:01.000000Z",
        "actor_type": "user",
        "resource_type": "application",
        "tenant": TENANT,
        "partner": PARTNER,
        "data": {"method": "password"},
        "values": {"actor.email": "ann@acme.test", "actor.id": "42", "tenant.slug": "acme"},
        "raw": RAW,
    }
    return Event(**(fields | changed))  # type: ignore[arg-type]  # the test says what it changes


def own(ext: str, action: str, **changed: object) -> Event:
    """An event of the operator's own."""
    fields: dict[str, object] = {
        "src": "operator",
        "source": "operator",
        "ext": ext,
        "action": action,
        "outcome": Outcome.SUCCESS,
        "at": AT,
        "time_source": TimeSource.SOURCE,
        "recv": AT,
        "actor_type": "operator",
    }
    return Event(**(fields | changed))  # type: ignore[arg-type]  # the test says what it changes


def drafted(event: Event) -> Draft:
    """The event ready for its place."""
    return prepare(event, keys=ring(), random=counting())


def log_of(events: Iterable[Event], recs: Sequence[str] = ()) -> list[bytes]:
    """The lines of a log of these events, from seq 0."""
    lines: list[bytes] = []
    prev, heads = GENESIS, dict[str, tuple[int, bytes]]()
    for seq, event in enumerate(events):
        t_seq, t_prev = heads.get(event.tenant, (0, GENESIS))
        rec = recs[seq] if recs else from_unix_ns(1_795_492_801_000_000_000 + seq * 1_000_000)
        line = encode(sequenced(drafted(event), Place(ORIGIN, seq, prev, t_seq, t_prev, rec)))
        lines.append(line)
        prev = leaf_hash(line)
        heads[event.tenant] = (t_seq + 1, prev)
    return lines


def signers() -> Signers:
    """All three keys of the worked example."""
    return Signers((log_key(ORIGIN, LOG_SEED),), time_key(ORIGIN, TIME_SEED), hmac_key(ORIGIN, 1, SECRET))


def note_of(lines: Sequence[bytes], seconds: int = 1_795_492_900) -> bytes:
    """A checkpoint over these lines."""
    return signers().sign(Checkpoint(ORIGIN, len(lines), root_of([leaf_hash(line) for line in lines])), seconds)
