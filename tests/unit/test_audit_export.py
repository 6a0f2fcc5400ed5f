"""A tenant's export proves that nothing of it was left out, to somebody who sees nothing of the others (C116)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.errors import ProofError
from dezky_operator.audit.event import Event
from dezky_operator.audit.export_proof import RangeProof, TenantProof, parse_export_proof
from dezky_operator.audit.findings import Verdict
from dezky_operator.audit.head_list import decode_heads, encode_heads
from dezky_operator.audit.heads import Head, TenantMap
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.audit.merkle import root_of
from dezky_operator.audit.multiproof import gaps, root_with
from dezky_operator.audit.taking import ExportError, prove, take_range, take_tenant
from dezky_operator.audit.verify_export import Export, Value, verify_export
from dezky_operator.store.interface import Rows, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG, PII, TILES
from tests.archiving import prune
from tests.audit.corpus import OTHER_TENANT, first_of_part, second_of_part, written_part
from tests.audit.events import login, own
from tests.audit.filled import append, appender, checkpoint, rows_of
from tests.audit.golden import TENANT, VKEY
from tests.audit.reference import LEAVES

CHAIN = KeyChain([KeyRange(parse_vkey(VKEY))])
TENANTS = (TENANT, OTHER_TENANT, "")


def events(start: int, end: int) -> list[Event]:
    return [
        login(f"l-{n}", tenant=TENANTS[n % 3]) if n % 2 else own(f"o-{n}", "step.done", tenant=TENANTS[n % 3])
        for n in range(start, end)
    ]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Two checkpoints: 600 lines and their heads, 300 more and theirs."""
    opened = await SqliteStore.open(tmp_path / "audit.db")
    log = appender(opened)
    await append(log, events(0, 600))
    await checkpoint(opened, log, encode_heads, counter=0)
    await append(log, events(600, 900))
    await checkpoint(opened, log, encode_heads, counter=1)
    yield opened
    await opened.close()


async def taken(store: Store, tenant: str = TENANT, after: Head | None = None) -> Export:
    lines: list[bytes] = []
    values: list[bytes] = []
    got = await take_tenant(
        store, tenant, line=lines.append, value=lambda value: values.append(msgspec.json.encode(value)), after=after
    )
    assert got.lines == len(lines)
    return Export(lines, got.heads, got.proof.encode(), got.note, values)


def found(export: Export, **asked: object) -> tuple[Verdict, list[str]]:
    checked = verify_export(export, chain=CHAIN, **asked)  # type: ignore[arg-type]  # the test says what it asks
    return checked.report.verdict, [str(finding) for finding in checked.report.findings]


@pytest.mark.parametrize("tenant", TENANTS)
async def test_an_export_holds_all_of_a_tenant_and_nothing_of_others(store: Store, tenant: str) -> None:
    export = await taken(store, tenant)
    checked = verify_export(export, chain=CHAIN, tenant=tenant)
    assert (checked.report.findings, checked.report.verdict) == ((), Verdict.VALID)
    assert list(export.lines) == [row.body for row in await rows_of(store) if row.tenant == tenant and row.seq < 901]
    others = {one for one in TENANTS if one and one != tenant}
    text = b"".join([*export.lines, export.heads, export.proof, export.note])
    assert not any(other.encode() in text for other in others)
    assert "nothing left out up to seq 900" in checked.says


async def test_the_next_export_begins_where_the_last_one_ended(store: Store, tmp_path: Path) -> None:
    whole = await taken(store)
    first = verify_export(whole, chain=CHAIN)
    log = appender(store)
    await append(log, events(900, 930))
    await checkpoint(store, log, encode_heads, counter=2)
    export = await taken(store, after=first.head)
    assert len(list(export.lines)) == 10
    assert found(export, earlier=first.head) == (Verdict.VALID, [])
    assert found(export)[0] == Verdict.INCOMPLETE
    directory, before = written_part(tmp_path / "second", export), written_part(tmp_path / "first", whole)
    assert second_of_part(directory, "--earlier", before) == (Verdict.VALID, [])
    assert second_of_part(directory) == (Verdict.INCOMPLETE, ["earlier"])
    with pytest.raises(SystemExit):
        second_of_part(directory, "--earlier", directory)
    wrong = Head(TENANT, 299, bytes(32))
    assert found(export, earlier=wrong) == (Verdict.TAMPERED, ["seq 902 t_prev: not after the tenant's line before"])
    another = Head(OTHER_TENANT, 299, bytes(32))
    assert found(export, earlier=another)[1][0].startswith("earlier: that export ends with")
    with pytest.raises(ExportError, match="no line after t_seq 309"):
        await taken(store, after=verify_export(export, chain=CHAIN, earlier=first.head).head)


