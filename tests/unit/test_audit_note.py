"""Keys, signed notes and checkpoints: one form each, and only the key that may sign counts."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.base64text import from_base64
from dezky_operator.audit.checkpoint import (
    Checkpoint,
    KeyChain,
    KeyRange,
    Opened,
    Signers,
    manifest_text,
    open_checkpoint,
    parse_text,
)
from dezky_operator.audit.errors import KeyFormatError, NoteError
from dezky_operator.audit.keys import HmacKey, Kind, SigningKey, hmac_key, log_key, manifest_key, parse_vkey, time_key
from dezky_operator.audit.note import Note, Signature, parse, signed, verify
from tests.audit.events import signers
from tests.audit.golden import LOG_SEED, NOTE, ORIGIN, ROOT, SECONDS, SECRET, TIME_SEED, VKEY

KEY, TIME, HMAC = log_key(ORIGIN, LOG_SEED), time_key(ORIGIN, TIME_SEED), hmac_key(ORIGIN, 1, SECRET)
NEXT = log_key(ORIGIN, b"\x77" * 32)
CHAIN = KeyChain([KeyRange(KEY.verify_key)])
TEXT = Checkpoint(ORIGIN, 3, bytes.fromhex(ROOT)).text

# The example of C2SP signed-note.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
SPEC_NOTE = f"This is an example message.\n\n\u2014 example.com/foo {SPEC_SIGNATURE}\n"


def opened(note: bytes, chain: KeyChain = CHAIN) -> Opened:
    return open_checkpoint(note, chain=chain, cosigners=[TIME.verify_key], hmacs=[HMAC])


def flips(data: bytes) -> list[tuple[int, bytes]]:
    return [
        (place, data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        for place in range(len(data))
        for bit in (1, 0x20, 0x80)
    ]


def test_any_other_byte_of_a_checkpoint_is_refused_or_leaves_a_key_out() -> None:
    everybody = opened(NOTE).verified
    assert everybody.unknown == ()
    for place, changed in flips(NOTE):
        try:
            found = opened(changed)
        except NoteError:
            continue
        # Only the name or id on a line beside the log's own can change: then nobody's signature stands there.
        assert place > len(TEXT) + 1 + len(NOTE.splitlines()[4])
        assert len(found.verified.unknown) == 1
        assert found.checkpoint == opened(NOTE).checkpoint


def test_any_other_byte_of_the_logs_own_signature_is_refused() -> None:
    alone = Signers((KEY,), TIME).sign(Checkpoint(ORIGIN, 3, bytes.fromhex(ROOT)), SECONDS)
    own = b"\n".join(alone.split(b"\n")[:5]) + b"\n"
    assert opened(own).verified.keys == (KEY.verify_key,)
    for _, changed in flips(own):
        with pytest.raises(NoteError):
            opened(changed)


@pytest.mark.parametrize(
    ("note", "words"),
    [
        (NOTE.replace(b"E1Lk=\n", b"E1Ll=\n"), "root of the checkpoint is not canonical base64"),
        (NOTE.replace(b"MJNaAQ=\n", b"MJNaAR=\n"), "not canonical base64"),
        (NOTE.replace(b"imp8EE\n", b"imp8EE=\n"), "not (canonical )?base64"),
        (NOTE.replace(b"\n3\n", b"\n03\n"), "decimal number"),
        (NOTE.replace(b"\n3\n", b"\n+3\n"), "decimal number"),
        (NOTE.replace(b"\n3\n", "\n\u0663\n".encode()), "decimal number"),
        (NOTE.replace(b"\n3\n", b"\n" + b"9" * 30 + b"\n"), "decimal number"),
        (NOTE.replace(b"\n3\n", b"\n9007199254740993\n"), "decimal number"),
        (NOTE.replace(b"\n3\n", b"\n4\n"), "signature of .* is wrong"),
        (NOTE.replace(b"\n\n", b"\nmore\n\n"), "three lines"),
        (NOTE.replace(b"/audit/1\n3", b"/audit/2\n3"), "origin: a checkpoint of"),
        (NOTE.replace(b"\n", b"\r\n"), "control character"),
        (NOTE.replace(b"\n\n", b"\n"), "an empty line"),
        (NOTE[:-1], "each with LF"),
        (NOTE + b"\n", "an empty line|signature line"),
        (NOTE + "\u2014 a b\n".encode(), "not base64"),
        (NOTE + "\u2014 a AAAA\n".encode(), "too short"),
        (NOTE + b"- a AAAAAAAA\n", "signature line is"),
        (NOTE + b"\xff\n", "no UTF-8"),
        (NOTE + NOTE.splitlines(keepends=True)[4], "signed twice"),
        (NOTE + "\u2014 a AAAAAAAA\n".encode() * 100, "at most 100"),
        (NOTE + b"x" * 65_536, "at most 65536"),
        (b"", "an empty line"),
    ],
)
def test_a_note_has_one_form(note: bytes, words: str) -> None:
    with pytest.raises(NoteError, match=words):
        opened(note)


def test_the_example_of_the_specification_verifies() -> None:
    key = parse_vkey(SPEC_VKEY)
    assert key.vkey == SPEC_VKEY
    assert verify(parse(SPEC_NOTE.encode()), [key]).keys == (key,)
    with pytest.raises(NoteError, match="is wrong"):
        verify(parse(SPEC_NOTE.replace("example message", "Example message").encode()), [key])


@given(text=st.text(st.characters(exclude_categories=["Cs", "Cc"])), blobs=st.lists(st.binary(min_size=1), min_size=1))
def test_a_note_is_read_as_it_was_written(text: str, blobs: list[bytes]) -> None:
    note = Note(text + "\n", tuple(Signature("example.test", b"\1\2\3\4", blob) for blob in blobs))
    assert parse(note.encode()) == note


def test_a_text_may_hold_empty_lines_of_its_own() -> None:
    note = Note("one\n\ntwo\n", (signed("one\n\ntwo\n", KEY),))
    assert parse(note.encode()) == note


def test_signatures_of_strangers_are_named_and_prove_nothing() -> None:
    stranger = log_key("witness.test/w", b"\x66" * 32)
    other = log_key(ORIGIN, b"\x66" * 32)
    note = Note(TEXT, (signed(TEXT, stranger), signed(TEXT, other)))
    assert verify(note, [KEY.verify_key]).unknown == ("witness.test/w", ORIGIN)
    with pytest.raises(NoteError, match="no signature of the log's key 48a3fb43 at size 3"):
        opened(note.encode())


def test_a_symmetric_signature_is_not_enough() -> None:
    with_hmac_only = Signers((), TIME, HMAC).sign(Checkpoint(ORIGIN, 3, bytes.fromhex(ROOT)), SECONDS)
    with pytest.raises(NoteError, match="no signature of the log's key"):
        opened(with_hmac_only)


def test_a_wrong_symmetric_signature_is_told() -> None:
    other = HmacKey(HMAC.name, b"\x54" * 32)
    with pytest.raises(NoteError, match="hmac-1 is wrong"):
        open_checkpoint(NOTE, chain=CHAIN, hmacs=[other])


def test_a_cosignature_binds_its_time() -> None:
    note = parse(NOTE)
    third = note.signatures[2]
    later = Signature(third.name, third.id, (SECONDS + 1).to_bytes(8, "big") + third.blob[8:])
    with pytest.raises(NoteError, match="/time is wrong"):
        opened(Note(note.text, (*note.signatures[:2], later)).encode())
    assert open_checkpoint(NOTE, chain=CHAIN).verified.time is None


def rotated(size: int, *keys: SigningKey) -> bytes:
    return Signers(keys, TIME).sign(Checkpoint(ORIGIN, size, bytes.fromhex(ROOT)), SECONDS)


@pytest.mark.parametrize(
    ("size", "keys", "words"),
    [
        (0, [KEY], ""),
        (9, [KEY], ""),
        (10, [KEY, NEXT], ""),
        (11, [NEXT], ""),
        (9, [NEXT], "key out of range"),
        (9, [KEY, NEXT], "key out of range"),
        (11, [KEY], "key out of range"),
        (11, [KEY, NEXT], "key out of range"),
        (10, [KEY], "no signature"),
        (10, [NEXT], "no signature"),
        (11, [], "no signature"),
    ],
)
def test_a_key_signs_within_its_sizes_and_both_on_the_border(size: int, keys: list[SigningKey], words: str) -> None:
    chain = KeyChain([KeyRange(KEY.verify_key, 0, 10), KeyRange(NEXT.verify_key, 10)])
    if not words:
        assert opened(rotated(size, *keys), chain).verified.keys == (*(key.verify_key for key in keys), TIME.verify_key)
        return
    with pytest.raises(NoteError, match=words):
        opened(rotated(size, *keys), chain)


OTHER_LOG = log_key(ORIGIN[:-1] + "2", LOG_SEED).verify_key


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [KeyRange(KEY.verify_key, 1)],
        [KeyRange(KEY.verify_key, 0, 10)],
        [KeyRange(KEY.verify_key, 0, 10), KeyRange(NEXT.verify_key, 11)],
        [KeyRange(KEY.verify_key, 0, 10), KeyRange(NEXT.verify_key, 9)],
        [KeyRange(KEY.verify_key, 0, None), KeyRange(NEXT.verify_key, 10)],
        [KeyRange(KEY.verify_key, 0, 10), KeyRange(KEY.verify_key, 10)],
        [KeyRange(KEY.verify_key, 0, 10), KeyRange(OTHER_LOG, 10)],
        [KeyRange(TIME.verify_key)],
    ],
)
def test_ranges_that_leave_a_doubt_are_refused(ranges: list[KeyRange]) -> None:
    with pytest.raises(KeyFormatError):
        KeyChain(ranges)


@pytest.mark.parametrize(
    ("vkey", "words"),
    [
        (VKEY.replace("TG4", "TG5"), "says id"),
        (VKEY.replace("+48a3fb43", "+48a3fb44"), "says id"),
        (VKEY.replace("+48a3fb43", "+48A3FB43"), "looks like"),
        (VKEY.replace("/audit/1+", "/audit/2+"), "says id"),
        (VKEY.replace("6f0c", "6f c"), "no spaces"),
        (VKEY + "=", "not canonical base64"),
        (VKEY + "\n", "looks like"),
        (VKEY[:-4], "no Ed25519 key"),
        ("", "looks like"),
        ("a+00000000+" + base64.b64encode(b"\x09" + bytes(32)).decode(), "known kind"),
        # The right length leaves no unused bits; a wrong one may.
        ("a+00000000+AR==", "not canonical"),
    ],
)
def test_a_vkey_has_one_form(vkey: str, words: str) -> None:
    with pytest.raises(KeyFormatError, match=words):
        parse_vkey(vkey)


def test_slack_bits_are_no_base64_of_ours() -> None:
    assert from_base64("a2s=") == b"kk"
    for text in ("a2t=", "a2s", "a2s==", "a2s=\n", " a2s=", "a2s\u00e9", "a2-_"):
        with pytest.raises(ValueError, match="base64"):
            from_base64(text)


def test_keys_of_one_name_and_different_use_have_different_ids() -> None:
    keys = [KEY, TIME, manifest_key(ORIGIN, LOG_SEED), SigningKey(ORIGIN, Kind.COSIGNATURE, LOG_SEED)]
    assert len({key.verify_key.id for key in keys}) == len(keys)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\x00"])
def test_a_key_without_a_proper_name_is_refused(name: str) -> None:
    with pytest.raises(KeyFormatError, match="no spaces"):
        log_key(name, LOG_SEED)


def test_short_keys_are_refused() -> None:
    with pytest.raises(KeyFormatError, match="32 bytes, found 31"):
        log_key(ORIGIN, LOG_SEED[:31])
    with pytest.raises(KeyFormatError, match="at least 32 bytes, found 31"):
        hmac_key(ORIGIN, 1, SECRET[:31])


def test_a_signature_for_a_manifest_is_none_for_a_checkpoint() -> None:
    text = manifest_text(ORIGIN, "00" * 32)
    key = manifest_key(ORIGIN, b"\x88" * 32)
    note = Note(text, (signed(text, key),))
    assert text == f"dezky.eu/audit-manifest/v1\n{ORIGIN}\n{'00' * 32}\n"
    assert verify(parse(note.encode()), [key.verify_key]).keys == (key.verify_key,)
    with pytest.raises(NoteError):
        parse_text(note.text)


def test_the_signers_of_the_example_are_those_of_the_tests() -> None:
    assert [key.verify_key for key in signers().log] == [KEY.verify_key]
