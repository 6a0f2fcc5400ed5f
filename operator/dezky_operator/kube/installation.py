"""Whether the systems are this installation's (design 5): two operators with different ids on one workspace would each
take the other's tenants for foreign.

Authentik knows: `bootstrap` marked the group `dezky-tenants`. Another id there ends the process, as no restart helps.
A silent Authentik stops nothing: it is asked until it answers, and nothing is written to it before that.
"""

from __future__ import annotations

import asyncio

import structlog

from dezky_operator.config import SettingsError
from dezky_operator.integrations.authentik.baseline import OtherInstallation
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.errors import IntegrationError

log = structlog.get_logger(__name__)
START_WAITS = 5.0
"""Seconds the start waits for Authentik's answer."""
AGAIN = 2.0
"""Seconds between two questions to an Authentik that gave no answer."""


class Installation:
    """Asks Authentik whose it is."""

    def __init__(self, authentik: AuthentikIntegration) -> None:
        self._authentik = authentik
        self._confirmed = False

    async def look(self) -> None:
        """Ask once, for a short while. Raises SettingsError when it is another installation's."""
        try:
            async with asyncio.timeout(START_WAITS):
                self._confirmed = await self._ask()
        except TimeoutError:
            log.warning("installation not checked yet", error="Authentik did not answer in time")

    async def confirm(self) -> None:
        """Return once it is known to be ours. Raises SettingsError when it is another installation's."""
        while not self._confirmed:
            await asyncio.sleep(AGAIN)
            self._confirmed = await self._ask()

    async def _ask(self) -> bool:
        try:
            await self._authentik.baseline()
        except OtherInstallation as error:
            raise SettingsError(f"installationId: {error}") from error
        except IntegrationError as error:
            log.warning("installation not checked yet", error=str(error))
            return False
        return True
