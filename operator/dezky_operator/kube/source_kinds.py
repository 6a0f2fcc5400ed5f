"""What is read for each type of AuditSource."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from dezky_operator.audit.times import written
from dezky_operator.config import SecretRef, Settings
from dezky_operator.crd.auditsource import AuditSource
from dezky_operator.ingest.authentik.poll import AuthentikPoll
from dezky_operator.ingest.ocis.people import People
from dezky_operator.ingest.ocis.recovery import recovered
from dezky_operator.ingest.ocis.tail import OcisTail
from dezky_operator.ingest.source import Source, SourceError
from dezky_operator.ingest.tenants import Tenants
from dezky_operator.integrations.apply import Trail
from dezky_operator.integrations.authentik.bootstrap import OPERATOR
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.kube.sources import Way
from dezky_operator.kube.systems import Clients, Wiring, authentik_connection
from dezky_operator.kube.webhook import Means, StalwartWebhook


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
        trail: Trail,
    ) -> None:
        """``tenants`` gives all of them at the moment; ``secret`` keys hashes of tokens and texts; ``trail`` records
        what is done to have events sent.
        """
        self._settings, self._clients, self._wiring = settings, clients, wiring
        self._tenants, self._secret, self._trail = tenants, secret, trail

    async def make(self, source: AuditSource, way: Way) -> Source:
        """What is read for ``source``."""
        allow = frozenset(source.spec.allow) if source.spec.allow is not None else None
        if source.spec.ocis is not None:
            return self._ocis(source, Path(source.spec.ocis.path), allow, way)
        if source.spec.type == "authentik":
            return AuthentikPoll(
                self._authentik(source), src=source.name, allow=allow, tenants=self._tenants, now=_now, own=OPERATOR
            )
        return StalwartWebhook(source.name, way, self._webhook())

    def _ocis(self, source: AuditSource, path: Path, allow: frozenset[str] | None, way: Way) -> OcisTail:
        people = People(self._clients.ocis, clock=monotonic)
        return OcisTail(
            path,
            src=source.name,
            allow=allow,
            tenants=self._tenants,
            token_key=self._secret(),
            now=_now,
            names=people,
            ask=people.ask,
            lost=lambda: recovered(way.store, source.name, heartbeat=_now()),
            silent_after=source.spec.silent_after_seconds,
        )

    def _webhook(self) -> Means:
        if self._settings.audit is None:
            raise SourceError("NoLog", "audit: is missing in the settings, so nothing is taken in.")
        return Means(
            settings=self._settings,
            audit=self._settings.audit,
            client=self._clients.stalwart,
            secrets=self._wiring.reader,
            tenants=self._tenants,
            metrics=self._wiring.metrics,
            trail=self._trail,
            key=self._secret,
            clock=monotonic,
        )

    def _authentik(self, source: AuditSource) -> AuthentikClient:
        own = source.spec.authentik
        if own is None:
            return self._clients.authentik
        ref = SecretRef(name=own.token_secret_ref.name, key=own.token_secret_ref.key)
        return AuthentikClient(authentik_connection(self._settings, self._wiring, ref))


def _now() -> str:
    return written(datetime.now(UTC))
