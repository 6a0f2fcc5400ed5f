"""Somebody who speaks SMTP or IMAP, line by line."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PATIENCE = 5.0
"""Seconds to wait for a line that should come."""


class Connection:
    """A connection that speaks in lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def line(self, patience: float = PATIENCE) -> str | None:
        """The next line; None when the other side has closed. Raises TimeoutError."""
        try:
            async with asyncio.timeout(patience):
                found = await self._reader.readline()
        except ConnectionError:
            return None
        return found.decode().rstrip("\r\n") if found else None

    async def say(self, line: str) -> None:
        """Send a line."""
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()


class Smtp(Connection):
    """SMTP: every command has one answer."""

    async def answer(self) -> str:
        """The last line of an answer, which may have several; empty when the other side has closed."""
        line = await self.line()
        while line and line[3:4] == "-":
            line = await self.line()
        return line or ""

    async def ask(self, command: str) -> str:
        """A command and its answer."""
        await self.say(command)
        return await self.answer()

    async def log_in(self, user: str, password: str) -> str:
        """AUTH PLAIN."""
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return await self.ask(f"AUTH PLAIN {token}")

    async def recipient(self, address: str, *, sender: str = "somebody@elsewhere.test") -> str:
        """A new transaction's answer to one recipient."""
        await self.ask(f"MAIL FROM:<{sender}>")
        return await self.ask(f"RCPT TO:<{address}>")

    async def send(
        self, address: str, text: str = "Subject: hi\r\n\r\nhello", *, sender: str = "a@elsewhere.test"
    ) -> str:
        """A whole message; the last answer."""
        answer = await self.recipient(address, sender=sender)
        if not answer.startswith("250"):
            return answer
        await self.ask("DATA")
        return await self.ask(f"{text}\r\n.")


class Imap(Connection):
    """IMAP: lines until the one with the tag."""

    async def ask(self, command: str, *, patience: float = PATIENCE) -> list[str]:
        """A command and everything up to its tagged line; it ends early when the other side closes."""
        await self.say(f"a1 {command}")
        lines: list[str] = []
        while (line := await self.line(patience)) is not None:
            lines.append(line)
            if line.startswith("a1 "):
                break
        return lines

    async def log_in(self, user: str, password: str) -> list[str]:
        """LOGIN; no lines at all when the other side closed."""
        return await self.ask(f'LOGIN "{user}" "{password}"')


@asynccontextmanager
async def smtp(port: int, *, address: str = "127.0.0.1") -> AsyncIterator[Smtp]:
    """A connection that was greeted and has said EHLO."""
    found = Smtp(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
    try:
        if await found.answer():
            await found.ask("EHLO test")
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def imap(port: int, *, address: str = "127.0.0.1") -> AsyncIterator[Imap]:
    """A connection that was greeted."""
    found = Imap(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
    try:
        await found.line()
        yield found
    finally:
        await found.close()