Spoil = Callable[[Export], Export]


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Spoil:
    return lambda export: msgspec.structs.replace(export, lines=change(list(export.lines)))


def proof(change: Callable[[TenantProof], TenantProof]) -> Spoil:
    def spoilt(export: Export) -> Export:
        parsed = parse_export_proof(export.proof)
        assert isinstance(parsed, TenantProof)
        return msgspec.structs.replace(export, proof=change(parsed).encode())

    return spoilt


def to(**changed: object) -> Spoil:
    return proof(lambda parsed: msgspec.structs.replace(parsed, **changed))


SPOILT: list[tuple[str, Spoil, list[str]]] = [
    ("the first gone", lines(lambda held: held[1:]), ["missing: t_seq 0", "root: "]),
    ("one gone", lines(lambda held: held[:7] + held[8:]), ["missing: t_seq 7", "root: "]),
    ("the last gone", lines(lambda held: held[:-1]), ["missing: t_seq 299", "seq 901 heads: the last line", "root: "]),
    ("all gone", lines(lambda _: []), ["missing: t_seq 0..299", "seq 901 heads: ", "root: "]),
    ("one changed", lines(lambda held: [held[0].replace(b"o-0", b"o-8"), *held[1:]]), ["seq 3 t_prev", "root: "]),
    ("two swapped", lines(lambda held: [held[1], held[0], *held[2:]]), ["missing: t_seq 0", "seq 0 out of order"]),
    ("one twice", lines(lambda held: [held[0], *held]), ["seq 0 out of order", "seq 0 t_seq: 1 was expected"]),
    ("no JSON", lines(lambda held: [b"{}", *held[1:]]), ["line 1 not canonical", "seq 3 t_prev", "root: "]),
    (
        "a claim of less",
        lambda export: to(last=298)(lines(lambda held: held[:-1])(export)),
        ["seq 901 heads: the last line is not the newest one of the tenant", "root: "],
    ),
    ("another place", to(place=1), ["seq 901 heads: "]),
    ("fewer tenants", to(tenants=2), ["seq 901 heads: "]),
    ("no map", to(map_hashes=()), ["seq 901 heads: "]),
    ("another heads", to(heads=600), ["seq 901 heads: a log.heads of the operator"]),
    ("another tenant", to(tenant=OTHER_TENANT), ["seq 0 tenant: of another one"]),
    ("no tree", to(tree_hashes=()), ["root: the proof has 0 hashes, more are needed"]),
    (
        "one hash more",
        proof(lambda parsed: msgspec.structs.replace(parsed, tree_hashes=(*parsed.tree_hashes, bytes(32)))),
        ["root: the proof has"],
    ),
    ("a proof of nothing", lambda export: msgspec.structs.replace(export, proof=b""), ["proof: "]),
    ("heads of nobody", lambda export: msgspec.structs.replace(export, heads=b"{}"), ["line 301 not canonical"]),
    (
        "heads of another log",
        lambda export: msgspec.structs.replace(export, heads=export.heads.replace(b"/audit/1", b"/audit/2")),
        ["seq 901 origin: ", "root: "],
    ),
    (
        "one of the lines for heads",
        lambda export: msgspec.structs.replace(export, heads=list(export.lines)[-1]),
        ["seq 898 heads: a log.heads of the operator at seq 901"],
    ),
    (
        "a note of nobody",
        lambda export: msgspec.structs.replace(export, note=export.note.replace(b"\n902\n", b"\n903\n")),
        ["checkpoint: the signature"],
    ),
]


