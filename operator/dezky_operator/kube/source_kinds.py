"""What is read for each type of AuditSource."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from dezky_operator.audit.times import written
from dezky_operator.config import SecretRef, Settings
from dezky_operator.crd.auditsource import AuditSource
from dezky_operator.ingest.authentik.poll import AuthentikPoll
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.source import Look, Source, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.integrations.authentik.bootstrap import OPERATOR
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.kube.sources import Way
from dezky_operator.kube.systems import Clients, Wiring, authentik_connection
from dezky_operator.store.tables import CursorRow


class Unserved:
    """A source whose system does not send to this process: it says so instead of being silent."""

    async def look(self, _cursor: CursorRow | None) -> Look:
        """Raises SourceError."""
        raise SourceError("NoWebhook", "Stalwart's events have no way in: set audit.webhook.secretRef and its url.")

    async def close(self) -> None:
        """There is nothing to close."""


class Kinds:
    """Makes sources."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        wiring: Wiring,
        *,
        tenants: Callable[[], Tenants],
        secret: Callable[[], bytes],
    ) -> None:
        """``tenants`` gives all of them at the moment; ``secret`` keys hashes of tokens and texts."""
        self._settings, self._clients, self._wiring = settings, clients, wiring
        self._tenants, self._secret = tenants, secret

    async def make(self, source: AuditSource, _way: Way) -> Source:
        """What is read for ``source``."""
        allow = frozenset(source.spec.allow) if source.spec.allow is not None else None
        if source.spec.ocis is not None:
            return OcisTail(
                Path(source.spec.ocis.path),
                src=source.name,
                allow=allow,
                tenants=self._tenants,
                token_key=self._secret(),
                now=_now,
            )
        if source.spec.type == "authentik":
            return AuthentikPoll(
                self._authentik(source), src=source.name, allow=allow, tenants=self._tenants, now=_now, own=OPERATOR
            )
        return Unserved()

    def _authentik(self, source: AuditSource) -> AuthentikClient:
        own = source.spec.authentik
        if own is None:
            return self._clients.authentik
        ref = SecretRef(name=own.token_secret_ref.name, key=own.token_secret_ref.key)
        return AuthentikClient(authentik_connection(self._settings, self._wiring, ref))


def _now() -> str:
    return written(datetime.now(UTC))
