"""A connection that speaks in lines."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Lines:
    """Reads and writes lines that end in CRLF; closes the connection at the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.address = str(writer.get_extra_info("peername")[0])
        """Where the other side is."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def say(self, line: str) -> None:
        """Send one line, or several that are joined by CRLF."""
        self._writer.write(f"{line}\r\n".encode())

    async def next(self) -> str | None:
        """The next line; None when there will be none."""
        try:
            line = await self._reader.readline()
        except (ConnectionError, ValueError):
            return None
        return line.decode(errors="replace").rstrip("\r\n") if line else None

    async def until(self, end: bytes) -> bytes | None:
        """Everything up to ``end``, which is read too but not returned; None when it never comes."""
        try:
            found = await self._reader.readuntil(end)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return found.removesuffix(end)
