"""How the operator signs in to OCIS where OCIS accepts only Authentik's tokens (facts/ocis.md 2.1, design 12)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2

from dezky_operator.integrations.connection import Credential
from dezky_operator.integrations.errors import AuthFailed, IdentityDown
from dezky_operator.integrations.steps import System

SCOPES = "openid profile email"
RENEW_BELOW = 3600.0
"""Seconds of life below which another token is fetched, so that files go on for that long with Authentik down. A token
that never lives so long is fetched anew at half of its life."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """The secret of the operator's OAuth2 client; ``source`` names where it comes from."""

    value: str
    version: str
    source: str

    def __repr__(self) -> str:
        """Without the value."""
        return f"ClientSecret({self.source}, version {self.version})"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    expires: float
    renew_at: float
    secret_version: str


class ClientCredentialsAuthorizer:
    """Keeps one token from the issuer's token endpoint."""

    def __init__(
        self,
        *,
        http: httpx2.AsyncClient,
        issuer: str,
        client_id: str,
        secret: Callable[[], Awaitable[ClientSecret]],
        clock: Callable[[], float],
    ) -> None:
        """``secret`` gives the current client secret, and raises AuthFailed without one; ``clock`` in seconds."""
        self._http, self._issuer, self._client_id = http, issuer.rstrip("/") + "/", client_id
        self._secret, self._clock = secret, clock
        self._token: _Token | None = None
        self._fetching = asyncio.Lock()

    async def credential(self) -> Credential:
        """The token to use now. Raises IdentityDown when none can be had and the last one has run out."""
        secret = await self._secret()
        async with self._fetching:
            if not self._fresh(secret):
                await self._renew(secret)
        token = self._token
        if token is None:
            raise IdentityDown(System.OCIS, self._down())
        version = hashlib.sha256(token.header.encode()).hexdigest()[:16]
        return Credential(header=token.header, version=version, source=secret.source)

    def _fresh(self, secret: ClientSecret) -> bool:
        token = self._token
        return token is not None and token.secret_version == secret.version and token.renew_at > self._clock()

    async def _renew(self, secret: ClientSecret) -> None:
        """Fetch a token; while an old one lives, a failure is not one yet."""
        try:
            self._token = await self._fetch(secret)
        except httpx2.TransportError as error:
            if self._token is None or self._token.expires <= self._clock():
                self._token = None
                raise IdentityDown(System.OCIS, self._down()) from error

    async def _fetch(self, secret: ClientSecret) -> _Token:
        discovery = await self._http.get(f"{self._issuer}.well-known/openid-configuration")
        if discovery.status_code != 200:
            raise IdentityDown(System.OCIS, self._down())
        asked = self._clock()
        answer = await self._http.post(
            discovery.json()["token_endpoint"],
            data={
                "grant_type": "client_credentials",
                "client_id": self._client_id,
                "client_secret": secret.value,
                "scope": SCOPES,
            },
        )
        if answer.status_code in {400, 401, 403}:
            raise AuthFailed(
                System.OCIS,
                f"Authentik refuses client {self._client_id} with {secret.source}, so nothing is sent to OCIS. "
                "Put a valid secret there; the operator notices by itself.",
            )
        if answer.status_code != 200:
            raise IdentityDown(System.OCIS, self._down())
        document = answer.json()
        life = float(document["expires_in"])
        return _Token(
            header=f"Bearer {document['access_token']}",
            expires=asked + life,
            renew_at=asked + life - min(RENEW_BELOW, life / 2),
            secret_version=secret.version,
        )

    def _down(self) -> str:
        return f"OCIS takes only tokens of {self._issuer}, which gives none now. It is tried again."
