"""Somebody who uses the stand-in over HTTP: with a token, or as a person with a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.sandbox.authentik.kinds import Record

REDIRECT = "https://app.acme.test/callback"


@dataclass
class Visitor:
    """``token`` is an API token; a visitor without one has only cookies. Use with ``async with``."""

    url: str
    token: str = ""
    http: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx2.AsyncClient(base_url=self.url, headers=headers, trust_env=False)

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.http.aclose()

    async def ask(self, method: str, path: str, body: Any = None, /, **query: Any) -> httpx2.Response:
        """One call of the API."""
        return await self.http.request(method, f"/api/v3/{path}", json=body, params=query or None)

    async def get(self, path: str, /, **query: Any) -> Any:
        """A document that must be there."""
        answer = await self.ask("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def rows(self, path: str, /, **query: Any) -> list[Record]:
        """The first page of a list."""
        return list((await self.get(path, **query))["results"])

    async def make(self, path: str, /, **body: Any) -> Record:
        """A new object."""
        answer = await self.ask("POST", path, body)
        assert answer.status_code in {200, 201}, answer.text
        return dict(answer.json())

    async def change(self, path: str, method: str = "PATCH", /, **body: Any) -> Record:
        """A change that must be taken."""
        answer = await self.ask(method, path, body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    # -- a person ---------------------------------------------------------------------

    async def sign_in(self, username: str, password: str) -> Record:
        """The log-in flow; its last answer."""
        flow = "flows/executor/default-authentication-flow/?query="
        await self.ask("POST", flow, {"component": "ak-stage-identification", "uid_field": username})
        return dict((await self.ask("POST", flow, {"component": "ak-stage-password", "password": password})).json())

    async def authorize(self, client_id: str, scope: str = "openid", **more: str) -> httpx2.Response:
        """Ask for a code."""
        query = {"client_id": client_id, "redirect_uri": REDIRECT, "response_type": "code", "scope": scope, **more}
        return await self.http.get("/application/o/authorize/", params=query)

    async def code(self, client_id: str, scope: str = "openid", **more: str) -> str:
        """A code that must be given."""
        answer = await self.authorize(client_id, scope, **more)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]

    async def exchange(self, provider: Record, **form: str) -> httpx2.Response:
        """Ask the token endpoint, as the provider's client."""
        own = {"client_id": provider["client_id"], "client_secret": provider["client_secret"]}
        return await self.http.post("/application/o/token/", data={**own, **form})

    async def tokens(self, provider: Record, scope: str = "openid", **more: str) -> Record:
        """Code and exchange; the tokens."""
        code = await self.code(provider["client_id"], scope, **more)
        answer = await self.exchange(provider, grant_type="authorization_code", code=code, redirect_uri=REDIRECT)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def refresh(self, provider: Record, tokens: Record) -> httpx2.Response:
        """Use the refresh token."""
        return await self.exchange(provider, grant_type="refresh_token", refresh_token=tokens["refresh_token"])

    async def userinfo(self, tokens: Record) -> httpx2.Response:
        """What an access token tells."""
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return await self.http.get("/application/o/userinfo/", headers=headers)


async def make_application(admin: Visitor, slug: str, **changes: Any) -> tuple[Record, Record]:
    """A provider that works, with its application; ``changes`` go into the provider."""
    flows = {flow["slug"]: flow["pk"] for flow in await admin.rows("flows/instances/")}
    mappings = [mapping["pk"] for mapping in await admin.rows("propertymappings/provider/scope/")]
    keys = await admin.rows("crypto/certificatekeypairs/")
    body = {
        "name": slug,
        "authorization_flow": flows["default-provider-authorization-implicit-consent"],
        "invalidation_flow": flows["default-provider-invalidation-flow"],
        "redirect_uris": [{"matching_mode": "strict", "url": REDIRECT}],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "property_mappings": mappings,
        "signing_key": keys[0]["pk"],
        "sub_mode": "user_uuid",
    }
    provider = await admin.make("providers/oauth2/", **{**body, **changes})
    return provider, await admin.make("core/applications/", name=slug, slug=slug, provider=provider["pk"])
