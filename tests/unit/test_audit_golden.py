"""The worked example of facts/audit-log.md 6.0: whoever builds the log again must get these bytes."""

from __future__ import annotations

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, KeyRange, open_checkpoint
from dezky_operator.audit.commitments import commitment, pseudonym
from dezky_operator.audit.draft import Place, prepare, sequenced
from dezky_operator.audit.event import Event, Outcome, dedupe_key
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.keys import hmac_key, log_key, parse_vkey, time_key
from dezky_operator.audit.line import GENESIS, decode, encode
from dezky_operator.audit.merkle import leaf_hash, root_of
from dezky_operator.audit.note import parse
from tests.audit import golden
from tests.audit.events import login, own, ring, signers

LEAVES = [bytes.fromhex(leaf) for leaf in golden.LEAVES]
SALTS = {"actor.email": b"\x40" * 16, "actor.id": b"\x41" * 16, "raw": b"\x42" * 16, "tenant.slug": b"\x43" * 16}


def test_line_0_is_the_start_of_the_log() -> None:
    event = own("log.start:1", "log.start", data={"version": "1.0.0"})
    assert written(event, 0, GENESIS, 0, GENESIS, "2026-11-24T04:00:00.000100Z") == golden.LINES[0]


def test_line_1_is_the_sign_in_of_a_person() -> None:
    assert written(login(), 1, LEAVES[0], 0, GENESIS, "2026-11-24T04:00:01.000200Z") == golden.LINES[1]


def test_line_2_is_a_step_of_the_operator() -> None:
    at = "2026-11-24T04:00:02.000000Z"
    event = own(
        "s-7:intent",
        "step.intent",
        at=at,
        recv=at,
        outcome=Outcome.UNKNOWN,
        resource_type="group",
        tenant=golden.TENANT,
        partner=golden.PARTNER,
        data={"key": "authentik/group/users", "step": "s-7", "verb": "create"},
    )
    assert written(event, 2, LEAVES[1], 1, LEAVES[1], at) == golden.LINES[2]


def written(event: Event, seq: int, prev: bytes, t_seq: int, t_prev: bytes, rec: str) -> bytes:
    """The event's line under the keys and salts of the example."""
    fresh = b"".join(SALTS[path] for path in event.values) + SALTS["raw"] + bytes(12)
    draft = prepare(event, keys=ring(golden.SUBJECT_KEY), random=lambda count: fresh[-count:])
    return encode(sequenced(draft, Place(golden.ORIGIN, seq, prev, t_seq, t_prev, rec)))


def test_lines_are_read_back_and_make_the_same_bytes() -> None:
    assert [encode(decode(line)) for line in golden.LINES] == list(golden.LINES)
    assert [decode(line).seq for line in golden.LINES] == [0, 1, 2]


def test_leaves_and_root() -> None:
    assert [leaf_hash(line).hex() for line in golden.LINES] == list(golden.LEAVES)
    assert root_of(LEAVES).hex() == golden.ROOT


def test_map_of_tenants() -> None:
    heads = [Head(golden.TENANT, 1, LEAVES[2]), Head("", 0, LEAVES[0])]
    found = TenantMap(heads)
    assert [head.leaf.hex() for head in found.heads] == list(golden.MAP_LEAVES)
    assert found.root.hex() == golden.MAP_ROOT


def test_dedupe_key_pseudonym_and_commitment() -> None:
    assert dedupe_key("authentik-main", "3f").hex() == golden.DK
    assert login().dk.hex() == golden.DK
    assert pseudonym(golden.SUBJECT_KEY, "42") == "d43f226259dba932"
    assert commitment(b"\x40" * 16, "actor.email", b"ann@acme.test") == decode(golden.LINES[1]).c["actor.email"]


def test_keys_and_their_printed_form() -> None:
    key = log_key(golden.ORIGIN, golden.LOG_SEED).verify_key
    assert key.public.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert (key.id.hex(), key.vkey) == ("48a3fb43", golden.VKEY)
    assert parse_vkey(golden.VKEY) == key
    assert hmac_key(golden.ORIGIN, 1, golden.SECRET).id.hex() == "e9415462"
    assert time_key(golden.ORIGIN, golden.TIME_SEED).verify_key.id.hex() == "f8103108"


def test_checkpoint_with_all_three_signatures() -> None:
    checkpoint = Checkpoint(golden.ORIGIN, 3, bytes.fromhex(golden.ROOT))
    assert signers().sign(checkpoint, golden.SECONDS) == golden.NOTE
    assert parse(golden.NOTE).encode() == golden.NOTE


def test_checkpoint_opens_under_its_vkey() -> None:
    time = time_key(golden.ORIGIN, golden.TIME_SEED).verify_key
    hmac = hmac_key(golden.ORIGIN, 1, golden.SECRET)
    chain = KeyChain([KeyRange(parse_vkey(golden.VKEY))])
    opened = open_checkpoint(golden.NOTE, chain=chain, cosigners=[time], hmacs=[hmac])
    assert (opened.checkpoint.size, opened.checkpoint.root.hex()) == (3, golden.ROOT)
    assert opened.verified.time == golden.SECONDS
    assert opened.verified.hmacs == (hmac.name,)
    assert opened.verified.unknown == ()
    alone = open_checkpoint(golden.NOTE, chain=chain).verified
    assert alone.unknown == (hmac.name, time.name)
