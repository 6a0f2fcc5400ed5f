"""Stalwart's webhook as a sender meets it (facts/audit-log.md case 23; C097 to C100)."""

from __future__ import annotations

import asyncio
import hmac
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dezky_operator.audit.refusals import ClockError
from dezky_operator.http.application import WEBHOOK
from dezky_operator.http.ingress import AT_ONCE
from dezky_operator.store.interface import UnavailableError
from tests.webhooks import SECRET, Door, batch, door, sent, settings, signature, until

LOGIN = sent(accountName="bob@acme.test", accountId=3, remoteIp="203.0.113.5", spanId=342282590291531776)
NEW = b"another secret of the same hook."


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as opened:
        yield opened


async def heard(door: Door, head: bytes, *, then: bytes = b"") -> bytes:
    """The answer to raw bytes of a request, of which ``then`` is sent only if the server asks for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        writer.write(head)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        if answer.startswith(b"HTTP/1.1 100"):
            writer.write(then)
            answer += await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        return answer
    finally:
        writer.close()


def head(*lines: str, method: str = "POST", path: str = WEBHOOK) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


# -- who gets in ----------------------------------------------------------------------------------


async def test_a_signed_batch_is_in_the_log_before_it_is_answered(webhook: Door) -> None:
    """C097, C099, C100."""
    answer = await webhook.post(batch(LOGIN, sent("auth.failed", accountName="eve@nord.test")))
    assert (answer.status_code, answer.json()) == (200, {"received": 2})
    assert await webhook.log.actions() == ["stalwart.auth_success", "stalwart.auth_failed"]


async def test_without_a_secret_there_is_no_way_in(tmp_path: Path) -> None:
    async with door(tmp_path, secrets=[]) as closed:
        assert (await closed.post(batch(LOGIN))).status_code == 404
        assert await closed.log.lines() == []


async def test_without_a_signature_nothing_of_the_body_is_asked_for(webhook: Door) -> None:
    """The answer comes although not one byte of the body was sent."""
    answer = await heard(webhook, head("Content-Length: 1000000"))
    assert answer.startswith(b"HTTP/1.1 401")
    answer = await heard(webhook, head("Content-Length: 10", "Expect: 100-continue"), then=b"0123456789")
    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_signed_sender_that_waits_is_asked_for_the_body(webhook: Door) -> None:
    body = batch(LOGIN)
    lines = (f"Content-Length: {len(body)}", "Expect: 100-continue", f"X-Signature: {signature(body)}")
    answer = await heard(webhook, head(*lines), then=body)
    assert b"HTTP/1.1 200" in answer


async def test_the_secret_is_asked_for_before_the_body(tmp_path: Path) -> None:
    async with door(tmp_path, secrets=[]) as closed:
        assert (await heard(closed, head("Content-Length: 1000000"))).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "header", ["deadbeef", "", "é", "A" * 64, "=" * 44, "A" * 1000, "bm90IDMyIGJ5dGVz"], ids=lambda text: text[:12]
)
async def test_what_is_no_signature_is_refused_before_the_body(webhook: Door, header: str) -> None:
    """C098: `deadbeef` is what the original system's test sent."""
    lines = ("Content-Length: 1000000", f"X-Signature: {header}")
    if header == "A" * 64:  # 32 bytes in hex: a signature, though of nothing
        assert (await webhook.post(batch(LOGIN), X_Signature=header)).status_code == 401
    else:
        assert (await heard(webhook, head(*lines))).startswith(b"HTTP/1.1 401")
    assert await webhook.log.lines() == []


async def test_a_signature_of_another_body_is_refused_and_leaves_no_row(webhook: Door) -> None:
    answer = await webhook.post(batch(LOGIN), X_Signature=signature(batch()))
    assert answer.status_code == 401
    assert await webhook.log.lines() == []
    assert webhook.answers("forged") == 1


