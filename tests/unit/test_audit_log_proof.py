"""One line and its proof are enough, and any other byte of either is not."""

from __future__ import annotations

import pytest

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.errors import NoteError, ProofError
from dezky_operator.audit.keys import log_key, parse_vkey
from dezky_operator.audit.log_proof import LogProof, parse_proof
from dezky_operator.audit.merkle import inclusion_proof, leaf_hash, nodes_of
from tests.audit.corpus import events_of
from tests.audit.events import note_of
from tests.audit.golden import LINES, NOTE, ORIGIN, VKEY

LOG = events_of(12)
NOTE_OF_LOG = note_of(LOG)
CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])


def proof_of(index: int) -> LogProof:
    node = nodes_of([leaf_hash(line) for line in LOG])
    return LogProof(index, inclusion_proof(index, len(LOG), node), NOTE_OF_LOG)


def test_a_proof_has_the_text_of_the_specification() -> None:
    text = LogProof(5, (b"\1" * 32, b"\2" * 32), b"note\n").encode().decode()
    one, two = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
    assert text == f"c2sp.org/tlog-proof@v1\nindex 5\n{one}\n{two}\n\nnote\n"
    assert LogProof(0, (), b"note\n").encode() == b"c2sp.org/tlog-proof@v1\nindex 0\n\nnote\n"


@pytest.mark.parametrize("index", range(12))
def test_every_line_of_a_log_is_proven(index: int) -> None:
    read = parse_proof(proof_of(index).encode())
    assert read == proof_of(index)
    assert read.verify(LOG[index], CHAIN).checkpoint.size == 12


def test_a_proof_is_of_one_line_of_one_log() -> None:
    for line in (LOG[4], LOG[6], LINES[0], LOG[5].replace(ORIGIN.encode(), ORIGIN[:-1].encode() + b"2")):
        with pytest.raises(ProofError, match="is another"):
            proof_of(5).verify(line, CHAIN)
    with pytest.raises(ProofError, match="does not lead"):
        proof_of(5).verify(LOG[5].replace(b'"ok":false', b'"ok":true'), CHAIN)
    with pytest.raises(ProofError, match="the line is not canonical"):
        proof_of(5).verify(LOG[5] + b"\n", CHAIN)
    with pytest.raises(ProofError, match="not in a tree of 3"):
        LogProof(5, (), NOTE).verify(LOG[5], CHAIN)


def test_a_proof_under_another_key_is_none() -> None:
    other = KeyChain([KeyRange(log_key(ORIGIN, b"\x77" * 32).verify_key)])
    with pytest.raises(NoteError, match="no signature"):
        proof_of(5).verify(LOG[5], other)


def test_any_other_byte_of_a_proof_is_refused() -> None:
    data = proof_of(5).encode()
    own = data[: data.index(b"/hmac-1") - len(ORIGIN) - 4]
    for place in range(len(own)):
        for bit in (1, 0x20, 0x80):
            changed = own[:place] + bytes([own[place] ^ bit]) + own[place + 1 :]
            with pytest.raises((ProofError, NoteError)):
                parse_proof(changed).verify(LOG[5], CHAIN)
    assert parse_proof(own).verify(LOG[5], CHAIN).verified.unknown == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"tlog-proof@v1", b"tlog-proof@v2"),
        (b"index 5", b"index 05"),
        (b"index 5", b"index -5"),
        (b"index 5", b"index 9007199254740992"),
        (b"index 5\n", b""),
        (b"index 5\n", b"extra AAAA\nindex 5\n"),
        (b"index 5\n", b"index 5\nAAAA\n"),
        (b"index 5\n", b"index 5\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF=\n"),
        (b"index 5\n", b"index 5\n" + b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n" * 63),
        (b"index 5\n", b"index 5\xff\n"),
        (b"\n\n", b"\n"),
    ],
)
def test_a_proof_has_one_form(old: bytes, new: bytes) -> None:
    data = proof_of(5).encode()
    with pytest.raises(ProofError):
        parse_proof(data.replace(old, new))


def test_an_endless_proof_is_not_read() -> None:
    with pytest.raises(ProofError):
        parse_proof(proof_of(5).encode() + b"x" * 80_000)
