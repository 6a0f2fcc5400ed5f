"""A later key of the log counts only if the key before it signed it in (facts/audit-log.md 2.4; C114, C115)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.checkpoint import Checkpoint, KeyChain, KeyRange, Signers, parse_text
from dezky_operator.audit.errors import KeyFormatError, ProofError
from dezky_operator.audit.event import Datum
from dezky_operator.audit.findings import Report, Verdict
from dezky_operator.audit.guard import GuardError
from dezky_operator.audit.keys import SigningKey, time_key
from dezky_operator.audit.log_keys import LogKeys, fresh, next_name, parse
from dezky_operator.audit.log_proof import LogProof
from dezky_operator.audit.merkle import inclusion_proof, leaf_hash, nodes_of, root_of
from dezky_operator.audit.notary import Notary
from dezky_operator.audit.note import parse as parse_note
from dezky_operator.audit.refusals import RollbackError
from dezky_operator.audit.rotation import ACTION, Rotation, extended, naming, parse_trust, trusting
from dezky_operator.audit.stored_trust import chain_in, trust_in
from dezky_operator.audit.taking import prove, take_range, take_tenant
from dezky_operator.audit.verify_store import verify_store
from dezky_operator.store.interface import Store, UnavailableError
from dezky_operator.store.tables import CHECKPOINTS, ROTATIONS, RotationRow
from tests.audit.corpus import Files, first, first_of_part, second, second_of_part, written
from tests.audit.events import log_of, login, own
from tests.audit.filled import opened, rows_of
from tests.audit.golden import LOG_SEED, ORIGIN, TENANT, TIME_SEED
from tests.audit.guards import Hands, KilledError, Memory
from tests.audit.rotated import FIRST, KEYS, PACE, grown, notary, rotated_twice, signers
from tests.stores import Breaking, LostError, Stepping


async def begun(store: Store, guard: Memory) -> Notary:
    """Who signed three lines with the first key."""
    await grown(store, 0, 3)
    found = notary(store, guard, 1)
    await found.start()
    await found.sign(news=True)
    return found


def said(report: Report) -> tuple[Verdict, list[str]]:
    return report.verdict, [str(finding) for finding in report.findings]


def sizes(store_notes: list[bytes]) -> list[int]:
    return [parse_text(parse_note(note).text).size for note in store_notes]


def signing(note: bytes) -> list[int]:
    """Which of the keys signed, by number from 1."""
    ids = {key.verify_key.id: number for number, key in enumerate(KEYS, 1)}
    return [ids[one.id] for one in parse_note(note).signatures if one.id in ids]


# -- what it leads to ---------------------------------------------------------------------


async def test_the_border_is_signed_by_both_keys_and_everything_is_valid_under_the_first(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await rotated_twice(store, guard)
        assert [signing(note) for note in guard.notes] == [[1], [1, 2], [2], [2, 3], [3]]
        lines = [row for row in await rows_of(store) if row.action == ACTION]
        assert [msgspec.json.decode(row.body)["data"] for row in lines] == [
            {"vkey": key.verify_key.vkey, "sha256": sha256(key.verify_key.vkey.encode()).hexdigest()}
            for key in KEYS[1:]
        ]
        chain = await chain_in(store, FIRST)
        border = sizes(guard.notes)
        assert [(entry.key, entry.first, entry.last) for entry in chain.ranges] == [
            (KEYS[0].verify_key, 0, border[1]),
            (KEYS[1].verify_key, border[1], border[3]),
            (KEYS[2].verify_key, border[3], None),
        ]
        assert said(await verify_store(store, chain=FIRST)) == (Verdict.VALID, [])
        assert said(await verify_store(store, chain=FIRST, first=20, last=24)) == (Verdict.VALID, [])
        for key in KEYS[1:]:
            other = KeyChain([KeyRange(key.verify_key)])
            assert (await verify_store(store, chain=other)).verdict is Verdict.TAMPERED


async def test_a_log_that_says_nothing_goes_on_being_signed_by_both_at_the_border(tmp_path: Path) -> None:
    guard, clock = Memory(), Hands()
    async with opened(tmp_path / "audit.db") as store:
        await grown(store, 0, 3)
        found = notary(store, guard, 1, clock)
        await found.start()
        await found.sign(news=True)
        found.signers = signers(2)
        await found.look()
        clock.seconds += PACE.idle
        await found.look()
        assert [signing(note) for note in guard.notes] == [[1], [1, 2], [1, 2]]
        assert len(set(sizes(guard.notes[1:]))) == 1
        assert said(await verify_store(store, chain=FIRST)) == (Verdict.VALID, [])


async def test_exports_and_proofs_carry_what_leads_to_the_later_keys(tmp_path: Path) -> None:
    async with opened(tmp_path / "audit.db") as store:
        await rotated_twice(store, Memory())
        trust = await trust_in(store)
        for name, taken in (("tenant", partial_tenant(store)), ("range", partial_range(store))):
            files = await taken
            directory = written(tmp_path / name, files | {"trust.txt": trust})
            assert (first_of_part(directory), second_of_part(directory)) == ((0, []), (0, []))
            bare = written(tmp_path / name, files)
            for code, found in (first_of_part(bare), second_of_part(bare)):
                assert (code, found) == (1, ["checkpoint"])
        line, proof = await prove(store, 12)
        assert proof.verify(line, trusting(FIRST, trust)).checkpoint.size > 12


async def partial_tenant(store: Store) -> Files:
    lines: list[bytes] = []
    taken = await take_tenant(store, TENANT, line=lines.append)
    return {
        "lines.jsonl": b"".join(line + b"\n" for line in lines),
        "heads.line": taken.heads + b"\n",
        "proof.txt": taken.proof.encode(),
        "checkpoint.note": taken.note,
    }


async def partial_range(store: Store) -> Files:
    lines: list[bytes] = []
    taken = await take_range(store, 3, 9, line=lines.append)
    text = b"".join(line + b"\n" for line in lines)
    return {"lines.jsonl": text, "proof.txt": taken.proof.encode(), "checkpoint.note": taken.note}


# -- processes that end, and two of them --------------------------------------------------


async def settled(store: Store, guard: Memory) -> None:
    """The next process: it finishes what the last one began, and the log is valid with one border."""
    again = notary(store, guard, 2)
    await again.start()
    await again.rotate()
    await grown(store, 50, 53)
    await again.sign(news=True)
    borders = {size for note, size in zip(guard.notes, sizes(guard.notes), strict=True) if signing(note) == [1, 2]}
    assert len(borders) == 1
    assert signing(guard.notes[-1]) == [2]
    assert len([row for row in await rows_of(store) if row.action == ACTION]) == 1
    assert said(await verify_store(store, chain=FIRST, held=guard.notes)) == (Verdict.VALID, [])


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_process_that_ends_around_the_guard_leaves_one_border(tmp_path: Path, dies: str) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        found = await begun(store, guard)
        found.signers = signers(2)
        guard.dies = dies
        with pytest.raises(KilledError):
            await found.rotate()
        guard.dies = ""
        await settled(store, guard)


async def test_a_process_that_ends_at_any_write_leaves_one_border(tmp_path: Path) -> None:
    """Without transactions, so that each call is one point."""
    guard = Memory()
    async with opened(tmp_path / "before.db") as store:
        await begun(store, guard)
    ended = 0
    for at in range(200):
        shutil.copy(tmp_path / "before.db", tmp_path / f"{at}.db")
        async with opened(tmp_path / f"{at}.db") as store:
            held = Memory(notes=list(guard.notes))
            dying = notary(Breaking(Stepping(store), at=at), held, 2)
            try:
                await dying.start()
                await dying.rotate()
            except LostError:
                ended += 1
            await settled(store, held)
        if ended <= at:
            break
    assert ended > 10


async def test_a_guard_that_took_it_without_an_answer_holds_the_border(tmp_path: Path) -> None:
    """The same process goes on: it finds there what it did not hear of, and makes no second one."""

    class Unheard(Memory):
        lost = False

        async def keep(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:
            await super().keep(checkpoint, note, heads, seconds)
            if self.lost:
                self.lost = False
                raise GuardError("no answer in time")

    guard = Unheard()
    async with opened(tmp_path / "audit.db") as store:
        found = await begun(store, guard)
        found.signers, guard.lost = signers(2), True
        with pytest.raises(GuardError):
            await found.rotate()
        await grown(store, 3, 5)
        await found.look()
        await found.sign(news=True)
        assert [signing(note) for note in guard.notes] == [[1], [1, 2], [2]]
        assert said(await verify_store(store, chain=FIRST, held=guard.notes)) == (Verdict.VALID, [])


async def test_while_the_store_does_not_take_a_rotation_nothing_is_signed(tmp_path: Path) -> None:
    """The guard has the border: from there on the old key may not sign, and the new one is not proved yet."""

    class Deaf(Stepping):
        full = True

        async def put(self, table: object, rows: list[object]) -> None:
            if table is ROTATIONS and self.full:
                raise UnavailableError("the disk is full")
            await self._store.run(lambda real: real.put(table, rows))  # type: ignore[arg-type, type-var]

    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await grown(store, 0, 3)
        deaf = Deaf(store)
        found = notary(deaf, guard, 1)
        await found.start()
        await found.sign(news=True)
        found.signers = signers(2)
        for attempt in (found.rotate(), found.sign(news=True), found.look()):
            with pytest.raises(UnavailableError):
                await attempt
        assert [signing(note) for note in guard.notes] == [[1], [1, 2]]
        deaf.full = False
        await grown(store, 3, 5)
        await found.sign(news=True)
        assert [signing(note) for note in guard.notes] == [[1], [1, 2], [2]]
        assert said(await verify_store(store, chain=FIRST, held=guard.notes)) == (Verdict.VALID, [])


async def test_one_that_slept_through_a_rotation_signs_nothing_under_the_old_key(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await grown(store, 0, 3)
        asleep = notary(store, guard, 1)
        await asleep.start()
        await asleep.sign(news=True)
        other = notary(store, guard, 2)
        await other.start()
        await other.rotate()
        await grown(store, 3, 5)
        with pytest.raises(KeyFormatError, match="is not here"):
            await asleep.sign(news=True)
        asleep.signers = signers(2)
        await asleep.sign(news=True)
        assert [signing(note) for note in guard.notes] == [[1], [1, 2], [2]]


async def test_the_guard_refuses_a_note_of_one_that_does_not_know_of_the_border(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await grown(store, 0, 3)
        first_ = notary(store, guard, 1)
        await first_.start()
        note = await first_.sign(news=True)
        assert note is not None
        late = signers(1).sign(note.checkpoint, 1)
        border = signers(2).sign(msgspec.structs.replace(note.checkpoint, size=9), 1)
        second_border = signers(2).sign(msgspec.structs.replace(note.checkpoint, size=10), 1)
        guard.notes.append(border)
        for refused in (late, second_border):
            with pytest.raises(GuardError, match="later key"):
                await guard.keep(note.checkpoint, refused, b"", 1)
        await guard.keep(note.checkpoint, border, b"", 1)
        await guard.keep(note.checkpoint, signers(2, 1).sign(note.checkpoint, 1), b"", 1)


async def test_a_store_without_its_rotations_is_not_what_was_signed(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        found = await begun(store, guard)
        shutil.copy(tmp_path / "audit.db", tmp_path / "earlier.db")
        found.signers = signers(2)
        await found.rotate()
        await grown(store, 3, 5)
        await found.sign(news=True)
    async with opened(tmp_path / "earlier.db") as store:
        with pytest.raises(RollbackError):
            await notary(store, guard, 2).start()


# -- what is refused ------------------------------------------------------------------------


def trust_of(line: bytes, lines: list[bytes], by: tuple[SigningKey, ...]) -> bytes:
    """A rotation as somebody could write it: ``line`` among ``lines``, the border signed by these keys."""
    leaves = [leaf_hash(one) for one in lines]
    note = Signers(by, time_key(ORIGIN, TIME_SEED)).sign(Checkpoint(ORIGIN, len(lines), root_of(leaves)), 1)
    index = lines.index(line)
    return Rotation(line, LogProof(index, inclusion_proof(index, len(lines), nodes_of(leaves)), note)).encode()


def naming_line(key: SigningKey, **changed: object) -> tuple[bytes, list[bytes]]:
    """The line that names a key, and the log with it."""
    fields: dict[str, object] = {"action": ACTION, "data": naming(key.verify_key)}
    event = own("key", **fields | changed)  # type: ignore[arg-type]  # the test says what it changes
    lines = log_of([login("l-0"), login("l-1"), event, login("l-3")])
    return lines[2], lines


WRONG: list[tuple[str, Callable[[], bytes]]] = [
    ("signed by the new key alone", lambda: trust_of(*naming_line(KEYS[1]), KEYS[1:2])),
    ("signed by the old key alone", lambda: trust_of(*naming_line(KEYS[1]), KEYS[:1])),
    ("of another key", lambda: trust_of(*naming_line(KEYS[2]), KEYS[:2])),
    ("of the key there is", lambda: trust_of(*naming_line(KEYS[0]), KEYS[:1])),
    ("of a source", lambda: trust_of(*naming_line(KEYS[1], src="elsewhere"), KEYS[:2])),
    ("of a tenant", lambda: trust_of(*naming_line(KEYS[1], tenant=TENANT), KEYS[:2])),
    ("of another action", lambda: trust_of(*naming_line(KEYS[1], action="key.rotate"), KEYS[:2])),
    ("with another hash", lambda: trust_of(*naming_line(KEYS[1], data=mixed()), KEYS[:2])),
    ("with more in it", lambda: trust_of(*naming_line(KEYS[1], data=naming(KEYS[1].verify_key) | {"z": 1}), KEYS[:2])),
    ("not under the border", lambda: trust_of(*naming_line(KEYS[1]), KEYS[:2]).replace(b"index 2", b"index 1")),
    ("a vkey alone", KEYS[1].verify_key.vkey.encode),
    ("something before it", lambda: b"x\n" + trust_of(*naming_line(KEYS[1]), KEYS[:2])),
    ("twice", lambda: trust_of(*naming_line(KEYS[1]), KEYS[:2]) * 2),
]


def mixed() -> dict[str, Datum]:
    return naming(KEYS[1].verify_key) | {"sha256": naming(KEYS[2].verify_key)["sha256"]}


def whole_log(trust: bytes) -> Files:
    """A log whose newest checkpoint the second key signed."""
    _, lines = naming_line(KEYS[1])
    leaves = [leaf_hash(line) for line in lines]
    note = signers(2).sign(Checkpoint(ORIGIN, len(lines), root_of(leaves)), 1)
    return {"000.jsonl": b"".join(line + b"\n" for line in lines), "log.note": note, "trust.txt": trust}


def test_a_border_with_its_line_is_accepted_by_both(tmp_path: Path) -> None:
    files = whole_log(trust_of(*naming_line(KEYS[1]), KEYS[:2]))
    assert (first(files), second(written(tmp_path, files))) == ((0, []), (0, []))


@pytest.mark.parametrize("wrong", [make for _, make in WRONG], ids=[name for name, _ in WRONG])
def test_a_rotation_that_the_old_key_did_not_make_is_refused_by_both(
    tmp_path: Path, wrong: Callable[[], bytes]
) -> None:
    trust = wrong()
    with pytest.raises(ProofError):
        trusting(FIRST, trust)
    files = whole_log(trust)
    for code, found in (first(files), second(written(tmp_path, files))):
        assert (code, found[0]) == (1, "trust")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    return tmp_path_factory.mktemp("trust"), trust_of(*naming_line(KEYS[1]), KEYS[:2])


@settings(max_examples=400)
@given(data=st.data())
def test_any_flipped_byte_of_a_rotation_is_found_by_both(good: tuple[Path, bytes], data: st.DataObject) -> None:
    """All of it is evidence but the signature line of the key of time, which nobody was given."""
    directory, trust = good
    evidence = trust.rindex(f"\u2014 {ORIGIN}/time".encode())
    place = data.draw(st.integers(0, evidence - 1))
    flipped = trust[place] ^ data.draw(st.integers(1, 255))
    files = whole_log(trust[:place] + bytes([flipped]) + trust[place + 1 :])
    for code, found in (first(files), second(written(directory, files))):
        assert (code, found[:1]) == (1, ["trust"])


async def test_a_rotation_in_the_store_that_was_changed_is_found_and_nothing_is_signed_after_it(tmp_path: Path) -> None:
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await rotated_twice(store, guard)
        trust = await trust_in(store)
        assert len(extended(FIRST, parse_trust(trust)[:1]).ranges) == 2
        with pytest.raises(ProofError, match="key rotation 1"):
            extended(FIRST, parse_trust(trust)[1:])
        changed = RotationRow(1, parse_trust(trust)[0].encode().replace(ACTION.encode(), b"key.rotatee"))
        await store.run(lambda rows: rows.put(ROTATIONS, [changed]))
        report = await verify_store(store, chain=FIRST)
        assert (report.verdict, str(report.findings[0]).split(":")[0]) == (Verdict.TAMPERED, "trust")
        with pytest.raises(RollbackError, match="key rotation 1"):
            await notary(store, guard, 3).start()


# -- the keys that are kept -----------------------------------------------------------------


def kept(*seeds: bytes) -> LogKeys:
    data = fresh(lambda _: b"\x01" * 32) | {"log": seeds[0]}
    for seed in seeds[1:]:
        data[next_name(data)] = seed
    return parse(data, origin=ORIGIN)


async def test_a_log_begins_with_the_key_that_signed_its_first_checkpoint(tmp_path: Path) -> None:
    keys = kept(b"\x55" * 32, LOG_SEED, b"\x66" * 32)
    guard = Memory()
    async with opened(tmp_path / "audit.db") as store:
        await rotated_twice(store, guard)
        rows = await store.read(lambda rows: rows.scan(CHECKPOINTS, limit=1))
    found = keys.signers(keys.first(rows[0].note.encode(), epoch=1))
    assert [key.verify_key for key in found.log] == [key.verify_key for key in KEYS[:2]]
    assert keys.first(None, epoch=1) == keys.log[0].verify_key
    assert keys.first(None, epoch=2) == KEYS[1].verify_key
    with pytest.raises(KeyFormatError, match="first checkpoint"):
        kept(b"\x55" * 32).first(rows[0].note.encode(), epoch=1)
    with pytest.raises(KeyFormatError, match="is not among them"):
        kept(b"\x55" * 32).signers(KEYS[0].verify_key)


def test_keys_are_numbered_and_each_has_its_length() -> None:
    assert [key.verify_key for key in kept(LOG_SEED, b"\x66" * 32).log] == [key.verify_key for key in KEYS[:2]]
    with pytest.raises(KeyFormatError, match="32 bytes, found 3"):
        kept(LOG_SEED, b"abc")
