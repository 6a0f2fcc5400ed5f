"""The Authentik stand-in."""

from __future__ import annotations

from aiohttp import web

from tests.sandbox.authentik.api import Api
from tests.sandbox.authentik.oauth import OAuth
from tests.sandbox.authentik.store import Store
from tests.sandbox.standin import StandIn


class AuthentikStandIn(StandIn):
    """Authentik 2026.8 as a client sees it. ``store`` is there for assertions."""

    name = "authentik"

    def __init__(self, *, bootstrap_token: str = "bootstrap-token") -> None:
        super().__init__()
        self.bootstrap_token = bootstrap_token
        self.store = Store(bootstrap_token)
        for probe in ("live", "ready"):
            self.app.router.add_get(f"/-/health/{probe}/", self._healthy)
        OAuth(self.store).add_routes(self.app)
        Api(self.store).add_routes(self.app)

    async def describe(self, request: web.Request) -> tuple[str, bool]:
        """Signing in makes tokens and sessions, but changes nothing that a client of the API keeps."""
        if not request.path.startswith("/api/v3/") or request.path.startswith("/api/v3/flows/executor/"):
            return "", False
        return await super().describe(request)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(status=204)
