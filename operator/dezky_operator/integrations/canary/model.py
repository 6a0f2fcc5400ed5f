"""What the canary brings back. Tokens are kept in memory only, and shown by no ``repr``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The control: what worked before the lock, and the very tokens it worked with.

    Attributes:
        controls: by system, what came back; a system without an entry has no control, so nothing can be proven for it.
        failures: by system, why there is no control.
        keys: tokens, links and passwords; opaque to everybody but the canary.
    """

    controls: Mapping[System, str]
    failures: Mapping[System, str]
    keys: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The same tokens again, after the lock. ``refused`` is None when the answer proves nothing either way."""

    tried: tuple[str, ...]
    after: str
    refused: bool | None


class Canary(Protocol):
    """Tries the doors of one tenant."""

    async def rehearse(self, intent: TenantIntent) -> Rehearsal:
        """Before the first lock step. Never raises IntegrationError: what fails is told in ``failures``."""

    async def attempt(self, rehearsal: Rehearsal, intent: TenantIntent, system: System) -> Attempt:
        """After the lock of ``system``. Never raises IntegrationError."""
