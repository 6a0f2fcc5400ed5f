"""Bodies too large to be parsed before the answer: on disk first, in the log later, whatever happens in between.

facts/audit-log.md 6.1 and case 23, design.md 12.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import resource
import shutil
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import pytest

from dezky_operator.http.application import WEBHOOK
from dezky_operator.store.interface import UnavailableError
from dezky_operator.store.sqlite import SqliteStore
from tests.webhooks import SECRET, Door, Log, batch, door, sent, settings, signature, until

EVENTS = 1_200
LARGE = batch(*[sent("auth.failed", spanId=number, accountName="bob@acme.test") for number in range(EVENTS)])
MIB = 1 << 20


async def parsed(door: Door, events: int = EVENTS) -> None:
    """Wait until everything is in the log and off the disk."""

    async def look() -> bool:
        return not door.files() and len(await door.log.lines()) == events

    await until(look, f"{door.files()}, {len(await door.log.lines())} lines")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process grows further: the write that would fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_large_body_is_acknowledged_without_a_count_and_parsed_afterwards(tmp_path: Path) -> None:
    async with door(tmp_path) as webhook:
        answer = await webhook.post(LARGE)
        assert (answer.status_code, answer.json()) == (200, {})
        await parsed(webhook)
        assert {line.tenant for line in await webhook.log.lines()} == {(await webhook.log.lines())[0].tenant} != {""}
        assert max(webhook.log.calls) <= 500


async def test_a_large_body_that_comes_again_adds_nothing(tmp_path: Path) -> None:
    async with door(tmp_path) as webhook:
        for _ in range(2):
            await webhook.post(LARGE)
        await parsed(webhook)


async def test_a_large_body_with_a_bad_signature_leaves_nothing_on_disk(tmp_path: Path) -> None:
    async with door(tmp_path) as webhook:
        assert (await webhook.post(LARGE, X_Signature=signature(b"another"))).status_code == 401
        assert webhook.files() == []
        assert await webhook.log.lines() == []


async def test_a_body_of_exactly_the_counted_size_is_counted(tmp_path: Path) -> None:
    body = batch(sent(reason="x" * 3000))
    async with door(tmp_path, wanted=settings(counted_bytes=len(body))) as webhook:
        assert (await webhook.post(body)).json() == {"received": 1}
        assert (await webhook.post(body + b" ")).json() == {}
        await parsed(webhook, 1)


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
async def test_a_body_longer_than_any_may_be_is_refused_with_an_alarm(tmp_path: Path, *, chunked: bool) -> None:
    async with door(tmp_path, wanted=settings(max_body_bytes=len(LARGE) - 1)) as webhook:

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(LARGE), 10_000):
                yield LARGE[start : start + 10_000]

        content = pieces() if chunked else LARGE
        answer = await webhook.http.post(WEBHOOK, content=content, headers={"X-Signature": signature(LARGE)})
        assert answer.status_code == 413
        assert "maxBodyBytes" in webhook.ingress.notice
        assert webhook.answers("too-large") == 1
        assert webhook.files() == []


async def test_below_the_reserve_bodies_are_refused_until_there_is_room_again(tmp_path: Path) -> None:
    free = [MIB]
    wanted = settings(reserve_bytes=MIB - 1000)
    async with door(tmp_path, wanted=wanted, free=lambda _: free[0]) as webhook:
        assert (await webhook.post(LARGE)).status_code == 413
        assert "reserveBytes" in webhook.ingress.notice
        assert webhook.answers("no-room") == 1
        assert webhook.files() == []
        assert (await webhook.post(batch(sent()))).status_code == 200, "small ones need no room there"
        free[0] = 10 * MIB
        assert (await webhook.post(LARGE)).status_code == 200
        assert webhook.ingress.notice == ""
        await parsed(webhook, EVENTS + 1)


async def test_a_disk_that_is_full_in_the_middle_of_a_body_keeps_nothing_of_it(tmp_path: Path) -> None:
    body = batch(*[sent(spanId=number) for number in range(10_000)])
    async with door(tmp_path) as webhook:
        with files_of_at_most(400_000):
            assert (await webhook.post(body)).status_code == 413
        assert webhook.files() == []
        assert webhook.ingress.notice
        assert (await webhook.post(body)).status_code == 200
        await parsed(webhook, 10_000)


async def test_a_disk_that_fails_is_no_acknowledgement(tmp_path: Path) -> None:
    async with door(tmp_path) as webhook:
        shutil.rmtree(webhook.directory / "incoming")
        assert (await webhook.post(LARGE)).status_code == 503
        assert webhook.answers("disk") == 1
        shutil.rmtree(webhook.directory / "pending")
        (webhook.directory / "incoming").mkdir()
        assert (await webhook.post(LARGE)).status_code == 503, "it can not be moved to where it would be found"
        assert webhook.files() == []


async def test_while_the_log_is_down_large_bodies_are_kept_and_parsed_when_it_is_back(tmp_path: Path) -> None:
    async with door(tmp_path, again_seconds=0.01) as webhook:
        webhook.log.down = UnavailableError("down")
        assert (await webhook.post(LARGE)).status_code == 200
        assert webhook.files() == ["pending/.body"]
        webhook.log.down = None
        await parsed(webhook)


async def test_a_body_that_was_half_parsed_is_parsed_again_after_a_restart_and_nothing_is_twice(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "audit.db")
    log = Log(store)
    try:
        async with door(tmp_path, log=log, again_seconds=3600) as webhook:
            log.left = 1
            await webhook.post(LARGE)
            await until(lambda: _has(log, 500), "the first part")
        log.left = None
        async with door(tmp_path, log=log) as webhook:
            await parsed(webhook)
    finally:
        await store.close()


async def _has(log: Log, lines: int) -> bool:
    return len(await log.lines()) == lines


async def test_a_body_that_was_acknowledged_survives_a_kill_before_it_was_parsed(tmp_path: Path) -> None:
    async with process(tmp_path, "stuck") as (url, pid):
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            answer = await http.post(WEBHOOK, content=LARGE, headers={"X-Signature": signature(LARGE)})
        assert answer.status_code == 200
        os.kill(pid, signal.SIGKILL)
    async with door(tmp_path) as webhook:
        await parsed(webhook)


async def test_what_a_crash_left_unacknowledged_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "webhook" / "incoming"
    left.mkdir(parents=True)
    (left / "00000000000000000001-aa.body").write_bytes(b'{"events":[')
    async with door(tmp_path) as webhook:
        assert webhook.files() == []
        assert await webhook.log.lines() == []


async def test_memory_stays_flat_over_a_large_body(tmp_path: Path) -> None:
    """64 MiB come in and are parsed; what the process holds at most grows by less than a quarter of that."""
    event = b'{"id":"1","createdAt":"2026-11-24T04:04:17Z","type":"auth.failed","data":{"details":"%s","spanId":%d}}'
    filler = b"x" * 4_000
    pieces = [event % (filler, number) for number in range(64 * MIB // len(event % (filler, 0)))]
    code = hmac.new(SECRET, digestmod="sha256")

    def body() -> Iterator[bytes]:
        yield b'{"events":['
        for number, piece in enumerate(pieces):
            yield b"," + piece if number else piece
        yield b"]}"

    for piece in body():
        code.update(piece)

    async def stream() -> AsyncIterator[bytes]:
        for piece in body():
            yield piece

    async with process(tmp_path, "swallow") as (url, pid):
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
            small = batch(sent())
            await http.post(WEBHOOK, content=small, headers={"X-Signature": signature(small)})
            before = _peak(pid)
            header = b64encode(code.digest()).decode()
            answer = await http.post(WEBHOOK, content=stream(), headers={"X-Signature": header})
            assert answer.status_code == 200
            await until(lambda: _is_empty(tmp_path / "webhook" / "pending"), "it is not parsed")
        assert _peak(pid) - before < 16 * MIB


def _peak(pid: int) -> int:
    """Bytes the process held at most."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


async def _is_empty(directory: Path) -> bool:
    return not os.listdir(directory)  # noqa: PTH208 - nothing to wait for


@asynccontextmanager
async def process(directory: Path, how: str) -> AsyncIterator[tuple[str, int]]:
    """The way in as a process: its URL and its pid."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.webhook_process",
        str(directory),
        how,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert started.stdout is not None
    try:
        yield (await asyncio.wait_for(started.stdout.readline(), 30)).decode().strip(), started.pid
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()
