"""What a source may hand over, and what of it reaches the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.commitments import blind_index, commitment, commitments
from dezky_operator.audit.draft import OVERSIZED, Draft, Place, longest, prepare, sequenced
from dezky_operator.audit.errors import EventError, SealError
from dezky_operator.audit.event import LARGEST_INT, PATHS, Event, check
from dezky_operator.audit.keyring import MOST, KeyRing
from dezky_operator.audit.line import GENESIS, LONGEST, decode, encode
from dezky_operator.audit.randomness import PAGE, Randomness
from dezky_operator.audit.sealing import CONTEXT, text_key, unseal
from dezky_operator.audit.times import TimeSource, from_source, from_unix_ns, is_canonical, written
from tests.audit.events import AT, counting, drafted, login, ring
from tests.audit.golden import ORIGIN, RAW, TENANT

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
LAST = Place(ORIGIN, LARGEST_INT, GENESIS, LARGEST_INT, GENESIS, AT)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": {"share": 1.0}}, "share must be text"),
        ({"data": {"share": float("nan")}}, "share must be text"),
        ({"data": {"share": None}}, "share must be text"),
        ({"data": {"share": ["a"]}}, "share must be text"),
        ({"data": {"bytes": LARGEST_INT + 1}}, "beyond 2\\^53-1"),
        ({"data": {"bytes": -LARGEST_INT - 1}}, "beyond 2\\^53-1"),
        ({"data": {"Bytes": 1}}, "must be made of a-z"),
        ({"data": {"$where": "1"}}, "must be made of a-z"),
        ({"data": {"": "1"}}, "must be made of a-z"),
        ({"data": {"a\0": "1"}}, "must be made of a-z"),
        ({"data": {"evt_id": "1"}}, "own evt_id"),
        ({"data": {"method": "\ud800"}}, "surrogate"),
        ({"values": {"actor.phone": "1"}}, "no commitment path"),
        ({"values": {"raw": "1"}}, "no commitment path"),
        ({"values": {"actor.id": 42}}, "must be text, found int"),
        ({"values": {"actor.email": "\udfff"}}, "surrogate"),
        ({"at": "2026-11-24T03:59:58Z"}, "times like"),
        ({"at": "2026-02-29T03:59:58.000000Z"}, "times like"),
        ({"at": ""}, "empty exactly"),
        ({"time_source": TimeSource.REC}, "empty exactly"),
        ({"time_source": TimeSource.CLAMPED}, "59.999999Z"),
        ({"recv": "2026-11-24 03:59:58.000000Z"}, "times like"),
        ({"recv": "2026-11-24T03:59:58.000000Z\n"}, "times like"),
        ({"src": ""}, "AuditSource"),
        ({"src": "a\0b"}, "AuditSource"),
        ({"source": "Authentik"}, "lower-case"),
        ({"ext": ""}, "ext must be"),
        ({"ext": "x" * 1_025}, "ext must be"),
        ({"ext": "\ud800"}, "surrogate"),
        ({"evt_id": "x" * 1_025}, "evt_id must be"),
        ({"action": ""}, "action"),
        ({"tenant": "acme"}, "uids"),
        ({"partner": TENANT.upper()}, "uids"),
    ],
)
def test_what_no_line_may_hold_is_refused_by_name(changed: dict[str, object], words: str) -> None:
    with pytest.raises(EventError, match=words):
        prepare(login(**changed), keys=ring(), random=counting())


def test_the_largest_numbers_and_truth_values_are_kept_as_they_are() -> None:
    data = {"high": LARGEST_INT, "low": -LARGEST_INT, "yes": True, "no": False, "zero": 0}
    line = decode(encode(sequenced(drafted(login(data=data)), LAST)))
    assert line.data == data
    assert [type(value) for value in line.data.values()] == [type(data[key]) for key in line.data]


def test_a_value_that_is_refused_is_not_in_the_message() -> None:
    with pytest.raises(EventError) as refused:
        check(login(values={"actor.id": b"ann@acme.test"}))
    assert "ann" not in str(refused.value)


def test_the_sender_id_goes_into_the_data_and_not_into_the_identity() -> None:
    plain, marked = drafted(login()), drafted(login(evt_id="e-1"))
    assert marked.data == {"method": "password", "evt_id": "e-1"}
    assert marked.dk == plain.dk


def test_a_draft_survives_the_inbox() -> None:
    draft = drafted(login(evt_id="e-1", people=("7",)))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(draft), type=Draft)
    assert kept == draft
    assert encode(sequenced(kept, LAST)) == encode(sequenced(draft, LAST))


def test_empty_values_have_no_commitment() -> None:
    draft = drafted(login(values={"actor.id": "42", "actor.email": ""}, raw=b""))
    assert set(draft.c) == set(draft.private.f) == {"actor.id"}
    assert (draft.raw_len, draft.private.raw, draft.private.raw_salt) == (0, b"", b"")


def test_no_salt_is_used_twice_in_an_event() -> None:
    values = {path: "same" for path in PATHS if path != "raw"}
    draft = prepare(login(values=values), keys=ring(), random=lambda count: bytes(n % 256 for n in range(count)))
    salts = [salt for salt, _ in draft.private.f.values()] + [draft.private.raw_salt]
    assert len(set(salts)) == len(PATHS) == len(set(draft.c.values()))
    assert not any(draft.private.raw[:12] in salt for salt in salts)


@given(values=st.dictionaries(st.sampled_from(PATHS), st.text(min_size=1)), seed=st.binary(min_size=160, max_size=160))
def test_commitments_made_together_are_those_made_one_by_one(values: dict[str, str], seed: bytes) -> None:
    made, opening = commitments(values, seed)
    assert {path: text for path, (_, text) in opening.items()} == values
    assert made == {path: commitment(salt, path, text.encode()) for path, (salt, text) in opening.items()}


def test_a_commitment_binds_value_path_and_salt() -> None:
    salt = bytes(16)
    one = commitment(salt, "actor.id", b"42")
    assert one != commitment(salt, "actor.id", b"43")
    assert one != commitment(salt, "resource.id", b"42")
    assert one != commitment(b"\1" * 16, "actor.id", b"42")
    for path, short in (("actor.phone", salt), ("actor.id", salt[:8])):
        with pytest.raises(EventError, match="known path"):
            commitment(short, path, b"42")


def test_without_a_time_of_its_own_an_event_has_the_time_of_recording() -> None:
    line = sequenced(drafted(login(at="", time_source=TimeSource.REC)), LAST)
    assert (line.at, line.time_source) == (AT, TimeSource.REC)
    assert decode(encode(line)) == line


@pytest.mark.parametrize(
    ("text", "at", "time_source"),
    [
        ("2026-11-24T03:59:58.123456Z", "2026-11-24T03:59:58.123456Z", TimeSource.SOURCE),
        ("2026-11-24T05:59:58+02:00", "2026-11-24T03:59:58.000000Z", TimeSource.SOURCE),
        ("2026-11-24t03:59:58.1234569z", "2026-11-24T03:59:58.123456Z", TimeSource.SOURCE),
        ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59.999999Z", TimeSource.CLAMPED),
        ("2027-01-01T01:59:60.5+02:00", "2026-12-31T23:59:59.999999Z", TimeSource.CLAMPED),
        ("2026-11-24T03:59:61Z", "", TimeSource.REC),
        ("2026-02-29T00:00:00Z", "", TimeSource.REC),
        ("2026-11-24T03:59:58", "", TimeSource.REC),
        ("0001-01-01T00:00:00+02:00", "", TimeSource.REC),
        ("yesterday", "", TimeSource.REC),
        ("\u0662\u0660\u0662\u0666-11-24T03:59:58Z", "", TimeSource.REC),
        ("", "", TimeSource.REC),
    ],
)
def test_times_of_sources(text: str, at: str, time_source: TimeSource) -> None:
    assert from_source(text) == (at, time_source)


@given(moment=MOMENTS, minutes=st.integers(-1_439, 1_439))
def test_a_time_means_the_same_in_every_zone(moment: datetime, minutes: int) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert from_source(local.isoformat()) == (written(moment), TimeSource.SOURCE)
    assert is_canonical(written(moment))
    assert len(written(moment)) == 27


def test_nanoseconds_are_cut_to_microseconds() -> None:
    assert from_unix_ns(1_795_492_803_123_456_999) == "2026-11-24T04:00:03.123456Z"


@given(size=st.integers(64_000, 66_000), ext=st.integers(1, 1_000))
def test_a_line_is_oversized_exactly_when_it_would_not_fit(size: int, ext: int) -> None:
    event = login(ext="e" * ext, data={"text": "x" * size})
    draft = drafted(event)
    whole = longest(drafted(login(ext="e" * ext, data={"text": ""}))) + size
    assert (draft.action == OVERSIZED) == (whole > LONGEST)
    assert len(encode(sequenced(draft, LAST))) <= LONGEST
    if draft.action == OVERSIZED:
        assert draft.data == {"action": "authentik.login", "bytes": whole}
        assert (draft.dk, draft.raw_len) == (event.dk, len(RAW))


def test_an_oversized_event_without_a_text_keeps_its_data_as_text() -> None:
    event = login(data={"text": "\0" * 20_000}, raw=b"")
    draft = drafted(event)
    assert draft.action == OVERSIZED
    kept = opened(draft.private.raw, event)
    assert (len(kept), b'"text":"' + b"\\u0000" * 20_000 in kept) == (draft.raw_len, True)


def opened(sealed: bytes, event: Event) -> bytes:
    keys = ring()
    subjects = {"42": keys.subject(TENANT, "42").key}
    return unseal(sealed, key=text_key(event.dk, subjects=subjects, tenant=keys.tenant(TENANT)))


def test_the_text_is_sealed_and_opens_again() -> None:
    draft = drafted(login())
    assert RAW not in draft.private.raw
    assert opened(draft.private.raw, login()) == RAW


def test_a_sealed_text_does_not_open_for_another_event_or_changed() -> None:
    sealed = drafted(login()).private.raw
    flipped = sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:]
    for data, event in ((sealed, login("other")), (flipped, login()), (sealed[:20], login())):
        with pytest.raises(SealError):
            opened(data, event)


def test_losing_the_key_of_one_person_in_it_closes_the_text() -> None:
    event = login(people=("7", "1001"), values={"actor.id": "42", "resource.id": "9"})
    keys = ring()
    draft = prepare(event, keys=keys, random=counting())
    everybody = {name: keys.subject(TENANT, name).key for name in ("42", "7", "9", "1001")}
    tenant = keys.tenant(TENANT)
    assert unseal(draft.private.raw, key=text_key(event.dk, subjects=everybody, tenant=tenant)) == RAW
    for erased in everybody:
        rest = {name: key for name, key in everybody.items() if name != erased}
        with pytest.raises(SealError):
            unseal(draft.private.raw, key=text_key(event.dk, subjects=rest, tenant=tenant))


def test_a_text_that_names_nobody_is_under_the_tenant_key() -> None:
    event = login(values={})
    key = text_key(event.dk, subjects={}, tenant=ring().tenant(TENANT))
    assert unseal(drafted(event).private.raw, key=key) == RAW


@given(subjects=st.dictionaries(st.text(min_size=1), st.binary(min_size=32, max_size=32), max_size=5))
def test_the_key_of_a_text_is_hkdf_of_rfc_5869(subjects: dict[str, bytes]) -> None:
    tenant, dk = b"\7" * 32, bytes(range(32))
    ordered = sorted(subjects, key=lambda name: name.encode("utf-8", "surrogatepass"))
    material = b"".join(subjects[name] for name in ordered) or tenant
    expected = HKDF(SHA256(), 32, salt=None, info=CONTEXT + dk).derive(material)
    assert text_key(dk, subjects=subjects, tenant=tenant) == expected


def test_a_short_key_is_refused() -> None:
    with pytest.raises(SealError, match="32 bytes"):
        text_key(bytes(32), subjects={"42": b"short"}, tenant=bytes(32))
    with pytest.raises(SealError, match="32 bytes"):
        KeyRing(lambda *_: b"short", lambda _: b"short").subject(TENANT, "42")


def test_a_forgotten_person_gets_what_the_next_key_makes() -> None:
    issued = iter([b"\1" * 32, b"\2" * 32])
    keys = KeyRing(lambda *_: next(issued), lambda _: bytes(32))
    before = keys.subject(TENANT, "42")
    assert keys.subject(TENANT, "42") is before
    keys.forget(TENANT)
    assert keys.subject(TENANT, "42").ref != before.ref


@given(counts=st.lists(st.integers(0, 200), max_size=60))
def test_no_random_byte_is_given_twice(counts: list[int]) -> None:
    numbers = iter(range(1 << 20))
    source = Randomness(
        lambda count: (
            bytes(count) if count < PAGE else b"".join(next(numbers).to_bytes(4, "big") for _ in range(count // 4))
        )
    )
    given = [source(count) for count in counts]
    assert [len(piece) for piece in given] == counts
    pieces = [piece for piece in given if len(piece) >= 8]
    assert len(set(pieces)) == len(pieces)


def test_more_than_a_page_is_asked_for_at_once() -> None:
    asked: list[int] = []
    source = Randomness(lambda count: asked.append(count) or bytes(count))  # type: ignore[func-returns-value]  # counts
    assert [len(source(count)) for count in (PAGE + 1, 1, 16)] == [PAGE + 1, 1, 16]
    assert asked == [PAGE + 1, PAGE]


def test_a_ring_of_keys_does_not_grow_with_what_a_sender_makes_up() -> None:
    keys = ring()
    for n in range(MOST + 10):
        keys.subject(TENANT, str(n))
    assert len(keys._subjects) <= MOST
    long = "x" * 60_000
    assert keys.subject(TENANT, long) == keys.subject(TENANT, long)
    assert keys.index(TENANT, long) == blind_index(keys.tenant(TENANT), long)
    assert (TENANT, long) not in keys._subjects.keys() | keys._indexes.keys()


def test_the_blind_index_finds_an_address_however_it_is_written() -> None:
    key = ring().tenant(TENANT)
    draft = drafted(login(values={"actor.email": "Ann@Acme.test"}))
    assert draft.private.bi == (blind_index(key, "ann@acme.test"),)
    assert draft.private.bi != (blind_index(bytes(32), "ann@acme.test"),)
