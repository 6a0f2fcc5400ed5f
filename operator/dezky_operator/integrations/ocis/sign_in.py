"""How the operator signs in to OCIS where OCIS accepts only Authentik's tokens (facts/ocis.md 2.1, design 12)."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
import msgspec

from dezky_operator.integrations.connection import Credential
from dezky_operator.integrations.errors import AuthFailed, IdentityDown
from dezky_operator.integrations.steps import System

T = TypeVar("T")
SCOPES = "openid profile email"
RENEW_BELOW = 3600.0
"""Seconds of life below which another token is fetched, so that files go on for that long with Authentik down. A token
that never lives so long is fetched anew at half of its life."""
SILENCE = 5.0
"""Seconds in which an Authentik that did not answer is not asked again."""
REFUSED = 60.0
"""Seconds in which a refusal that another secret would not cure is not asked again."""
CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""RFC 6749 5.2."""


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


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What Authentik refused: not sent again before ``until``, or before the secret is another one."""

    secret_version: str
    message: str
    until: float


class _Discovery(msgspec.Struct, frozen=True):
    token_endpoint: str


class _Issued(msgspec.Struct, frozen=True):
    """RFC 6749 5.1; ``expires_in`` in seconds."""

    access_token: str
    expires_in: float


class _Error(msgspec.Struct, frozen=True):
    """RFC 6749 5.2."""

    error: str = ""


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
        self._refusal: _Refusal | None = None
        self._silent_until = -math.inf
        self._fetching = asyncio.Lock()

    async def credential(self) -> Credential:
        """The token to use now.

        Raises IdentityDown when none can be had and the last one has run out, AuthFailed when Authentik refuses.
        """
        secret = await self._secret()
        async with self._fetching:
            token = self._token
            if token is None or token.secret_version != secret.version or token.renew_at <= self._clock():
                token = await self._renewed(secret)
        version = hashlib.sha256(token.header.encode()).hexdigest()[:16]
        return Credential(header=token.header, version=version, source=secret.source)

    async def _renewed(self, secret: ClientSecret) -> _Token:
        """Another token; while an old one lives, a silent Authentik is no failure yet."""
        refusal = self._refusal
        if refusal and refusal.secret_version == secret.version and self._clock() < refusal.until:
            raise AuthFailed(System.OCIS, refusal.message)
        try:
            self._token = await self._fetch(secret)
        except IdentityDown:
            if self._token is None or self._token.expires <= self._clock():
                raise
        return self._token

    async def _fetch(self, secret: ClientSecret) -> _Token:
        if self._clock() < self._silent_until:
            raise IdentityDown(System.OCIS, self._down())
        try:
            discovery = _decoded(await self._http.get(f"{self._issuer}.well-known/openid-configuration"), _Discovery)
            asked = self._clock()
            answer = await self._http.post(
                discovery.token_endpoint,
                data={
                    "grant_type": "client_credentials",
                    "client_id": self._client_id,
                    "client_secret": secret.value,
                    "scope": SCOPES,
                },
            )
            if answer.status_code in {400, 401, 403}:
                raise self._refused(secret, answer)
            issued = _decoded(answer, _Issued)
        except (httpx2.TransportError, _UnusableError) as error:
            # Every request to OCIS comes by here: without a pause each would wait for Authentik to time out.
            self._silent_until = self._clock() + SILENCE
            raise IdentityDown(System.OCIS, self._down()) from error
        life = issued.expires_in
        return _Token(
            header=f"Bearer {issued.access_token}",
            expires=asked + life,
            renew_at=asked + life - min(RENEW_BELOW, life / 2),
            secret_version=secret.version,
        )

    def _refused(self, secret: ClientSecret, answer: httpx2.Response) -> AuthFailed:
        """A wrong secret is never sent again; what Authentik can cure by itself is tried again after a while."""
        code = _code(answer)
        if code == "invalid_client":
            until, what = math.inf, "Put a valid secret there; the operator notices by itself."
        else:
            until, what = self._clock() + REFUSED, "Run dezky-operator bootstrap: its provider and binding may be gone."
        message = (
            f"Authentik refuses client {self._client_id} with {secret.source} ({code or answer.status_code}), "
            f"so nothing is sent to OCIS. {what}"
        )
        self._refusal = _Refusal(secret_version=secret.version, message=message, until=until)
        return AuthFailed(System.OCIS, message)

    def _down(self) -> str:
        return f"OCIS takes only tokens of {self._issuer}, which gives none now. It is tried again."


class _UnusableError(Exception):
    """An answer that is none: of something in between, or of an Authentik that is still starting."""


def _decoded(answer: httpx2.Response, kind: type[T]) -> T:
    if answer.status_code != 200:
        raise _UnusableError
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _UnusableError from error


def _code(answer: httpx2.Response) -> str:
    """The OAuth2 error code: a word of a fixed list, so it may be shown."""
    try:
        code = msgspec.json.decode(answer.content, type=_Error).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return code if code in CODES else ""
