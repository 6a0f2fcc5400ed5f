"""A guard in memory, and a clock that is moved by hand: for tests of who signs the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from dezky_operator.audit.checkpoint import Checkpoint
from dezky_operator.audit.guard import GuardError, supersedes


@dataclass
class Memory:
    """A guard in memory; it may be silent, or end the process before or after it kept a note."""

    name: str = "the guard"
    notes: list[bytes] = field(default_factory=list)
    silent: bool = False
    dies: str = ""

    async def newest(self) -> bytes | None:
        if self.silent:
            raise GuardError(f"{self.name} does not answer")
        return self.notes[-1] if self.notes else None

    async def keep(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:  # noqa: ARG002
        if self.silent:
            raise GuardError(f"{self.name} does not answer")
        if self.notes and not supersedes(self.notes[-1], note):
            raise GuardError(f"{self.name} holds one under a later key")
        if self.dies == "before":
            raise KilledError
        self.notes.append(note)
        if self.dies == "after":
            raise KilledError


class KilledError(Exception):
    """The process is gone."""


@dataclass
class Hands:
    """A clock that is moved by hand."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds
