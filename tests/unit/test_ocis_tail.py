"""The tailer of OCIS's audit file under everything that is done to such files (C105 to C109, C112, case 24)."""

# ruff: noqa: ASYNC240 - files are changed between two looks, and nothing else waits meanwhile
from __future__ import annotations

import asyncio
import hmac
import os
import shutil
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from dezky_operator.ingest.ocis.files import look_around, opened
from dezky_operator.ingest.ocis.generations import KEPT, Identities
from dezky_operator.ingest.ocis.reading import HEAD, LINES, LONGEST_LINE
from dezky_operator.ingest.source import SourceError
from dezky_operator.store.tables import Generation
from tests.ocis_lines import ALICE, EVERY, LINK_CREATED, TOKEN, numbered
from tests.tails import Followed, actions, lines

GENERATION = Generation("g", 0, b"", 0, b"", inode=0, written=0, ended=False)
ONE, TWO, THREE, FOUR = map(numbered, range(1, 5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
async def ocis(path: Path) -> AsyncIterator[Followed]:
    followed = Followed(path)
    yield followed
    await followed.tail.close()


def append(path: Path, *texts: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(texts))


def rotate(path: Path) -> Path:
    """As logrotate with `nocreate`: the names move up by one."""
    for number in range(9, 0, -1):
        if (old := path.with_name(f"{path.name}.{number}")).exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}"))
    return path.rename(path.with_name(f"{path.name}.1"))


# -- reading on -----------------------------------------------------------------------------------


async def test_lines_become_events_whose_ids_are_the_file_and_the_place_in_it(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    found = await ocis.drain()
    opened, one, two = found
    uuid = opened.ext.removesuffix(":opened")
    assert [one.ext, two.ext] == [f"{uuid}:0", f"{uuid}:{len(ONE)}"]
    assert lines(found) == [ONE, TWO]
    assert opened.data["first_bytes"] == len(ONE)


async def test_a_second_look_reads_only_what_is_new(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    append(path, THREE)
    assert lines(await ocis.drain()) == [THREE]
    assert ocis.offered == len(ocis.log) == 4


async def test_a_line_without_an_end_waits_for_it(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO[:50])
    assert lines(await ocis.drain()) == [ONE]
    append(path, TWO[50:])
    assert lines(await ocis.drain()) == [TWO]


async def test_a_file_whose_first_line_has_no_end_yet_is_no_file_yet(ocis: Followed, path: Path) -> None:
    append(path, ONE[:50])
    assert await ocis.drain() == []
    append(path, ONE[50:])
    assert lines(await ocis.drain()) == [ONE]


async def test_a_look_reads_a_bounded_number_of_lines_and_says_that_there_are_more(ocis: Followed, path: Path) -> None:
    append(path, *map(numbered, range(2 * LINES + 1)))
    looks = [await ocis.look() for _ in range(4)]
    assert [len(lines(look.events)) for look in looks] == [0, LINES, LINES, 1]
    assert [look.more for look in looks] == [True, True, True, False]


async def test_what_the_allow_list_leaves_out_is_counted(ocis: Followed, path: Path) -> None:
    append(path, ONE, EVERY["file_read"] + b"\n", EVERY["public_link_accessed"] + b"\n")
    looks = [await ocis.look() for _ in range(2)]
    assert [look.filtered for look in looks] == [0, 2]
    assert lines(ocis.log.values()) == [ONE]


async def test_the_newest_time_of_a_look_is_told(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    assert [(await ocis.look()).last_event for _ in range(3)] == ["", "2026-11-24T03:59:58.000000Z", ""]


async def test_a_line_that_is_no_record_stops_nothing(ocis: Followed, path: Path) -> None:
    append(path, ONE, b"\0\0\0\n", b"\xef\xbb\xbf{}\n", b"\n", b'{"a":' + b"[" * 100_000 + b"\n", TWO)
    found = await ocis.drain()
    assert lines(found) == [ONE, TWO]
    assert actions(found) == ["ingest.opened"] + ["ingest.malformed"] * 4


async def test_an_error_says_nothing_of_a_token(ocis: Followed, path: Path) -> None:
    append(path, ONE, LINK_CREATED[:-5] + b"\n")
    malformed = (await ocis.drain())[-1]
    assert malformed.action == "ingest.malformed"
    assert TOKEN.encode() not in malformed.raw


# -- what is read again adds nothing -----------------------------------------------------------------


async def test_a_restart_with_the_cursor_reads_nothing_again(ocis: Followed, path: Path) -> None:
    append(path, ONE)  # far below 1 KiB: no file is too short to be known again
    await ocis.drain()
    await ocis.restart(ocis.cursor)
    append(path, TWO)
    assert lines(await ocis.drain()) == [TWO]
    assert ocis.offered == len(ocis.log)


async def test_a_restart_with_any_earlier_cursor_adds_nothing(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    before = ocis.cursor
    looks = [await ocis.look() for _ in range(3)]
    for cursor in (before, *(look.cursor for look in looks)):
        if cursor is not None:
            await ocis.restart(cursor)
            assert await ocis.drain() == []


async def test_events_that_were_not_stored_come_again_without_a_restart(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.look()
    lost = await ocis.tail.look(ocis.cursor)
    again = await ocis.tail.look(ocis.cursor)
    assert [event.ext for event in again.events] == [event.ext for event in lost.events]


async def test_no_event_exists_before_the_cursor_knows_its_file(ocis: Followed, path: Path) -> None:
    """Else a crash between the two would give the file another uuid, and its events another id."""
    append(path, ONE)
    first = await ocis.look()
    assert first.events == ()
    assert [generation.length for generation in first.cursor.generations] == [0]


async def test_a_lost_cursor_is_made_again_from_the_log(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    rotate(path)
    append(path, THREE)
    await ocis.drain()
    await ocis.restart_without_cursor()
    append(path, FOUR)
    assert lines(await ocis.drain()) == [FOUR]


async def test_a_log_without_any_file_gives_no_cursor(ocis: Followed) -> None:
    await ocis.restart_without_cursor()
    assert ocis.cursor is None


# -- rotation by rename -------------------------------------------------------------------------------


async def test_the_old_file_is_read_to_its_end_before_the_new_one(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO)
    rotate(path)
    append(path, THREE)
    found = await ocis.drain()
    assert lines(found) == [TWO, THREE]
    assert actions(found) == ["ingest.opened"]


async def test_a_restart_during_a_rotation_loses_nothing(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    await ocis.tail.close()
    append(path, TWO)
    rotate(path)
    append(path, THREE)
    await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [TWO, THREE]


@pytest.mark.parametrize("is_running", [True, False])
async def test_files_that_were_rotated_unseen_are_read_in_their_order(
    ocis: Followed, path: Path, *, is_running: bool
) -> None:
    append(path, ONE)
    await ocis.drain()
    for text in (TWO, THREE):
        rotate(path)
        append(path, text)
    rotate(path)
    append(path, FOUR)
    if not is_running:
        await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [TWO, THREE, FOUR]


async def test_files_from_before_the_first_look_are_read_once(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    rotate(path)
    append(path, TWO)
    assert lines(await ocis.drain()) == [ONE, TWO]
    await ocis.restart(ocis.cursor)
    assert await ocis.drain() == []


async def test_the_dated_names_of_logrotate_are_known_too(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO)
    path.rename(path.with_name("audit.log-20261124"))
    await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [TWO]


async def test_a_record_that_came_late_into_a_rotated_file_is_read(ocis: Followed, path: Path) -> None:
    """A writer that had opened the file before it was renamed."""
    append(path, ONE)
    await ocis.drain()
    old = rotate(path)
    append(path, TWO)
    await ocis.drain()
    append(old, THREE)
    assert lines(await ocis.drain()) == [THREE]


async def test_a_file_that_was_moved_elsewhere_is_read_to_its_end(ocis: Followed, path: Path, tmp_path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO)
    path.rename(tmp_path / "elsewhere")
    append(path, THREE)
    assert lines(await ocis.drain()) == [TWO, THREE]


async def test_a_file_that_was_moved_elsewhere_is_waited_for_once(ocis: Followed, path: Path, tmp_path: Path) -> None:
    """A writer that had opened it before may still write."""
    append(path, ONE)
    await ocis.drain()
    path.rename(tmp_path / "elsewhere")
    await ocis.look()
    append(tmp_path / "elsewhere", TWO)
    assert lines(await ocis.drain()) == [TWO]


async def test_a_file_that_was_deleted_is_read_to_its_end(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO)
    path.unlink()
    append(path, THREE)
    found = await ocis.drain()
    assert lines(found) == [TWO, THREE]
    assert actions(found) == ["ingest.opened"]


async def test_a_file_that_was_read_to_its_end_is_not_missed_when_it_is_deleted(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    path.unlink()
    await ocis.drain()
    await ocis.restart(ocis.cursor)
    assert await ocis.drain() == []


async def test_the_open_end_of_a_rotated_file_is_taken_as_it_is(ocis: Followed, path: Path) -> None:
    """The disk was full, or OCIS was killed."""
    append(path, ONE)
    await ocis.drain()
    append(path, TWO[:50])
    rotate(path)
    append(path, THREE)
    found = await ocis.drain()
    assert lines(found) == [THREE]
    assert [event.raw for event in found if event.action == "ingest.malformed"] == [TWO[:50]]


async def test_the_open_end_of_a_rotated_file_is_waited_for_once(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO[:50])
    old = rotate(path)
    await ocis.look()
    append(old, TWO[50:])
    found = await ocis.drain()
    assert (lines(found), actions(found)) == ([TWO], [])


async def test_a_line_that_is_ended_after_it_was_taken_as_it_was_is_a_line_of_its_own(
    ocis: Followed, path: Path
) -> None:
    """The process ended before the cursor was stored, and meanwhile the rest of the line came."""
    append(path, ONE)
    await ocis.drain()
    append(path, TWO[:50])
    old = rotate(path)
    before = ocis.cursor
    assert actions(await ocis.drain()) == ["ingest.malformed"]
    append(old, TWO[50:])
    await ocis.restart(before)
    assert lines(await ocis.drain()) == [TWO]


async def test_packed_files_and_files_of_others_are_let_alone(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    rotate(path)
    path.with_name("audit.log.2.gz").write_bytes(b"\x1f\x8b\n")
    path.with_name("audit.log.swp").write_bytes(b"an editor's\n")
    path.with_name("audit.log.d").mkdir()
    append(path, TWO)
    found = await ocis.drain()
    assert lines(found) == [TWO]
    assert actions(found) == ["ingest.opened"]


async def test_a_file_of_a_generation_that_is_forgotten_is_not_read_again(ocis: Followed, path: Path) -> None:
    for number in range(KEPT + 4):
        append(path, numbered(number))
        await ocis.drain()
        path.rename(path.with_name(f"audit.log-{number:02}"))
    assert ocis.cursor is not None
    assert len(ocis.cursor.generations) == KEPT
    append(path, numbered(99))
    assert lines(await ocis.drain()) == [numbered(99)]
    await ocis.restart(ocis.cursor)
    assert await ocis.drain() == []


async def test_files_of_one_and_the_same_time_are_never_read_twice(ocis: Followed, path: Path) -> None:
    """As a backup leaves them that was put back."""
    for number in range(KEPT + 4):
        rotated = path.with_name(f"audit.log-{number:02}")
        append(rotated, numbered(number))
        os.utime(rotated, ns=(10**18, 10**18))
    append(path, numbered(99))
    found = lines(await ocis.drain())
    assert len(found) == len(set(found)) > KEPT
    assert found[-1] == numbered(99)


async def test_a_lost_cursor_knows_more_files_than_a_cursor_keeps(ocis: Followed, path: Path) -> None:
    for number in range(KEPT + 4):
        append(path, numbered(number))
        await ocis.drain()
        path.rename(path.with_name(f"audit.log-{number:02}"))
    await ocis.restart_without_cursor()
    assert await ocis.drain() == []
    append(path, numbered(99))
    assert lines(await ocis.drain()) == [numbered(99)]
    assert ocis.cursor is not None
    assert len(ocis.cursor.generations) == KEPT


# -- truncation -----------------------------------------------------------------------------------------


async def test_a_truncation_is_told_with_lengths_and_without_names(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    os.truncate(path, 0)
    rewound = (await ocis.drain())[0]
    assert rewound.action == "ingest.rewound"
    assert rewound.data == {"old_length": len(ONE + TWO), "new_length": 0}
    append(path, THREE)
    assert lines(await ocis.drain()) == [THREE]
    assert actions(ocis.log.values()) == ["ingest.opened", "ingest.rewound", "ingest.opened"]


async def test_a_truncation_while_nobody_looked_is_told(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    await ocis.tail.close()
    path.write_bytes(THREE)
    await ocis.restart(ocis.cursor)
    found = await ocis.drain()
    assert (actions(found), lines(found)) == (["ingest.rewound", "ingest.opened"], [THREE])


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("after", [[TWO, ONE], [ONE, THREE], [ONE, THREE, FOUR], [TWO, THREE, FOUR]])
async def test_a_file_written_anew_in_the_same_inode_is_another_one(
    ocis: Followed, path: Path, after: list[bytes], *, is_running: bool
) -> None:
    """As long as before, or longer: nothing but its bytes tells it."""
    append(path, ONE, TWO)
    await ocis.drain()
    inode, held = path.stat().st_ino, path.stat().st_mtime_ns
    path.write_bytes(b"".join(after))
    os.utime(path, ns=(held, held))
    assert path.stat().st_ino == inode
    if not is_running:
        await ocis.restart(ocis.cursor)
    found = await ocis.drain()
    assert (actions(found), lines(found)) == (["ingest.rewound", "ingest.opened"], after)


@pytest.mark.parametrize("changed", [0, 5, 6])
async def test_a_change_at_either_end_of_what_was_read_is_seen_at_the_next_look(
    ocis: Followed, path: Path, changed: int
) -> None:
    texts = [numbered(number) for number in range(10, 17)]
    for text in texts:
        append(path, text)
        await ocis.drain()
    texts[changed] = numbered(99)
    path.write_bytes(b"".join([*texts, ONE]))
    found = await ocis.drain()
    assert (actions(found), lines(found)) == (["ingest.rewound", "ingest.opened"], [*texts, ONE])


async def test_a_truncation_is_told_again_until_it_is_stored(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    os.truncate(path, 0)
    lost = await ocis.tail.look(ocis.cursor)
    again = await ocis.tail.look(ocis.cursor)
    assert [event.ext for event in again.events] == [event.ext for event in lost.events] != []
    assert (await ocis.drain())[0].action == "ingest.rewound"
    offered = ocis.offered
    await ocis.restart(ocis.cursor)
    await ocis.drain()
    assert ocis.offered == offered


async def test_a_file_that_was_put_back_and_truncated_again_is_told_twice(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    backup = path.with_name("backup")
    shutil.copyfile(path, backup)
    os.truncate(path, 0)
    await ocis.drain()
    backup.rename(path)
    append(path, TWO)
    assert lines(await ocis.drain()) == [TWO]
    os.truncate(path, 0)
    found = await ocis.drain()
    assert [event.data["old_length"] for event in found] == [len(ONE + TWO)]


@pytest.mark.parametrize("is_running", [True, False])
async def test_what_was_unread_at_a_copytruncate_is_read_in_the_copy(
    ocis: Followed, path: Path, *, is_running: bool
) -> None:
    append(path, ONE)
    await ocis.drain()
    append(path, TWO)
    shutil.copyfile(path, path.with_name("audit.log.1"))
    os.truncate(path, 0)
    append(path, THREE)
    if not is_running:
        await ocis.restart(ocis.cursor)
    found = await ocis.drain()
    assert lines(found) == [TWO, THREE]
    assert ("ingest.rewound" in actions(found)) == is_running


async def test_a_copy_that_is_shorter_than_what_was_read_is_not_read_again(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    shutil.copyfile(path, path.with_name("audit.log.1"))
    append(path, TWO)
    await ocis.drain()
    os.truncate(path, 0)
    append(path, THREE)
    assert lines(await ocis.drain()) == [THREE]


async def test_a_copy_of_the_live_file_is_not_read(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO)
    await ocis.drain()
    shutil.copyfile(path, path.with_name("audit.log.backup"))
    append(path, THREE)
    await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [THREE]


def test_what_was_found_out_about_a_file_is_forgotten_when_it_changes(path: Path) -> None:
    identities = Identities(b"k" * 32)
    for number in range(20):
        append(path, numbered(number))
        place = look_around(path).live
        assert place is not None
        generation = replace(GENERATION, length=len(ONE), first_hmac=hmac.digest(b"k" * 32, numbered(0), "sha256"))
        identities.match([generation], [place])
    assert len(identities._beginnings) == len(identities._prefixes) == 1


# -- equal files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_running", [True, False])
async def test_equal_files_are_two_as_long_as_the_cursor_is_there(
    ocis: Followed, path: Path, *, is_running: bool
) -> None:
    """Records without a time may be equal byte by byte."""
    append(path, ONE)
    await ocis.drain()
    rotate(path)
    append(path, ONE)
    if not is_running:
        await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [ONE]
    rotate(path)
    append(path, ONE, TWO)
    if not is_running:
        await ocis.restart(ocis.cursor)
    assert lines(await ocis.drain()) == [ONE, TWO]


async def test_equal_files_of_a_lost_cursor_are_told_apart_by_their_order(ocis: Followed, path: Path) -> None:
    for texts in ([ONE, TWO], [ONE, THREE]):
        append(path, *texts)
        await ocis.drain()
        rotate(path)
    await ocis.restart_without_cursor()
    assert await ocis.drain() == []


async def test_of_equal_beginnings_the_newest_file_belongs_to_the_newest_generation(ocis: Followed, path: Path) -> None:
    append(path, ONE, TWO, THREE)
    await ocis.drain()
    rotate(path)
    append(path, ONE)
    await ocis.drain()
    append(path, FOUR)
    await ocis.restart_without_cursor()
    assert lines(await ocis.drain()) == [FOUR]


async def test_a_file_is_never_two_generations(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    old = rotate(path)
    append(path, ONE, TWO)
    await ocis.drain()
    old.unlink()
    await ocis.restart_without_cursor()
    assert await ocis.drain() == []


async def test_an_unseen_file_that_begins_like_another_is_read_when_it_is_longer(ocis: Followed, path: Path) -> None:
    append(path, ONE)
    await ocis.drain()
    rotate(path)
    append(path, ONE, TWO)
    rotate(path)
    append(path, THREE)
    assert lines(await ocis.drain()) == [ONE, TWO, THREE]


async def test_an_unseen_file_that_begins_like_a_longer_one_is_taken_for_a_copy_of_it(
    ocis: Followed, path: Path
) -> None:
    """The other limit: it is rotated between two looks, and its first record is equal to that of another file."""
    append(path, ONE, TWO)
    await ocis.drain()
    rotate(path)
    append(path, ONE)
    rotate(path)
    append(path, THREE)
    assert lines(await ocis.drain()) == [THREE]


async def test_an_equal_file_that_nobody_saw_is_lost_with_the_cursor(ocis: Followed, path: Path) -> None:
    """The limit that is left: without the cursor the new file is taken for the one that begins like it."""
    append(path, ONE)
    await ocis.drain()
    path.unlink()
    append(path, ONE, TWO)
    await ocis.restart_without_cursor()
    assert lines(await ocis.drain()) == [TWO]


# -- links, and what is no file -----------------------------------------------------------------------------


async def test_a_link_that_is_swapped_to_another_file_of_the_directory_is_a_rotation(
    ocis: Followed, path: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    append(first, ONE)
    path.symlink_to(first)
    await ocis.drain()
    append(first, TWO)
    append(second, THREE)
    other = tmp_path / "link"
    other.symlink_to(second)
    other.rename(path)
    assert lines(await ocis.drain()) == [TWO, THREE]


async def test_a_link_out_of_the_directory_is_not_followed(ocis: Followed, path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    append(secret, ONE)
    path.symlink_to(secret)
    with pytest.raises(SourceError, match="is not followed") as refused:
        await ocis.look()
    assert refused.value.reason == "LinkedAway"
    path.with_name("audit.log.1").symlink_to(secret)
    path.unlink()
    with pytest.raises(SourceError) as nothing:
        await ocis.look()
    assert nothing.value.reason == "FileMissing"


def test_a_link_that_came_in_between_is_not_opened(path: Path, tmp_path: Path) -> None:
    append(path, ONE)
    place = look_around(path).live
    assert place is not None
    other = tmp_path / "other"
    path.rename(other)
    path.symlink_to(other)
    with pytest.raises(SourceError):
        opened(place)


def test_a_file_that_was_exchanged_in_between_is_not_opened(path: Path) -> None:
    append(path, ONE)
    place = look_around(path).live
    assert place is not None
    rotate(path)
    append(path, TWO)
    assert opened(place) is None
    path.unlink()
    assert opened(place) is None


def test_the_file_a_link_leads_to_is_the_live_one_only(path: Path) -> None:
    target = path.with_name("audit.log-today")
    append(target, ONE)
    path.symlink_to(target)
    files = look_around(path)
    assert files.live is not None
    assert (files.live.inode, files.rotated) == (target.stat().st_ino, [])


async def test_a_link_to_itself_is_no_file(ocis: Followed, path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(SourceError) as refused:
        await ocis.look()
    assert refused.value.reason == "NotAFile"


async def test_a_directory_or_a_pipe_is_no_file(ocis: Followed, path: Path) -> None:
    path.mkdir()
    with pytest.raises(SourceError, match="AUDIT_FILEPATH"):
        await ocis.look()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(SourceError) as refused:
        await ocis.look()
    assert refused.value.reason == "NotAFile"


async def test_a_file_that_never_was_is_told_with_what_ocis_needs(ocis: Followed) -> None:
    with pytest.raises(SourceError) as error:
        await ocis.look()
    assert error.value.reason == "FileMissing"
    for variable in ("OCIS_ADD_RUN_SERVICES=audit", "AUDIT_LOG_TO_FILE=true", "AUDIT_FILEPATH="):
        assert variable in str(error.value)


async def test_a_file_that_was_rotated_before_the_first_look_is_read_while_there_is_no_other(
    ocis: Followed, path: Path
) -> None:
    append(path, ONE)
    rotate(path)
    assert lines(await ocis.drain()) == [ONE]


async def test_a_volume_that_goes_away_and_comes_back_is_no_truncation(
    ocis: Followed, path: Path, tmp_path: Path
) -> None:
    append(path, ONE)
    await ocis.drain()
    await ocis.restart(ocis.cursor)
    away = path.rename(tmp_path.parent / f"{tmp_path.name}-away")
    assert await ocis.drain() == []
    away.rename(path)
    append(path, TWO)
    found = await ocis.drain()
    assert (lines(found), actions(found)) == ([TWO], [])


async def test_a_volume_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="mount the volume") as refused:
        await Followed(tmp_path / "nowhere" / "audit.log").look()
    assert refused.value.reason == "NoDirectory"


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may read everything; somebody else may not."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.fixture
def open_directory(tmp_path: Path) -> Iterator[Path]:
    """Where anybody may come, as in a volume of its own: those of pytest belong to who runs it."""
    closed = [parent for parent in (tmp_path, *tmp_path.parents) if parent.stat().st_uid == os.geteuid()]
    modes = {parent: parent.stat().st_mode for parent in closed if parent != Path("/")}
    for parent, mode in modes.items():
        parent.chmod(mode | 0o055)
    yield tmp_path
    for parent, mode in modes.items():
        parent.chmod(mode)


async def test_a_file_that_may_not_be_read_is_told_with_what_is_needed(open_directory: Path) -> None:
    path = open_directory / "audit.log"
    append(path, ONE)
    path.chmod(0)
    followed = Followed(path)
    with without_rights(), pytest.raises(SourceError, match="Permission denied; the operator runs as uid") as refused:
        await followed.look()
    assert refused.value.reason == "Unreadable"
    path.chmod(0o644)
    assert lines(await followed.drain()) == [ONE]
    await followed.tail.close()


async def test_a_rotated_file_that_may_not_be_read_stops_nothing_and_is_told(open_directory: Path) -> None:
    path = open_directory / "audit.log"
    followed = Followed(path)
    append(path, ONE)
    path.chmod(0o644)
    await followed.drain()
    rotate(path).chmod(0)
    append(path, TWO)
    path.chmod(0o644)
    await followed.restart(followed.cursor)
    with without_rights():
        found = await followed.drain()
        notice = (await followed.look()).notice
    assert lines(found) == [TWO]
    assert notice.startswith("audit.log.1 may not be read")
    await followed.tail.close()


# -- long lines ------------------------------------------------------------------------------------------------


async def test_a_line_that_is_too_long_is_kept_by_its_beginning_and_its_hash(ocis: Followed, path: Path) -> None:
    long = EVERY["file_create"].replace(b"plan", b"x" * LONGEST_LINE)
    append(path, ONE, long, b"\n", TWO)
    found = await ocis.drain()
    oversized = next(event for event in found if event.action == "ingest.oversized")
    assert oversized.data == {"bytes": len(long), "sha256": sha256(long).hexdigest()}
    assert oversized.raw == long[:HEAD]
    assert lines(found) == [ONE, TWO]


@pytest.mark.parametrize("is_restarted", [True, False])
async def test_a_huge_line_is_never_in_memory(ocis: Followed, path: Path, *, is_restarted: bool) -> None:
    """Zeros, as a file system leaves them after a crash; a look in the middle of it, and a restart."""
    append(path, ONE)
    await ocis.drain()
    size = 96 << 20
    os.truncate(path, size // 2)
    tracemalloc.start()
    try:
        await ocis.drain()
        if is_restarted:
            await ocis.restart(ocis.cursor)
        os.truncate(path, size)
        append(path, b"\n", TWO)
        found = await ocis.drain()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
    assert (actions(found), lines(found)) == (["ingest.oversized"], [TWO])
    assert found[0].data["bytes"] == size - len(ONE)
    await ocis.restart(ocis.cursor)
    assert await ocis.drain() == []


async def test_a_file_that_is_truncated_within_its_first_and_too_long_line_is_begun_again(
    ocis: Followed, path: Path
) -> None:
    append(path, b"x" * (LONGEST_LINE + 1))
    await ocis.drain()
    path.write_bytes(ONE)
    found = await ocis.drain()
    assert (lines(found), actions(found)) == ([ONE], ["ingest.rewound", "ingest.opened"])


async def test_a_long_line_whose_end_is_cut_away_again_is_read_as_it_is_then(ocis: Followed, path: Path) -> None:
    append(path, ONE, b"x" * (LONGEST_LINE + 100))
    await ocis.drain()
    os.truncate(path, len(ONE) + 7)
    append(path, b"\n", TWO)
    found = await ocis.drain()
    assert [event.raw for event in found if event.action == "ingest.malformed"] == [b"x" * 7]
    assert lines(found) == [TWO]


async def test_the_token_at_the_cut_of_a_long_line_goes_too(ocis: Followed, path: Path) -> None:
    before = LINK_CREATED.index(TOKEN.encode(), LINK_CREATED.index(b'"ShareToken"')) + 5
    padded = LINK_CREATED.replace(ALICE.encode(), b"x" * (HEAD - before + len(ALICE)), 1)
    append(path, padded, b"y" * LONGEST_LINE, b"\n")
    oversized = (await ocis.drain())[-1]
    assert oversized.action == "ingest.oversized"
    assert TOKEN[:5].encode() not in oversized.raw


# -- silence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("content", "state"), [(None, "is not there"), (b"", "is empty"), (TWO, "gets nothing")])
async def test_a_silent_file_is_told_with_what_is_usually_missing(
    path: Path, content: bytes | None, state: str
) -> None:
    ocis = Followed(path, silent_after=6 * 3600.0)
    append(path, ONE)
    await ocis.drain()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    await ocis.drain()
    ocis.time = "2026-11-24T09:59:59.000000Z"
    assert (await ocis.look()).notice == ""
    ocis.time = "2026-11-24T10:00:00.000000Z"
    notice = (await ocis.look()).notice
    assert f"{path} {state}, for 6 hours by now" in notice
    for variable in ("OCIS_ADD_RUN_SERVICES=audit", "AUDIT_LOG_TO_FILE=true", "AUDIT_FILEPATH="):
        assert variable in notice
    ocis.time = "2026-11-24T20:00:00.000000Z"
    assert (await ocis.look()).notice == notice
    append(path, THREE)
    await ocis.drain()
    assert (await ocis.look()).notice == ""
    await ocis.tail.close()


@pytest.mark.parametrize(("content", "is_told"), [(b"", True), (ONE, False)])
async def test_where_nobody_said_how_long_it_may_be_silent_only_a_file_without_records_is_told(
    ocis: Followed, path: Path, content: bytes, *, is_told: bool
) -> None:
    path.write_bytes(content)
    await ocis.drain()
    ocis.time = "2026-11-25T04:00:00.000000Z"
    assert bool((await ocis.look()).notice) == is_told


# -- one at a time -----------------------------------------------------------------------------------------------


async def test_a_look_that_was_cancelled_is_over_before_the_next_one_begins(path: Path) -> None:
    """It goes on in its thread. Whether another one comes in is waited for a moment, since it must not."""
    second, inside, most = threading.Event(), 0, 0

    def name(_: str) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside > 1:
            second.set()
        second.wait(0.2)
        inside -= 1
        return ""

    followed = Followed(path, names=name)
    append(path, ONE)
    await followed.look()
    first = asyncio.create_task(followed.tail.look(followed.cursor))
    await asyncio.sleep(0)
    first.cancel()
    assert lines(await followed.drain()) == [ONE]
    assert most == 1
    await followed.tail.close()


async def test_looks_that_were_cancelled_lose_nothing(ocis: Followed, path: Path) -> None:
    append(path, *map(numbered, range(500)))
    for _ in range(20):
        look = asyncio.create_task(ocis.tail.look(ocis.cursor))
        await asyncio.sleep(0)
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)
    assert lines(await ocis.drain()) == [numbered(n) for n in range(500)]
