"""The operator's own events on disk while the log takes none (C076, X08)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.event import Event
from dezky_operator.ingest.own import spool as module
from dezky_operator.ingest.own.acts import act
from dezky_operator.ingest.own.spool import FRAME, Spool

NOW = "2026-11-24T04:00:00.000000Z"


def event(number: int) -> Event:
    return act("step.intent", ext=f"s-{number}:intent", now=NOW, values={"resource.name": "ann@acme.test"})


def exts(events: tuple[Event, ...]) -> list[str]:
    return [found.ext for found in events]


def drained(spool: Spool) -> list[str]:
    found: list[str] = []
    while events := spool.first():
        found += exts(events)
        spool.drop_first()
    return found


def test_events_come_back_whole_and_in_their_order_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(1), event(2)])
    spool.append([event(3)])
    again = Spool(tmp_path)
    assert again.waiting == 3
    assert again.first() == (event(1), event(2), event(3))


def test_what_comes_while_the_first_are_drained_waits_behind_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(1)])
    assert exts(spool.first()) == ["s-1:intent"]
    spool.append([event(2)])
    spool.drop_first()
    assert spool.waiting == 1
    assert drained(spool) == ["s-2:intent"]
    assert list(tmp_path.iterdir()) == []


def test_what_was_given_and_not_dropped_is_given_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([event(1)])
    spool.first()
    assert drained(Spool(tmp_path)) == ["s-1:intent"]


@given(st.integers(0, 400), st.binary(max_size=8))
def test_a_frame_that_a_crash_cut_short_takes_none_of_the_whole_ones_with_it(
    tmp_path_factory: pytest.TempPathFactory, length: int, noise: bytes
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    Spool(directory).append([event(1)])
    (path,) = directory.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: min(length, len(whole) - 1)])
    assert drained(Spool(directory)) == ["s-1:intent"]
    path.write_bytes(whole + FRAME.pack(len(noise), 1) + noise)
    again = Spool(directory)
    again.append([event(2)])
    assert drained(again) == ["s-1:intent", "s-2:intent"]


def test_a_full_disk_takes_nothing_and_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([event(1)])
    written = 0

    def full(handle: int, data: memoryview) -> int:
        nonlocal written
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(handle, data[:5])
        return written

    real = os.write
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            spool.append([event(2)])
    spool.append([event(3)])
    assert drained(spool) == ["s-1:intent", "s-3:intent"]


def test_after_a_failed_sync_nothing_is_put_behind_what_may_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    spool = Spool(tmp_path)
    spool.append([event(1)])
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            spool.append([event(2)])
    spool.append([event(3)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number:016}.spool" for number in (1, 2)]
    assert drained(spool) == ["s-1:intent", "s-3:intent"]


def test_a_long_outage_fills_several_files_which_are_drained_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL", 2_000)
    spool = Spool(tmp_path)
    for number in range(40):
        spool.append([event(number)])
    assert len(list(tmp_path.iterdir())) > 3
    assert len(spool.first()) < 40
    assert drained(Spool(tmp_path)) == [f"s-{number}:intent" for number in range(40)]


def test_nobody_else_of_the_machine_can_read_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([event(1)])
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert next((tmp_path / "spool").iterdir()).stat().st_mode & 0o777 == 0o600
