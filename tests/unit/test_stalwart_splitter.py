"""Bodies cut into events while they stream in: nothing is lost, and nothing depends on where the chunks end."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.ingest.stalwart.splitter import Element, Splitter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
CONTAINERS = st.lists(JSON, max_size=3) | st.dictionaries(st.text(), JSON, max_size=4)
SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])
HOSTILE = st.lists(
    st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b'"events"', b" ", b"1", b"\xff", b"a"])
).map(b"".join)


def cut(body: bytes, *, size: int | None = None, longest: int = 1 << 20) -> list[Element]:
    """The elements of a body that comes in chunks of ``size``."""
    splitter, step = Splitter(longest), size or max(1, len(body))
    found = [one for start in range(0, len(body), step) for one in splitter.feed(body[start : start + step])]
    return found + splitter.end()


def texts(body: bytes, **how: int) -> list[bytes]:
    return [one.data for one in cut(body, **how)]


@given(events=st.lists(CONTAINERS), before=st.dictionaries(st.text(), JSON, max_size=2), space=SPACE, size=st.integers(1, 40))  # fmt: skip  # noqa: E501
def test_an_envelope_gives_the_events_that_msgspec_finds(
    events: list[object], before: dict[str, object], space: str, size: int
) -> None:
    before.pop("events", None)
    text = json.dumps({**before, "events": events, "z": [1]}, ensure_ascii=False, separators=("," + space, ":" + space))
    body = text.encode("utf-8", "surrogatepass")
    found = [msgspec.json.decode(raw) for raw in texts(body, size=size)]
    expected = msgspec.json.decode(body)
    assert found == expected["events"]


@given(events=st.lists(JSON), size=st.integers(1, 40))
def test_a_bare_list_gives_its_members(events: list[object], size: int) -> None:
    body = msgspec.json.encode(events)
    assert [msgspec.json.decode(raw) for raw in texts(body, size=size)] == msgspec.json.decode(body)


@given(event=st.dictionaries(st.text().filter(lambda key: key != "events"), JSON, min_size=1), size=st.integers(1, 40))
def test_a_single_event_is_given_whole(event: dict[str, object], size: int) -> None:
    body = msgspec.json.encode(event)
    assert texts(body, size=size) == [body]


@given(body=HOSTILE, size=st.integers(1, 9))
def test_where_chunks_end_changes_nothing(body: bytes, size: int) -> None:
    assert cut(body, size=size) == cut(body, size=1) == cut(body)


@given(body=HOSTILE)
def test_no_byte_that_could_be_of_an_event_is_lost(body: bytes) -> None:
    """Without an envelope only brackets, commas and blanks between elements are left out."""
    marked = b"[" + body.replace(b'"events"', b"7") + b"]"
    kept = b"".join(texts(marked))
    left_out = b" ,[]{}"
    assert kept.translate(None, left_out) == marked.translate(None, left_out)


@given(body=HOSTILE, longest=st.integers(1, 12), size=st.integers(1, 6))
def test_what_is_too_long_comes_in_parts_that_are_the_whole(body: bytes, longest: int, size: int) -> None:
    plain = body.replace(b'"events"', b"7")
    assert b"".join(texts(plain, longest=longest, size=size)) == b"".join(texts(plain))
    assert all(len(one.data) <= longest + size for one in cut(plain, longest=longest, size=size))


@given(filler=st.integers(50, 400))
def test_after_one_that_is_too_long_the_next_one_is_whole(filler: int) -> None:
    long, short = b'{"a":"%s"}' % (b"x" * filler), b'{"b":1}'
    found = cut(b'{"events":[' + long + b"," + short + b"]}", longest=40, size=8)
    assert b"".join(one.data for one in found[:-1]) == long
    assert not any(one.whole for one in found[:-1])
    assert found[-1] == Element(short)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b" \n", []),
        (b'{"events":[]}', []),
        (b'{"events":[1],"events":[2]}', [b"1", b"2"]),
        (b'{"events":[1]}\n{"events":[2]}\n[3]', [b"1", b"2", b"3"]),
        (b'{"events":{"a":1}}', [b'{"events":{"a":1}}']),
        (b'{"type":"x","data":{"events":[1]}}', [b'{"type":"x","data":{"events":[1]}}']),
        (b'{"x":"\\"events\\":[1]"}', [b'{"x":"\\"events\\":[1]"}']),
        (b'{"events":[{"a":NaN},{"b":1}]}', [b'{"a":NaN}', b'{"b":1}']),
        (b'{"events":[{"a":1},{"b":', [b'{"a":1}', b'{"b":']),
        (b'{"events":[{"a":1}]', [b'{"a":1}']),
        (b"not JSON, [1]", [b"not JSON, [1]"]),
        (b'\xef\xbb\xbf{"events":[1]}', [b'\xef\xbb\xbf{"events":[1]}']),
        (b"[[1,2],[3]]", [b"[1,2]", b"[3]"]),
    ],
)
def test_whatever_looks_like_a_list_of_events_is_cut(body: bytes, found: list[bytes]) -> None:
    """C099."""
    assert texts(body) == texts(body, size=1) == found


def test_a_million_brackets_are_counted_and_not_climbed() -> None:
    deep = b"[" * 1_000_000 + b"]" * 1_000_000
    assert texts(b'{"events":[{"a":' + deep + b'},{"b":1}]}', size=65_536, longest=1 << 22)[1] == b'{"b":1}'


def test_the_events_before_the_end_of_a_body_are_given_at_once() -> None:
    splitter = Splitter()
    assert splitter.feed(b'{"events":[{"a":1},{"b"') == [Element(b'{"a":1}')]
    assert splitter.feed(b":1}]}") == [Element(b'{"b":1}')]
