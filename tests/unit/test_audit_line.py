"""A stored line is what it says, or it is refused by name."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dezky_operator.audit.draft import Place, sequenced
from dezky_operator.audit.errors import LineError
from dezky_operator.audit.event import LARGEST_INT, Outcome
from dezky_operator.audit.line import GENESIS, LONGEST, Line, Party, decode, encode
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.audit.patterns import remembered
from dezky_operator.audit.times import TimeSource
from tests.audit.events import AT, drafted, login
from tests.audit.golden import LINES, ORIGIN, PARTNER, TENANT

LINE = LINES[1]
KEYS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.", min_size=1, max_size=12)
DATA = st.dictionaries(KEYS, st.text() | st.booleans() | st.integers(-LARGEST_INT, LARGEST_INT), max_size=8)
LETTERS = st.text(min_size=1)


def with_(old: str, new: str) -> bytes:
    text = LINE.decode()
    assert text.count(old) == 1, old
    return text.replace(old, new).encode("utf-8", "surrogatepass")


DATA_TEXT = '"data":{"method":"password"}'


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (with_(DATA_TEXT, '"data":{"method":"x","method":"password"}'), "holds the key 'method' twice"),
        (with_('"seq":1,', '"seq":1,"seq":1,'), "holds the key 'seq' twice"),
        (with_(DATA_TEXT, '"data":{"method":NaN}'), "holds NaN"),
        (with_(DATA_TEXT, '"data":{"method":-Infinity}'), "holds -Infinity"),
        (with_(DATA_TEXT, '"data":{"n":123456789012345678901234567890}'), "beyond 2\\^53-1"),
        (with_(DATA_TEXT, '"data":{"n":9007199254740992}'), "beyond 2\\^53-1"),
        (with_(DATA_TEXT, '"data":{"n":' + "9" * 5_000 + "}"), "beyond 2\\^53-1"),
        (with_(DATA_TEXT, '"data":{"n":1.0}'), "fraction 1.0"),
        (with_(DATA_TEXT, '"data":{"n":1e16}'), "fraction 1e16"),
        (with_(DATA_TEXT, '"data":{"n":-0.0}'), "fraction -0.0"),
        (with_(DATA_TEXT, '"data":{"n":-0}'), "re-encoding"),
        (with_(DATA_TEXT, '"data":{"n":null}'), "'n' is null"),
        (with_(DATA_TEXT, '"data":{"n":{}}'), "not canonical"),
        (with_(DATA_TEXT, '"data":{"n":' + "[" * 20_000 + "]" * 20_000 + "}"), "not canonical"),
        (with_(DATA_TEXT, '"data":{"method":"\\ud800"}'), "surrogate"),
        (with_(DATA_TEXT, '"data":{"method":"\ud800"}'), "no UTF-8"),
        (with_(DATA_TEXT, '"data":{"method":"\\u00e9"}'), "re-encoding"),
        (with_(DATA_TEXT, '"data":{"method":"\\u001F"}'), "re-encoding"),
        (with_(DATA_TEXT, '"data":{"method":"\\/"}'), "re-encoding"),
        (with_(DATA_TEXT, '"data":{"b":1,"a":2}'), "re-encoding"),
        (with_(DATA_TEXT, '"data": {"method":"password"}'), "re-encoding"),
        (with_(DATA_TEXT, '"data":{"Method":"password"}'), "data holds the key 'Method'"),
        (with_('"v":1}', '"v":2}'), "v is 2"),
        (with_('"v":1}', '"v":true}'), "not canonical"),
        (with_('"v":1}', '"v":1,"w":1}'), "not canonical"),
        (with_('"seq":1', '"seq":-1'), "not canonical"),
        (with_('"seq":1', '"seq":1.0'), "fraction"),
        (with_('"seq":1', '"seq":"1"'), "not canonical"),
        (with_('"outcome":"success"', '"outcome":"fine"'), "not canonical"),
        (with_('"raw_len":69', '"raw_len":0'), "raw_len"),
        (with_('"ref":"d43f226259dba932"', '"ref":""'), "ref does not belong"),
        (with_('"ref":"d43f226259dba932"', '"ref":"D43F226259DBA932"'), "ref does not belong"),
        (with_("bb56d87b9182", "BB56D87B9182"), "no hash"),
        (with_("bb56d87b9182", "bb56d87b918"), "no hash"),
        (with_("bb56d87b9182", "bb56d87b91 2"), "no hash"),
        (with_('"prev":"a4fb', '"prev":"'), "no hash"),
        (with_('"prev":"a4fb', '"prev":"a4fba4fb'), "no hash"),
        (with_('"t_prev":"0000', '"t_prev":"'), "no hash"),
        (with_('"actor.email"', '"actor.fmail"'), "unknown path"),
        (with_("2026-11-24T03:59:58", "2026-13-24T03:59:58"), "at"),
        (with_("2026-11-24T03:59:58", "2026-02-30T03:59:58"), "at"),
        (with_("2026-11-24T03:59:58.123456Z", "2026-11-24T03:59:58.12345Z"), "at"),
        (with_('"time_source":"source"', '"time_source":"rec"'), "at is not rec"),
        (with_('"time_source":"source"', '"time_source":"clamped"'), "at is not clamped"),
        (with_("8e6f-708192a3b4c5/audit/1", "8e6f-708192a3b4c5/audit/0"), "origin"),
        (with_('"action":"authentik.login"', '"action":""'), "action"),
        (with_('"ext":"3f"', '"ext":""'), "ext"),
        (b"\xef\xbb\xbf" + LINE, "byte order mark"),
        (LINE + b"\n", "re-encoding"),
        (b" " + LINE, "re-encoding"),
        (LINE + b"{}", "not canonical"),
        (LINE[:-1], "not canonical"),
        (b"", "not canonical"),
        (b"[]", "not canonical"),
        (b"null", "not canonical"),
        (b"\xff", "no UTF-8"),
        (LINE.ljust(LONGEST + 1), "at most"),
    ],
)
def test_readers_of_json_differ_and_the_log_takes_one_form(stored: bytes, words: str) -> None:
    with pytest.raises(LineError, match=words):
        decode(stored)


@pytest.mark.parametrize("line", LINES)
def test_any_other_byte_is_refused_or_another_leaf(line: bytes) -> None:
    leaf, taken = leaf_hash(line), 0
    for place in range(len(line)):
        for bit in (1, 0x20, 0x80):
            changed = line[:place] + bytes([line[place] ^ bit]) + line[place + 1 :]
            assert leaf_hash(changed) != leaf
            try:
                read = decode(changed)
            except LineError:
                continue
            taken += 1
            assert encode(read) == changed
    assert taken > 0


@given(data=DATA, ext=LETTERS, action=LETTERS, kind=st.text(), raw=st.binary(), outcome=st.sampled_from(Outcome))
@example(
    data={"a": '"\\\b\t\n\f\r\0\x1f\x7f\u2028\ufb33\U0001f600'},
    ext="e",
    action="a",
    kind="",
    raw=b"",
    outcome=Outcome.DENIED,
)
def test_what_is_written_is_read_back(
    data: dict[str, Any], ext: str, action: str, kind: str, raw: bytes, outcome: Outcome
) -> None:
    data.pop("evt_id", None)
    event = login(data=data, ext=ext[:1_024], action=action, actor_type=kind, raw=raw, outcome=outcome)
    line = sequenced(drafted(event), Place(ORIGIN, 7, b"\1" * 32, 3, b"\2" * 32, AT))
    stored = encode(line)
    assert decode(stored) == line
    assert stored == jcs(stored)


def jcs(stored: bytes) -> bytes:
    """The same by another encoder: for this profile RFC 8785 is what the standard library makes of sorted keys."""
    return json.dumps(json.loads(stored), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def test_a_line_that_is_too_long_is_not_written() -> None:
    line = sequenced(drafted(login()), Place(ORIGIN, 0, GENESIS, 0, GENESIS, AT))
    long = Line(**{name: getattr(line, name) for name in line.__struct_fields__} | {"data": {"a": "x" * LONGEST}})
    with pytest.raises(LineError, match="at most 65535"):
        encode(long)


def test_every_field_is_always_there() -> None:
    line = Line(
        action="log.stop",
        actor=Party("", ""),
        at=AT,
        c={},
        data={},
        ext="1",
        origin=ORIGIN,
        outcome=Outcome.SUCCESS,
        partner="",
        prev=GENESIS.hex(),
        raw_len=0,
        rec=AT,
        recv=AT,
        resource=Party("", ""),
        seq=0,
        source="operator",
        src="operator",
        t_prev=GENESIS.hex(),
        t_seq=0,
        tenant="",
        time_source=TimeSource.SOURCE,
    )
    fields = json.loads(encode(line))
    assert fields.keys() == json.loads(LINE).keys()
    for name in fields:
        stored = jcs(json.dumps({key: value for key, value in fields.items() if key != name}).encode())
        with pytest.raises(LineError, match="not canonical"):
            decode(stored)


def test_the_example_has_the_ids_of_the_example() -> None:
    line = decode(LINE)
    assert (line.tenant, line.partner, line.origin, line.t_seq) == (TENANT, PARTNER, ORIGIN, 0)


def test_what_does_not_fit_is_not_remembered_and_what_does_is_bounded() -> None:
    fits = remembered("[a-z]{1,9}", most=2)
    assert [fits(text) for text in ("a", "b", "A", "c", "a", "A" * 60_000)] == [True, True, False, True, True, False]
    known = inspect.getclosurevars(fits).nonlocals["known"]
    assert known <= {"a", "b", "c"}
    assert len(known) <= 2