async def test_a_signature_in_hex_is_taken_too(webhook: Door) -> None:
    """C098: as older senders wrote it, in either case."""
    body = batch(LOGIN)
    code = hmac.digest(SECRET, body, "sha256").hex()
    assert (await webhook.post(body, X_Signature=code)).status_code == 200
    assert (await webhook.post(body, X_Signature=code.upper())).status_code == 200


async def test_during_a_rotation_both_secrets_open_and_afterwards_only_the_new_one(webhook: Door) -> None:
    """C097: the secrets are asked for anew each time."""
    webhook.secrets[:] = [NEW, SECRET]
    assert (await webhook.post(batch(LOGIN), secret=SECRET)).status_code == 200
    assert (await webhook.post(batch(LOGIN), secret=NEW)).status_code == 200
    webhook.secrets[:] = [NEW]
    assert (await webhook.post(batch(LOGIN), secret=SECRET)).status_code == 401
    assert (await webhook.post(batch(LOGIN), secret=NEW)).status_code == 200


# -- deliveries ---------------------------------------------------------------------------------------


async def test_a_replay_is_counted_as_before_and_adds_no_row(webhook: Door) -> None:
    """C100."""
    body = batch(LOGIN, sent("auth.failed", accountName="eve@nord.test"))
    assert [(await webhook.post(body)).json() for _ in range(3)] == [{"received": 2}] * 3
    assert len(await webhook.log.lines()) == 2


async def test_a_batch_that_comes_again_merged_with_newer_events_adds_only_those(webhook: Door) -> None:
    """Its ids are new and its order has changed, as after a lost answer (facts/stalwart.md 5.3, 11.7)."""
    first = [sent(number="100"), sent(number="101"), sent("auth.failed", number="102")]
    await webhook.post(batch(*first))
    again = [sent("auth.failed", number="900"), sent("server.startup", number="901"), sent(number="902"), sent(number="903"), sent(number="904")]  # fmt: skip  # noqa: E501 - one delivery
    assert (await webhook.post(batch(*again))).json() == {"received": 5}
    actions = await webhook.log.actions()
    assert sorted(actions) == sorted(
        ["stalwart.auth_success"] * 3 + ["stalwart.auth_failed", "stalwart.server.startup"]
    )


async def test_equal_events_split_over_two_accepted_bodies_count_as_one(webhook: Door) -> None:
    """The residual (design.md 12): nothing in them tells a repetition from a second event."""
    await webhook.post(batch(sent(number="1")))
    await webhook.post(batch(sent(number="2")))
    assert len(await webhook.log.lines()) == 1


async def test_while_the_log_is_down_what_is_sent_is_on_the_disk_and_in_the_log_once_it_is_back(
    tmp_path: Path,
) -> None:
    """Stalwart would drop it after a day; a log that was set back may be down for longer (facts/audit-log.md 6.1)."""
    async with door(tmp_path, again_seconds=0.01) as webhook:
        for error in (UnavailableError("the disk is full"), ClockError("an hour off"), OSError(5, "spool")):
            webhook.log.down = error
            answer = await webhook.post(batch(LOGIN))
            assert (answer.status_code, answer.json()) == (200, {})
            assert type(error).__name__ in webhook.ingress.notice
        assert len(webhook.files()) == 3
        assert await webhook.log.lines() == []
        webhook.log.down = None
        assert (await webhook.post(batch(LOGIN, sent("auth.failed")))).json() == {"received": 2}
        assert webhook.ingress.notice == ""
        await until(webhook.has_files, "what waited is not in the log")
        assert len(await webhook.log.lines()) == 2


async def test_while_neither_log_nor_disk_takes_anything_nothing_is_acknowledged(tmp_path: Path) -> None:
    async with door(tmp_path) as webhook:
        webhook.log.down = UnavailableError("the disk is full")
        shutil.rmtree(webhook.directory / "incoming")
        answer = await webhook.post(batch(LOGIN))
        assert (answer.status_code, "UnavailableError" in answer.text) == (503, False)
        assert "nor the disk" in webhook.ingress.notice
        assert webhook.files() == []
        webhook.log.down = None
        assert (await webhook.post(batch(LOGIN, sent("auth.failed")))).json() == {"received": 2}
        assert len(await webhook.log.lines()) == 2
        assert webhook.ingress.notice == ""


