"""What the mail server says to a message for an address."""

from __future__ import annotations

import asyncio
import itertools

from tests.sandbox.workspace import Workspace

_senders = itertools.count()


async def recipient(workspace: Workspace, address: str) -> str:
    """The answer to RCPT. Each message has another sender domain: repeated ones are throttled (facts 11.6)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", workspace.stalwart.smtp_port)
    try:
        sender = f"a@b{next(_senders)}.test"
        writer.write(f"EHLO test\r\nMAIL FROM:<{sender}>\r\nRCPT TO:<{address}>\r\nQUIT\r\n".encode())
        lines = (await asyncio.wait_for(reader.read(), 10)).decode().splitlines()
    finally:
        writer.close()
        await writer.wait_closed()
    return lines[-2]
