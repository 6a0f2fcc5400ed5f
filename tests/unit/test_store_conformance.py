"""What every backend of the store promises: SQLite, and MongoDB as FerretDB or a real server answers for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dezky_operator.store.interface import ConflictError, Reader, Rows, Span, Store
from dezky_operator.store.tables import (
    CURSORS,
    HEAD,
    LOG,
    PII,
    SEEN,
    TENANTS,
    TILES,
    CursorRow,
    Generation,
    HeadRow,
    LogRow,
    PiiRow,
    SeenRow,
    TenantRow,
    TileRow,
)
from tests.backends import BACKENDS


@pytest.fixture(params=sorted(BACKENDS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store with nothing in it."""
    async with BACKENDS[request.param](tmp_path) as opened:
        yield opened


def event(seq: int, *, dk: bytes | None = None, tenant: str = "acme", at: str = "2026") -> LogRow:
    key = dk or f"dk-{seq}".encode()
    return LogRow(seq, b"h", key, "rec", at, tenant, "", 0, "login", "success", "", "authentik", "main", b"{}")


def inserted(*rows: LogRow) -> Callable[[Rows], Awaitable[None]]:
    async def work(store: Rows) -> None:
        await store.insert(LOG, rows)

    return work


async def all_events(store: Reader) -> list[LogRow]:
    return await store.scan(LOG, limit=1_000)


async def seqs(store: Store) -> list[int]:
    return [row.seq for row in await store.read(all_events)]


async def test_a_row_comes_back_as_it_was_stored(store: Store) -> None:
    pii = PiiRow(3, {"actor.email": (b"\x00salt", "ann@acme.test\x00é")}, b"\xff\x00", b"", (b"a", b"b"), ("42",))
    cursor = CursorRow(
        "ocis", "g:17", "now", (Generation("g", 2**53 - 1, bytes(32), 7, bytes(32), 2**53 - 1, 2**53 - 1, ended=True),)
    )

    async def work(rows: Rows) -> None:
        await rows.insert(PII, [pii])
        await rows.insert(CURSORS, [cursor])

    await store.run(work)

    async def look(rows: Reader) -> tuple[PiiRow | None, CursorRow | None, PiiRow | None]:
        return await rows.get(PII, 3), await rows.get(CURSORS, "ocis"), await rows.get(PII, 4)

    assert await store.read(look) == (pii, cursor, None)


async def test_an_insert_stops_at_the_first_taken_key_and_keeps_what_came_before(store: Store) -> None:
    await store.run(inserted(event(2)))

    async def work(rows: Rows) -> bool:
        try:
            await rows.insert(LOG, [event(1), event(2, dk=b"other"), event(3)])
        except ConflictError:
            return True
        return False

    assert await store.run(work)
    assert await seqs(store) == [1, 2]


async def test_a_taken_unique_field_is_the_same_conflict_as_a_taken_key(store: Store) -> None:
    await store.run(inserted(event(2)))
    messages = []
    for row in (event(3, dk=b"dk-2"), event(2, dk=b"other")):
        with pytest.raises(ConflictError) as conflict:
            await store.run(inserted(row))
        messages.append(str(conflict.value))
    assert len(set(messages)) == 1
    assert await seqs(store) == [2]


async def test_a_key_can_be_taken_again_once_its_row_is_gone(store: Store) -> None:
    await store.run(inserted(event(1), event(2)))

    async def work(rows: Rows) -> bool:
        return await rows.remove(LOG, event(1))

    assert await store.run(work)
    await store.run(inserted(event(1)))
    assert await seqs(store) == [1, 2]


async def test_a_row_is_removed_only_as_it_was_seen(store: Store) -> None:
    await store.run(inserted(event(1)))

    async def work(rows: Rows) -> bool:
        return await rows.remove(LOG, event(1, tenant="nord"))

    assert not await store.run(work)
    assert await seqs(store) == [1]


async def test_of_two_that_swap_the_same_row_one_wins(store: Store) -> None:
    old = TenantRow("acme", 0, b"h", 0)

    async def first(rows: Rows) -> None:
        await rows.insert(TENANTS, [old])

    await store.run(first)

    def to(seq: int) -> Callable[[Rows], Awaitable[bool]]:
        async def work(rows: Rows) -> bool:
            return await rows.swap(TENANTS, old, TenantRow("acme", 1, b"n", seq))

        return work

    won = await asyncio.gather(*(store.run(to(seq)) for seq in range(1, 9)))
    assert sum(won) == 1

    async def look(rows: Reader) -> TenantRow | None:
        return await rows.get(TENANTS, "acme")

    assert await store.read(look) == TenantRow("acme", 1, b"n", 1 + won.index(True))


