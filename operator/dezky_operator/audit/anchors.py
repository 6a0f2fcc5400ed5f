"""A directory that keeps checkpoints beside the log's store: best on another machine's disk.

Files are only ever added: ``<size, 16 digits>-<unix time>.note`` with the ``.heads`` of the tenants under it, named as
in the archive. They can be copied away and checked with any tool that reads C2SP notes.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from dezky_operator.audit.checkpoint import Checkpoint
from dezky_operator.audit.guard import GuardError

_NOTE = re.compile(r"\d{16}-\d+\.note")


class DirectoryAnchor:
    """One such directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def name(self) -> str:
        """Its path."""
        return f"directory {self._directory}"

    async def newest(self) -> bytes | None:
        """The note of the largest size, the latest of them."""
        try:
            return await asyncio.to_thread(self._newest)
        except OSError as error:
            raise GuardError(f"{self.name} can not be read ({error.strerror}): make it readable") from error

    async def keep(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:
        """Add this one. Both files are on the disk when it returns, the heads first."""
        stem = f"{checkpoint.size:016}-{seconds}"
        try:
            await asyncio.to_thread(self._keep, {f"{stem}.heads": heads, f"{stem}.note": note})
        except OSError as error:
            raise GuardError(f"{self.name} can not be written ({error.strerror}): free or mount it") from error

    def _newest(self) -> bytes | None:
        notes = sorted(path for path in self._directory.iterdir() if _NOTE.fullmatch(path.name))
        return notes[-1].read_bytes() if notes else None

    def _keep(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            _write(self._directory / name, content)


def _write(path: Path, content: bytes) -> None:
    """Write ``path`` so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
