"""The audit log beside a crash sweep: no write without its intent before it, no intent without its end after it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dezky_operator.audit import hot
from dezky_operator.audit.line import Line, decode
from dezky_operator.ingest.own.steps import ENDS, INTENT
from dezky_operator.store.interface import Reader, Span
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import LOG
from tests.faults.writes import Place, Point

PATIENCE = 10.0
RECORDED = frozenset({Place.AUTHENTIK, Place.STALWART, Place.OCIS})
"""Where every write is a step's, but for those of a sign-in."""
SIGN_IN = ("/api/v3/flows/executor/", "/application/o/")


@dataclass
class Book:
    """The log in ``directory``, read beside whoever writes it."""

    directory: Path
    _read: int = 0

    async def turn_over(self) -> None:
        """Only what is written from now on counts."""
        self._read = await self._size()

    async def check_at(self, point: Point) -> None:
        """The process ended at ``point``: whatever arrived there or was about to was announced and has no end."""
        if point.write.place not in RECORDED or any(path in point.write.what for path in SIGN_IN):
            return
        announced = {line.data["step"] for line in await self._lines() if line.data.get("system") == point.write.place}
        ended = {line.data["step"] for line in await self._lines() if line.action in ENDS}
        assert announced - ended, f"{point}: the log holds no intent that is without an end"

    async def check_end(self) -> None:
        """Everything that was announced has one end. The last of them may still be on their way to the disk."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (wrong := await self._without_one_end()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert not wrong, f"steps without exactly one end: {wrong}"

    async def _without_one_end(self) -> dict[str, int]:
        lines = await self._lines()
        ends = Counter(str(line.data["step"]) for line in lines if line.action in ENDS)
        steps = {
            str(line.data["step"]): f"{line.data['system']} {line.data['kind']}"
            for line in lines
            if line.action == INTENT
        }
        return {f"{what} {step}": ends[step] for step, what in steps.items() if ends[step] != 1}

    async def _lines(self) -> list[Line]:
        async def look(rows: Reader) -> list[bytes]:
            return [row.body for row in await rows.scan(LOG, Span(low=self._read), limit=100_000)]

        store = await self._opened()
        try:
            return [decode(body) for body in await store.read(look)]
        finally:
            await store.close()

    async def _size(self) -> int:
        async def look(rows: Reader) -> int:
            return (await hot.tip(rows, await hot.head_row(rows))).size

        store = await self._opened()
        try:
            return await store.read(look)
        finally:
            await store.close()

    async def _opened(self) -> SqliteStore:
        return await SqliteStore.open(self.directory / "audit-1.db")