async def test_a_swap_of_nested_values_compares_all_of_them(store: Store) -> None:
    whole = PiiRow(1, {"a": (b"s", "v"), "b": (b"s", "w")}, b"", b"", (), ())
    erased = PiiRow(1, {"b": (b"s", "w")}, b"", b"", (), ())

    async def work(rows: Rows) -> tuple[bool, bool]:
        await rows.insert(PII, [whole])
        return await rows.swap(PII, whole, erased), await rows.swap(PII, whole, erased)

    assert await store.run(work) == (True, False)


async def test_a_row_is_found_by_each_value_it_holds_until_it_holds_it_no_more(store: Store) -> None:
    ann, bob, eve = b"ann", b"bob", b"eve"

    def holding(seq: int, *values: bytes) -> PiiRow:
        return PiiRow(seq, {}, b"", b"", values, ())

    async def found(rows: Reader) -> list[list[int]]:
        return [[row.seq for row in await rows.find(PII, "bi", value, limit=9)] for value in (ann, bob, eve)]

    async def kept(rows: Rows) -> list[list[int]]:
        await rows.insert(PII, [holding(1, ann), holding(2, ann, bob, ann), holding(3, bob), holding(4)])
        with pytest.raises(ConflictError):
            await rows.insert(PII, [holding(5, eve), holding(1, eve)])
        return await found(rows)

    async def changed(rows: Rows) -> list[list[int]]:
        assert await rows.swap(PII, holding(1, ann), holding(1))
        assert not await rows.swap(PII, holding(2, ann), holding(2))
        await rows.put(PII, [holding(3, eve), holding(4, bob)])
        return await found(rows)

    async def gone(rows: Rows) -> list[list[int]]:
        assert await rows.remove(PII, holding(3, eve))
        await rows.delete(PII, Span(high=3), limit=9)
        return await found(rows)

    assert await store.run(kept) == [[1, 2], [2, 3], [5]]
    assert await store.run(changed) == [[2], [2, 4], [3, 5]]
    assert await store.run(gone) == [[], [4], [5]]


async def test_put_replaces_what_is_there(store: Store) -> None:
    async def work(rows: Rows) -> list[TileRow]:
        await rows.put(TILES, [TileRow("0/0", b"a"), TileRow("0/1", b"b")])
        await rows.put(TILES, [TileRow("0/1", b"bb")])
        return await rows.scan(TILES, limit=9)

    assert await store.run(work) == [TileRow("0/0", b"a"), TileRow("0/1", b"bb")]


async def test_put_does_not_push_another_row_out_of_a_unique_field(store: Store) -> None:
    await store.run(inserted(event(1), event(2)))

    async def work(rows: Rows) -> None:
        await rows.put(LOG, [event(2, dk=b"dk-1")])

    with pytest.raises(ConflictError):
        await store.run(work)
    assert await store.read(all_events) == [event(1), event(2)]


async def test_a_scan_keeps_to_its_span_its_order_and_its_limit(store: Store) -> None:
    await store.run(inserted(*map(event, range(10))))

    async def look(rows: Reader) -> list[list[int]]:
        return [
            [row.seq for row in await rows.scan(LOG, span, limit=limit, newest_first=newest)]
            for span, limit, newest in (
                (Span(3, 6), 9, False),
                (Span(3, 6), 2, True),
                (Span(low=8), 9, False),
                (Span(high=2), 9, True),
            )
        ]

    assert await store.read(look) == [[3, 4, 5], [5, 4], [8, 9], [1, 0]]


async def test_of_nothing_asked_for_nothing_comes_and_nothing_goes(store: Store) -> None:
    await store.run(inserted(event(1)))

    async def work(rows: Rows) -> tuple[list[LogRow], list[LogRow], list[LogRow], int]:
        return (
            await rows.scan(LOG, limit=0),
            await rows.find(LOG, "tenant", "acme", limit=0),
            await rows.scan_by(LOG, "at", limit=0),
            await rows.delete(LOG, Span(), limit=0),
        )

    assert await store.run(work) == ([], [], [], 0)
    assert await seqs(store) == [1]


async def test_rows_of_one_value_come_in_the_order_of_their_keys(store: Store) -> None:
    await store.run(inserted(*(event(seq, tenant="acme" if seq % 3 else "nord") for seq in range(10))))

    async def look(rows: Reader) -> tuple[list[int], list[int]]:
        up = await rows.find(LOG, "tenant", "nord", Span(low=1), limit=9)
        down = await rows.find(LOG, "tenant", "nord", limit=2, newest_first=True)
        return [row.seq for row in up], [row.seq for row in down]

    assert await store.read(look) == ([3, 6, 9], [9, 6])


@pytest.mark.parametrize("newest_first", [False, True])
async def test_paging_by_an_index_neither_skips_nor_repeats_equal_values(store: Store, *, newest_first: bool) -> None:
    await store.run(inserted(*(event(seq, at=f"2026-{seq // 4}") for seq in range(10))))

    async def look(rows: Reader) -> list[int]:
        seen: list[int] = []
        after = None
        while page := await rows.scan_by(LOG, "at", after=after, limit=3, newest_first=newest_first):
            seen += [row.seq for row in page]
            after = (page[-1].at, page[-1].seq)
        return seen

    assert await store.read(look) == sorted(range(10), reverse=newest_first)


async def test_a_scan_by_an_index_keeps_to_its_values(store: Store) -> None:
    await store.run(inserted(*(event(seq, at=f"2026-{seq}") for seq in range(6))))

    async def look(rows: Reader) -> list[int]:
        return [row.seq for row in await rows.scan_by(LOG, "at", Span("2026-2", "2026-5"), limit=9)]

    assert await store.read(look) == [2, 3, 4]


async def test_many_keys_are_looked_up_at_once_and_missing_ones_are_left_out(store: Store) -> None:
    many = 1_203  # more than one statement takes
    await store.run(inserted(*map(event, range(many))))

    async def seen(rows: Rows) -> None:
        await rows.put(SEEN, [SeenRow(f"dk-{n}".encode(), n, "") for n in range(many)])

    await store.run(seen)
    dks = [f"dk-{n}".encode() for n in range(many + 5)]

    async def look(rows: Reader) -> tuple[int, dict[int | str | bytes, int | str | bytes]]:
        return len(await rows.get_many(SEEN, dks)), await rows.keys_by(LOG, "dk", dks)

    count, places = await store.read(look)
    assert count == many
    assert places == {f"dk-{n}".encode(): n for n in range(many)}


async def test_a_delete_takes_the_lowest_keys_first_and_says_how_many(store: Store) -> None:
    await store.run(inserted(*map(event, range(10))))

    async def work(rows: Rows) -> list[int]:
        return [await rows.delete(LOG, Span(2, 8), limit=limit) for limit in (4, 4, 4)]

    assert await store.run(work) == [4, 2, 0]
    assert await seqs(store) == [0, 1, 8, 9]


async def test_rows_are_removed_by_their_keys_and_those_that_are_gone_are_not_missed(store: Store) -> None:
    await store.run(inserted(*map(event, range(5))))

    async def work(rows: Rows) -> list[int]:
        return [await rows.remove_many(LOG, keys) for keys in ((1, 3, 9), (3,), ())]

    assert await store.run(work) == [2, 0, 0]
    assert await seqs(store) == [0, 2, 4]


async def test_rows_are_counted_by_key(store: Store) -> None:
    await store.run(inserted(*map(event, range(10))))

    async def look(rows: Reader) -> tuple[int, int]:
        return await rows.count(LOG), await rows.count(LOG, Span(3, 5))

    assert await store.read(look) == (10, 2)


async def test_the_largest_number_and_every_byte_are_kept(store: Store) -> None:
    row = HeadRow(0, 2**53 - 1, 2**53 - 1, bytes(range(256)))

    async def work(rows: Rows) -> HeadRow | None:
        await rows.insert(HEAD, [row])
        return await rows.get(HEAD, 0)

    assert await store.run(work) == row


async def test_work_of_one_moment_does_not_undo_each_other(store: Store) -> None:
    """More pieces than one commit takes, every third of them with a conflict."""
    await store.run(inserted(event(0)))

    async def one(number: int) -> bool:
        try:
            await store.run(inserted(event(number if number % 3 else 0, dk=f"n-{number}".encode())))
        except ConflictError:
            return False
        return True

    done = await asyncio.gather(*map(one, range(1, 601)))
    assert done == [number % 3 != 0 for number in range(1, 601)]
    assert await seqs(store) == [0, *(number for number in range(1, 601) if number % 3)]


async def test_work_nobody_waits_for_any_more_does_no_harm(store: Store) -> None:
    waiting = asyncio.ensure_future(store.run(inserted(event(1))))
    await asyncio.sleep(0)
    waiting.cancel()
    await store.run(inserted(event(2)))
    assert set(await seqs(store)) - {1} == {2}