@pytest.mark.parametrize(("spoil", "said"), [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
async def test_an_export_that_was_changed_is_found_so_by_both(
    store: Store, spoil: Spoil, said: list[str], tmp_path: Path
) -> None:
    export = msgspec.structs.replace(spoil(await taken(store)), values=())
    verdict, findings = found(export)
    assert verdict == Verdict.TAMPERED
    for finding, start in zip(findings, said, strict=False):
        assert finding.startswith(start), findings
    assert len(findings) >= len(said)
    directory = written_part(tmp_path / "export", export)
    assert first_of_part(directory) == second_of_part(directory) == (verdict, [text.split(":")[0] for text in findings])


async def test_an_export_of_another_tenant_is_not_what_was_asked_for(store: Store, tmp_path: Path) -> None:
    verdict, (finding,) = found(await taken(store), tenant=OTHER_TENANT)
    assert (verdict, finding.split(":")[0]) == (Verdict.TAMPERED, "tenant")
    directory = written_part(tmp_path / "export", await taken(store))
    assert second_of_part(directory, "--tenant", OTHER_TENANT) == (Verdict.TAMPERED, ["tenant"])
    assert second_of_part(directory, "--tenant", TENANT) == (Verdict.VALID, [])


async def test_a_value_that_was_changed_is_found(store: Store) -> None:
    export = await taken(store)
    values = [msgspec.json.decode(value, type=Value) for value in export.values]
    assert {value.path for value in values} == {"actor.email", "actor.id", "tenant.slug"}
    changed = msgspec.structs.replace(values[0], value="eve@acme.test")
    spoilt = msgspec.structs.replace(export, values=[msgspec.json.encode(changed), b"[]"])
    assert found(spoilt)[1] == [
        "seq 3 plaintext changed: actor.email",
        "value: line 2 of the values is none (ValidationError)",
    ]


async def test_case_25_an_export_after_an_erasure_is_valid_and_holds_nothing_of_what_was_erased(store: Store) -> None:
    before = list((await taken(store)).values)

    async def erase(rows: Rows) -> None:
        row = await rows.get(PII, 3)
        assert row is not None
        await rows.put(PII, [msgspec.structs.replace(row, f={"tenant.slug": row.f["tenant.slug"]})])

    await store.run(erase)
    export = await taken(store)
    assert found(export) == (Verdict.VALID, [])
    assert [value for value in before if value not in list(export.values)] == before[:2]


async def test_checkpoints_from_elsewhere_show_an_old_export_and_a_split_view(store: Store, tmp_path: Path) -> None:
    export = await taken(store)
    log = appender(store)
    await append(log, events(900, 901))
    newer = await checkpoint(store, log, encode_heads, counter=2)
    assert found(export, held=[export.note]) == (Verdict.VALID, [])
    assert found(export, held=[newer])[0] == Verdict.INCOMPLETE
    (tmp_path / "newer.note").write_bytes(newer)
    directory = written_part(tmp_path / "export", export)
    assert second_of_part(directory, "--checkpoint", tmp_path / "newer.note") == (Verdict.INCOMPLETE, ["checkpoint"])
    assert second_of_part(directory, "--checkpoint", directory / "checkpoint.note") == (Verdict.VALID, [])
    assert found(export, held=[b"hello\n"])[0] == Verdict.TAMPERED


async def test_lines_that_no_map_covers_yet_are_said_to_be(store: Store, tmp_path: Path) -> None:
    log = appender(store)
    await append(log, events(900, 903))
    await checkpoint(store, log, encode_heads, counter=2, heads=False)
    export = await taken(store)
    assert len(list(export.lines)) == 300
    assert found(export) == (Verdict.UNANCHORED, ["unanchored: no map of tenants covers seq 902..904"])
    assert second_of_part(written_part(tmp_path / "export", export)) == (Verdict.UNANCHORED, ["unanchored"])


@pytest.mark.parametrize(("first", "last"), [(0, 901), (0, 0), (1, 1), (511, 513), (600, None), (901, 901)])
async def test_a_range_is_proved_without_the_lines_around_it(
    store: Store, first: int, last: int | None, tmp_path: Path
) -> None:
    held: list[bytes] = []
    got = await take_range(store, first, last, line=held.append)
    export = Export(held, b"", got.proof.encode(), got.note)
    checked = verify_export(export, chain=CHAIN)
    assert (checked.report.findings, checked.report.lines) == ((), (901 if last is None else last) - first + 1)
    assert bool([what for what in checked.report.unchecked if "before" in what]) == bool(first)
    for lines, verdict in ((held, 0), (held[:-1], 1), ([*held, held[-1]], 1), (held[::-1], len(held) > 1)):
        directory = written_part(tmp_path / "export", msgspec.structs.replace(export, lines=lines))
        assert first_of_part(directory) == second_of_part(directory)
        assert first_of_part(directory)[0] == verdict
    assert found(export, tenant=TENANT)[0] == Verdict.INCOMPLETE


async def test_what_is_not_under_a_checkpoint_or_not_there_can_not_be_taken(store: Store) -> None:
    for first, last in ((0, 902), (5, 4), (-1, 3)):
        with pytest.raises(ExportError, match=r"newest checkpoint is over 0\.\.901"):
            await take_range(store, first, last, line=lambda _: None)
    with pytest.raises(ExportError, match="has no line in the log"):
        await taken(store, "44444444-4444-4444-8444-444444444444")
    with pytest.raises(ExportError, match="not among the 902 lines"):
        await prove(store, 902)
    await prune(store, end=500)
    with pytest.raises(ExportError, match=r"t_seq 0\.\.166 is not in the store"):
        await taken(store)
    with pytest.raises(ExportError, match="seq 499 is not in the store"):
        await take_range(store, 499, 600, line=lambda _: None)
    assert len(list((await taken(store, after=Head(TENANT, 166, b""))).lines)) == 133


async def test_a_log_that_was_never_signed_gives_no_export(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "new.db")
    with pytest.raises(ExportError, match="no checkpoint yet"):
        await taken(store)
    log = appender(store)
    await append(log, events(0, 4))
    await checkpoint(store, log, encode_heads, counter=0, heads=False)
    with pytest.raises(ExportError, match=r"no log.heads is under"):
        await taken(store)
    await store.close()


@pytest.mark.parametrize("table", ["line", "tile"])
async def test_nothing_is_handed_out_that_proves_nothing(store: Store, table: str) -> None:
    async def spoil(rows: Rows) -> None:
        if table == "line":
            (row,) = await rows.scan(LOG, limit=1)
            await rows.put(LOG, [msgspec.structs.replace(row, body=row.body.replace(b"o-0", b"o-8"))])
        else:
            tile = await rows.get(TILES, "0/1")
            assert tile is not None
            await rows.put(TILES, [msgspec.structs.replace(tile, hashes=tile.hashes[:-32] + bytes(32))])

    await store.run(spoil)
    with pytest.raises(ExportError, match="audit verify"):
        await taken(store)
    with pytest.raises(ExportError, match="audit verify"):
        await prove(store, 0 if table == "line" else 510)


@pytest.mark.parametrize("seq", [0, 1, 255, 256, 700, 901])
async def test_one_line_is_proved_on_its_own(store: Store, seq: int) -> None:
    line, made = await prove(store, seq)
    assert made.verify(line, CHAIN).checkpoint.size == 902


@given(data=st.data(), size=st.integers(1, 70))
def test_some_leaves_and_the_hashes_of_the_rest_give_the_root(data: st.DataObject, size: int) -> None:
    places = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    hashes = [root_of(LEAVES[start:end]) for start, end in gaps(size, sorted(places))]
    held = {place: LEAVES[place] for place in places}
    assert root_with(size, held, hashes) == root_of(LEAVES[:size])
    wrong = data.draw(st.sampled_from(sorted(places)))
    assert root_with(size, held | {wrong: bytes(32)}, hashes) != root_of(LEAVES[:size])
    for changed in ([*hashes, bytes(32)], hashes[:-1]):
        if changed != hashes:
            with pytest.raises(ProofError):
                root_with(size, held, changed)
    with pytest.raises(ProofError, match="not all in a tree"):
        root_with(size, held | {size: bytes(32)}, hashes)


HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=4).map(tuple)
NUMBERS = st.integers(0, 2**53 - 1)


@given(
    tenant=st.sampled_from(["", TENANT]),
    ends=st.tuples(NUMBERS, NUMBERS).map(sorted),
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    hashes=st.tuples(HASHES, HASHES),
)
def test_the_proof_of_an_export_is_read_as_it_was_written(
    tenant: str, ends: list[int], numbers: tuple[int, int, int], hashes: tuple[tuple[bytes, ...], tuple[bytes, ...]]
) -> None:
    (first, last), (mapped, tree) = ends, hashes
    for proof in (TenantProof(tenant, first, last, *numbers, mapped, tree), RangeProof(first, last, tree)):
        assert parse_export_proof(proof.encode()) == proof


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"dezky.eu/audit-export/v1\nrange 0 1\n",
        b"dezky.eu/audit-export/v1\nrange 1 0\n\n",
        b"dezky.eu/audit-export/v1\nrange 01 1\n\n",
        b"dezky.eu/audit-export/v1\nrange 0 9007199254740992\n\n",
        b"dezky.eu/audit-export/v2\nrange 0 1\n\n",
        b"dezky/eu/audit-export/v1\nrange 0 1\n\n",
        b"dezky.eu/audit-export/v1\nrange 0 1\n\nAAAA\n",
        b"dezky.eu/audit-export/v1\nrange 0 1\n\nhello\n",
        b"dezky.eu/audit-export/v1\nrange 0 1\n\n" + b"A" * 42 + b"B=\n",
        b"dezky.eu/audit-export/v1\nrange 0 1\n\n\xff\n",
        b"dezky.eu/audit-export/v1\ntenant ACME\nlines 0 1\nheads 2 0 1\n\n\n",
    ],
)
def test_the_proof_of_an_export_has_one_form(data: bytes) -> None:
    with pytest.raises(ProofError):
        parse_export_proof(data)


