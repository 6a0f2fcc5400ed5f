"""The seam between applied steps and the audit log."""

from __future__ import annotations


class NoRecorder:
    """Keeps nothing: for installations and tests without an audit log."""

    def of(self, _tenant: str, _phase: str) -> NoRecorder:
        """The recorder of one tenant's steps."""
        return self

    async def intent(self, step: object) -> None:
        """Accept the intent of ``step`` without keeping it."""

    async def done(self, step: object) -> None:
        """Accept that ``step`` is done without keeping it."""

    async def failed(self, step: object, error: Exception) -> None:
        """Accept that ``step`` ended with ``error`` without keeping it."""

    def observed(self, system: object, plan: object) -> None:
        """Accept what observing left to be done without comparing it with anything."""
