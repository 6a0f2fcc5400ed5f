"""SQLite's own promises: what it refuses to open, and what is left when disk or process end in mid-write."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import apsw
import pytest

from dezky_operator.store.interface import Reader, Rows, Span, StartError, UnavailableError
from dezky_operator.store.sqlite import Options, SqliteStore
from dezky_operator.store.sqlite.guards import mount_of
from dezky_operator.store.tables import INBOX, LOG, ROTATIONS, TILES, LogRow, TileRow
from tests.disks import disk
from tests.unit.test_store_conformance import event, inserted, seqs

WRITER = Path(__file__).parent.parent / "store_writer.py"
LOCAL = "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def bytes_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


def modes_in(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def closed_to_all(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o755)


@pytest.mark.parametrize("version", ["3.51.2", "3.50.6", "3.44.5", "3.45.3", "3.40.1", "2.8.17"])
async def test_a_library_that_loses_commits_is_refused_by_its_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(StartError, match=version.replace(".", r"\.")):
        await SqliteStore.open(tmp_path / "audit.db", Options(version=version))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "3.50.7", "3.44.6", "4.0.0"])
async def test_a_library_with_the_repair_is_taken(tmp_path: Path, version: str) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db", Options(version=version))
    await store.close()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs", "virtiofs"])
async def test_a_network_file_system_is_refused_by_the_name_of_its_mount(tmp_path: Path, kind: str) -> None:
    mounts = f"{LOCAL}40 25 0:33 / {tmp_path} rw - {kind} nas:/volume rw\n"
    with pytest.raises(StartError) as refused:
        await SqliteStore.open(tmp_path / "audit.db", Options(mounts=mounts))
    assert f"{tmp_path}, a network file system ({kind} of nas:/volume)" in str(refused.value)
    assert names_in(tmp_path) == []


async def test_a_local_volume_below_a_network_mount_is_taken(tmp_path: Path) -> None:
    mounts = f"40 25 0:33 / {tmp_path.parent} rw - nfs4 nas:/ rw\n41 40 8:1 / {tmp_path} rw - ext4 /dev/sdb rw\n"
    await (await SqliteStore.open(tmp_path / "audit.db", Options(mounts=mounts))).close()


async def test_a_link_to_a_network_mount_is_followed(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share")
    mounts = f"{LOCAL}40 25 0:33 / {tmp_path}/share rw - nfs nas:/ rw\n"
    with pytest.raises(StartError, match="network file system"):
        await SqliteStore.open(tmp_path / "link" / "audit.db", Options(mounts=mounts))


def test_the_mount_on_top_counts_and_blanks_in_its_name_are_read() -> None:
    mounts = f"{LOCAL}40 25 0:33 / /a\\040b rw - ext4 /dev/sdb rw\n41 40 0:34 / /a\\040b rw - nfs nas:/x rw\nrubbish\n"
    found = mount_of(Path("/a b/c"), mounts)
    assert found is not None
    assert (found.point, found.kind) == (Path("/a b"), "nfs")


async def test_memory_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="mmap_size is 4096"):
        await SqliteStore.open(tmp_path / "audit.db", Options(mmap_size=4096))
    assert names_in(tmp_path) == []


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="does not exist"):
        await SqliteStore.open(tmp_path / "volume" / "audit.db")


async def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE mine (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StartError, match="another program"):
        await SqliteStore.open(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_bytes(b"not a database at all, " * 99)
    with pytest.raises(StartError, match="no SQLite database"):
        await SqliteStore.open(path)
    assert path.read_bytes() == b"not a database at all, " * 99


async def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    await (await SqliteStore.open(path)).close()
    later = apsw.Connection(str(path))
    later.pragma("user_version", 99)
    later.close()
    with pytest.raises(StartError, match="schema 99"):
        await SqliteStore.open(path)


async def test_a_file_of_an_earlier_version_gets_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    store = await SqliteStore.open(path)
    await store.run(inserted(event(1)))
    await store.close()
    earlier = apsw.Connection(str(path))
    earlier.execute("DROP TABLE audit_rotations")
    earlier.pragma("user_version", 1)
    earlier.close()
    store = await SqliteStore.open(path)
    assert await store.read(lambda rows: rows.count(LOG)) == 1
    assert await store.read(lambda rows: rows.count(ROTATIONS)) == 0
    await store.close()


async def test_the_file_and_its_journals_are_the_owners_only(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")
    await store.run(inserted(event(1)))
    modes = modes_in(tmp_path)
    await store.close()
    assert modes == {0o600}


async def test_deleted_bytes_are_gone_from_the_files_after_a_scrub(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")
    secret = b"ann@acme.test"

    async def written(rows: Rows) -> None:
        await rows.insert(TILES, [TileRow("0/0", secret)])

    async def erased(rows: Rows) -> int:
        return await rows.delete(TILES, Span(), limit=1)

    await store.run(written)
    assert secret in bytes_in(tmp_path)
    await store.run(erased)
    await store.scrub()
    assert secret not in bytes_in(tmp_path)
    await store.close()


async def test_a_full_disk_refuses_the_work_whole_and_the_store_goes_on(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db", Options(max_pages=150))
    await store.run(inserted(event(0)))
    with pytest.raises(UnavailableError, match="full"):
        await store.run(inserted(*map(event, range(1, 20_000))))
    assert await seqs(store) == [0]
    await store.run(inserted(event(1)))
    assert await seqs(store) == [0, 1]
    await store.close()


@pytest.mark.parametrize("failing", ["wal write", "wal sync"])
async def test_after_a_failing_disk_all_that_can_be_seen_is_written_anew_before_anything_counts(
    tmp_path: Path, failing: str
) -> None:
    """A sync that failed once may be said to have succeeded the next time, with nothing on the disk."""
    with disk(f"disk {failing}") as told:
        store = await SqliteStore.open(tmp_path / "audit.db", Options(vfs=told.name))
        await store.run(inserted(event(0)))
        told.failing = {failing, "sync"}
        with pytest.raises(UnavailableError, match="disk failed"):
            await store.run(inserted(event(1)))
        told.failing = {"sync"}  # the file itself: the rows seen cannot be made safe yet
        with pytest.raises(UnavailableError, match="disk failed"):
            await seqs(store)
        told.failing = set()
        before = Counter(told.done)
        found = await seqs(store)
        assert told.done["sync"] > before["sync"]
        assert told.done["open"] > before["open"]
        assert found[0] == 0
        await store.run(inserted(event(2)))
        assert await seqs(store) == [*found, 2]
        await store.close()


async def test_another_process_that_keeps_the_lock_is_told_apart_from_a_failure(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db", Options(busy_seconds=0.1))
    other = apsw.Connection(str(tmp_path / "audit.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="write lock"):
        await store.run(inserted(event(1)))
    assert await seqs(store) == []
    other.execute("ROLLBACK")
    await store.run(inserted(event(1)))
    assert await seqs(store) == [1]
    other.close()
    await store.close()


async def test_an_error_of_the_work_leaves_nothing_of_it(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")

    async def work(rows: Rows) -> None:
        await rows.insert(LOG, [event(1)])
        raise KeyError("a mistake of the work")

    with pytest.raises(KeyError):
        await store.run(work)
    assert await seqs(store) == []
    await store.close()


async def test_work_that_waits_for_something_else_is_refused(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")

    async def work(rows: Rows) -> None:
        await rows.insert(LOG, [event(1)])
        await Forever()

    with pytest.raises(RuntimeError, match="nothing but the rows"):
        await store.run(work)
    assert await seqs(store) == []
    await store.close()


class Forever:
    """Something to wait for that is none of the store's."""

    def __await__(self) -> Generator[None, None, None]:
        """Never be there."""
        yield


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")
    await store.close()
    await store.close()
    with pytest.raises(UnavailableError, match="closed"):
        await store.run(inserted(event(1)))