def test_the_heads_of_a_checkpoint_are_read_as_they_were_written() -> None:
    heads = TenantMap([Head(TENANT, 7, bytes(32)), Head("", 0, b"\1" * 32)])
    data = encode_heads(heads)
    assert decode_heads(data).root == heads.root
    for wrong in (
        data[:-1],
        data.replace(b" 7 ", b" 07 "),
        data.upper(),
        b"\xff\n",
        b"".join(data.splitlines(keepends=True)[::-1]),
    ):
        with pytest.raises(ProofError):
            decode_heads(wrong)


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, Export]:
    """A tenant's export and a range of a log of 26 lines."""
    store = await SqliteStore.open(tmp_path_factory.mktemp("small") / "audit.db")
    log = appender(store)
    await append(log, events(0, 25))
    await checkpoint(store, log, encode_heads, counter=0)
    whole = await taken(store)
    held: list[bytes] = []
    got = await take_range(store, 7, 20, line=held.append)
    await store.close()
    return whole, Export(held, b"", got.proof.encode(), got.note)


def signed_part(note: bytes) -> int:
    """Where the log's own signature ends: lines of other keys prove nothing and are only named."""
    return note.rindex(b"\n", 0, note.index(b"/hmac-1"))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from([0, 1]))
def test_any_mix_of_lines_and_bytes_of_an_export_is_judged_alike(
    data: st.DataObject, kind: int, small: tuple[Export, Export], tmp_path_factory: pytest.TempPathFactory
) -> None:
    export = small[kind]
    lines = list(export.lines)
    files = {"proof": export.proof, "note": export.note, "heads": export.heads}
    for _ in range(data.draw(st.integers(1, 3))):
        n = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "twice", "move", "byte", "proof", "note", "heads"])):
            case "drop" if len(lines) > 1:
                del lines[n]
            case "twice":
                lines.insert(data.draw(st.integers(0, len(lines))), lines[n])
            case "move":
                lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(n))
            case ("proof" | "heads" | "note") as name if files[name]:
                end = len(files[name]) if name != "note" else signed_part(export.note)
                files[name] = changed(files[name], data.draw(st.integers(0, end - 1)), data.draw(st.integers(1, 255)))
            case _:
                place = data.draw(st.integers(0, len(lines[n]) - 1))
                lines[n] = changed(lines[n], place, data.draw(st.integers(1, 255)))
    spoilt = Export(lines, files["heads"], files["proof"], files["note"])
    directory = written_part(tmp_path_factory.getbasetemp() / "mix", spoilt)
    verdict, said = first_of_part(directory)
    assert (verdict, said) == second_of_part(directory)
    same = (lines, files["proof"], files["note"], files["heads"]) == (
        list(export.lines),
        export.proof,
        export.note,
        export.heads,
    )
    assert (verdict == Verdict.VALID) == same or b"\n" in b"".join(lines)


def changed(data: bytes, place: int, bits: int) -> bytes:
    """The data with one byte changed."""
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]
