"""The Authentik stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web

from tests.sandbox.authentik.actions import Actions
from tests.sandbox.authentik.api import Api
from tests.sandbox.authentik.events import Events
from tests.sandbox.authentik.oauth import OAuth
from tests.sandbox.authentik.sign_in import SignIn
from tests.sandbox.authentik.store import Store
from tests.sandbox.standin import StandIn


class AuthentikStandIn(StandIn):
    """Authentik 2026.8 as a client sees it.

    ``store`` is there for assertions, ``clock`` gives seconds since 1970. Without ``akql`` it is a server before 2026.5
    that has no licence: every search of events is one for words.
    """

    name = "authentik"

    def __init__(
        self,
        *,
        bootstrap_token: str = "bootstrap-token",  # noqa: S107 - known to everybody on purpose
        host_brand_domain: str = "authentik-default",
        clock: Callable[[], float] = time.time,
        akql: bool = True,
    ) -> None:
        super().__init__()
        self.bootstrap_token = bootstrap_token
        self.store = Store(bootstrap_token, host_brand_domain=host_brand_domain, clock=clock, akql=akql)
        for probe in ("live", "ready"):
            self.app.router.add_get(f"/-/health/{probe}/", self._healthy)
        api, sign_in = Api(self.store), SignIn(self.store)
        self._kept = (self.store, api.lists, sign_in)
        for part in (sign_in, OAuth(self.store), Actions(api), Events(api), api):
            part.add_routes(self.app)

    def kept(self) -> tuple[object, ...]:
        """The database, what was listed of it a moment ago, and half-done sign-ins."""
        return self._kept

    async def describe(self, request: web.Request) -> tuple[str, bool]:
        """Signing in makes tokens and sessions, but changes nothing that a client of the API keeps."""
        if not request.path.startswith("/api/v3/") or request.path.startswith("/api/v3/flows/executor/"):
            return "", False
        return await super().describe(request)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(status=204)