async def test_an_empty_batch_is_acknowledged(webhook: Door) -> None:
    assert (await webhook.post(batch())).json() == {"received": 0}
    assert webhook.log.calls == []


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", ""])
async def test_the_content_type_says_nothing_where_a_signature_does(webhook: Door, kind: str) -> None:
    """To refuse a signed body for its label would have it sent again until Stalwart drops it."""
    assert (await webhook.post(batch(LOGIN), Content_Type=kind)).status_code == 200


async def test_a_packed_body_is_refused_before_it_is_unpacked(webhook: Door) -> None:
    assert (await webhook.post(b"\x1f\x8b not unpacked", Content_Encoding="gzip")).status_code == 415


async def test_a_body_in_chunks_is_taken(webhook: Door) -> None:
    body = batch(*[sent(spanId=number) for number in range(20)])
    pieces = [body[start : start + 100] for start in range(0, len(body), 100)]
    chunks = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    lines = ("Transfer-Encoding: chunked", f"X-Signature: {signature(body)}", "Expect: 100-continue")
    assert b"HTTP/1.1 200" in await heard(webhook, head(*lines), then=chunks)
    assert len(await webhook.log.lines()) == 20


async def test_a_sender_that_falls_silent_is_let_go(tmp_path: Path) -> None:
    async with door(tmp_path, idle_seconds=0.05) as webhook:
        silent = head("Content-Length: 1000", f"X-Signature: {signature(b'x')}") + b'{"events":['
        assert (await heard(webhook, silent)).startswith(b"HTTP/1.1 408")
        assert webhook.files() == []


async def test_a_sender_that_drips_is_let_go(tmp_path: Path) -> None:
    async with door(tmp_path, whole_seconds=0.1) as webhook:
        reader, writer = await asyncio.open_connection("127.0.0.1", webhook.port)
        writer.write(head("Content-Length: 100000", f"X-Signature: {signature(b'x')}"))
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        while not answer.done():
            writer.write(b" ")
            await asyncio.sleep(0.01)
        assert answer.result().startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_sender_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with door(tmp_path, wanted=settings(counted_bytes=10)) as webhook:
        _, writer = await asyncio.open_connection("127.0.0.1", webhook.port)
        writer.write(head("Content-Length: 1000000", f"X-Signature: {signature(b'x')}") + b"x" * 300_000)
        await until(lambda: webhook.has_files("incoming/.body"), "it never began")
        writer.transport.abort()
        await until(webhook.has_files, "it is left")
        assert await webhook.log.lines() == []


async def test_more_senders_at_once_than_there_is_room_for_are_put_off(webhook: Door) -> None:
    async def answered(status: int) -> bool:
        return (await webhook.post(batch(LOGIN))).status_code == status

    slow = head("Content-Length: 10", f"X-Signature: {signature(b'x')}") + b"{"
    waiting = [await asyncio.open_connection("127.0.0.1", webhook.port) for _ in range(AT_ONCE)]
    for _, writer in waiting:
        writer.write(slow)
    await until(lambda: answered(503), "one more is let in")
    for _, writer in waiting:
        writer.close()
    await until(lambda: answered(200), "nobody is let in any more")


async def test_only_what_is_meant_to_be_public_is_there(webhook: Door) -> None:
    """design.md 9."""
    assert (await webhook.http.get("/health")).status_code == 200
    answer = await webhook.http.get(WEBHOOK)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    for path in ("/", "/ingest", f"{WEBHOOK}/mail", "/metrics"):
        assert (await webhook.http.post(path, content=b"")).status_code == 404
