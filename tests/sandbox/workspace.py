"""The whole workspace as stand-ins on loopback, and the settings an operator needs to serve it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.dns.server import DnsStandIn
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.stalwart.server import StalwartStandIn
from tests.sandbox.standin import Snapshot, StandIn

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
NAMESPACE = "dezky-system"
BASE_DOMAIN = "dezky.test"


@dataclass
class Workspace:
    """Authentik, Stalwart, OCIS and DNS. OCIS trusts this Authentik, as in production."""

    authentik: AuthentikStandIn = field(default_factory=AuthentikStandIn)
    stalwart: StalwartStandIn = field(default_factory=StalwartStandIn)
    ocis: OcisStandIn = field(default_factory=OcisStandIn)
    dns: DnsStandIn = field(default_factory=DnsStandIn)
    dns_timeout: float = 1.0
    """Seconds the operator waits for an answer of DNS."""

    @property
    def systems(self) -> tuple[StandIn, ...]:
        """The three that tenants live in."""
        return (self.authentik, self.stalwart, self.ocis)

    async def start(self) -> Self:
        """All of them, on free ports."""
        for standin in (*self.systems, self.dns):
            await standin.start()
        self.ocis.issuer = f"{self.authentik.url}/application/o/dezky-ocis/"
        return self

    async def stop(self) -> None:
        """All of them; their state stays."""
        for standin in (*self.systems, self.dns):
            await standin.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The operator's settings; ``changes`` replace whole sections."""
        return {
            "installationId": INSTALLATION,
            "namespace": NAMESPACE,
            "baseDomain": BASE_DOMAIN,
            "domainVerification": "None",
            "authentik": {
                "url": self.authentik.url,
                "tokenSecretRef": {"name": "authentik"},
                "requestsPerSecond": 2000,
            },
            "stalwart": {"url": self.stalwart.url, "tokenSecretRef": {"name": "stalwart"}, "requestsPerSecond": 2000},
            "ocis": {
                "url": self.ocis.url,
                "auth": "Oidc",
                "issuer": self.ocis.issuer,
                "clientId": "dezky-ocis",
                "secretRef": {"name": "ocis"},
                "requestsPerSecond": 2000,
            },
            "dns": {
                "servers": [f"127.0.0.1:{self.dns.port}"],
                "timeoutSeconds": self.dns_timeout,
                "recheckSeconds": 2.0,
            },
            "deletion": {"graceSeconds": 0, "lookSeconds": 0.3},
            "purge": {"auditWaitSeconds": 0, "waitSeconds": 0.5, "lookSeconds": 0.5},
            "reconcile": {"breakerPauseSeconds": 0.3, "credentialsCheckSeconds": 0.5, "watchCheckSeconds": 5.0},
            "metrics": {"host": "127.0.0.1", "port": 0},
            "log": {"format": "console", "level": "info"},
            **changes,
        }

    def write_settings(self, path: Path, **changes: Any) -> Path:
        """The settings as a file: JSON is YAML."""
        path.write_text(json.dumps(self.settings(**changes), indent=2))
        return path

    def writes(self) -> dict[str, int]:
        """How many writes each system has seen since :meth:`forget`."""
        return {standin.name: len(standin.writes) for standin in self.systems}

    def snapshot(self) -> tuple[Snapshot, ...]:
        """The state of all three, for :meth:`restore`."""
        return tuple(standin.snapshot() for standin in self.systems)

    def restore(self, snapshots: tuple[Snapshot, ...]) -> None:
        """All three as they were; DNS is left alone."""
        for standin, snapshot in zip(self.systems, snapshots, strict=True):
            standin.restore(snapshot)

    def forget(self) -> None:
        """Count from here."""
        for standin in self.systems:
            standin.calls.clear()