async def test_the_inbox_is_no_table_of_sqlite(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")

    async def look(rows: Reader) -> object:
        return await rows.get(INBOX, b"dk")

    with pytest.raises(KeyError):
        await store.read(look)
    await store.close()


# What follows runs the store in processes of its own: tests/store_writer.py writes rows and says what is acknowledged.


def writer(path: Path, *, first: int, step: int = 1, **options: object) -> subprocess.Popen[str]:
    words = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, str(WRITER), str(path), str(first), str(step), *words]
    root = WRITER.parent.parent
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | {"PYTHONPATH": str(root / "operator")}
    )


def words_of(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    with process.stdout as lines:
        return [line.strip() for line in lines]


def acknowledged(words: list[str]) -> list[int]:
    """The numbers in whole lines: of a killed process the last one may be cut."""
    whole = [line for line in words if line.startswith("acked ") and line.endswith(" .")]
    return [int(word) for line in whole for word in line.split()[1:-1]]


async def stored(path: Path) -> list[LogRow]:
    store = await SqliteStore.open(path)
    try:
        return await store.read(all_events_there)
    finally:
        await store.close()


async def all_events_there(rows: Reader) -> list[LogRow]:
    return await rows.scan(LOG, limit=1_000_000)


async def test_a_failing_disk_loses_nothing_acknowledged_and_the_store_opens_again(tmp_path: Path) -> None:
    """The limit on file sizes makes writes fail as a broken disk would; then it is lifted, in the same process."""
    process = writer(tmp_path / "audit.db", first=0, file_limit=700_000)
    words = words_of(process)
    assert process.wait(timeout=30) == 0
    assert any(word.startswith("unavailable") and "disk failed" in word for word in words)
    assert words[-1] == "acked after repair"
    found = {row.seq for row in await stored(tmp_path / "audit.db")}
    assert set(acknowledged(words)) <= found


async def test_a_volume_that_cannot_be_written_is_refused() -> None:
    """In a process without the rights: for root no directory is read-only."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        await (await SqliteStore.open(directory / "audit.db")).close()
        closed_to_all(directory / "audit.db")
        before = names_in(directory)
        process = writer(directory / "audit.db", first=0, user=65534 if os.geteuid() == 0 else os.geteuid())
        words = words_of(process)
        assert process.wait(timeout=30) == 0
        assert words[-1].startswith("refused")
        assert str(directory / "audit.db") in words[-1]
        assert names_in(directory) == before


async def test_kill_in_mid_write_loses_nothing_acknowledged_and_leaves_no_batch_half(tmp_path: Path) -> None:
    """Again and again, at moments of a fixed seed; every batch of ten is one piece of work."""
    path = tmp_path / "audit.db"
    moments = random.Random(9)  # noqa: S311 - repeatable moments, no secret
    acked: list[int] = []
    first = 0
    for _ in range(8):
        process = writer(path, first=first)
        assert process.stdout is not None
        words = [process.stdout.readline().strip()]
        await asyncio.sleep(moments.uniform(0.0, 0.15))  # the moment is what is tested, nothing is waited for
        process.send_signal(signal.SIGKILL)
        words += words_of(process)
        process.wait(timeout=30)
        acked += acknowledged(words)
        found = [row.seq for row in await stored(path)]
        assert found == list(range(len(found)))
        assert len(found) % 10 == 0
        assert set(acked) <= set(found)
        first = len(found)
    assert len(acked) > 80


async def test_two_processes_write_to_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    writers = [writer(path, first=start, step=2, batches=40) for start in (0, 1)]
    for process in writers:
        assert len(acknowledged(words_of(process))) == 400
        assert process.wait(timeout=60) == 0
    assert [row.seq for row in await stored(path)] == list(range(800))
    look = apsw.Connection(str(path))
    assert look.execute("PRAGMA integrity_check").get == "ok"
    look.close()
