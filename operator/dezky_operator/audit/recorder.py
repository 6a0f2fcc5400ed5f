"""The seam between applied steps and the audit log."""

from __future__ import annotations


class NoRecorder:
    """Keeps nothing. Stands where the audit log will, so that every step already passes through one place."""

    async def intent(self, step: object) -> None:
        """Accept the intent of ``step`` without keeping it."""

    async def done(self, step: object) -> None:
        """Accept that ``step`` is done without keeping it."""

    async def failed(self, step: object, error: Exception) -> None:
        """Accept that ``step`` ended with ``error`` without keeping it."""
