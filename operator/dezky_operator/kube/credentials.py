"""Credentials of the external systems: read from Secrets, looked at again while the operator runs.

A refused credential stops its system at once (:meth:`Connection.refuse`). What ends the stop is a new version of the
Secret, which is noticed here within seconds: no restart, and no request with the old one in between.
"""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx2
import structlog
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Secret

from dezky_operator.config import SecretRef, Settings, SettingsError
from dezky_operator.integrations.connection import Credential
from dezky_operator.integrations.errors import AuthFailed, IntegrationError, Unreachable
from dezky_operator.integrations.steps import System

log = structlog.get_logger(__name__)


class UnusableSecret(Exception):  # noqa: N818 - named after what was found
    """A key of a Secret holds nothing that could be a credential. The text names both, never the value."""


@dataclass(frozen=True, slots=True)
class SecretValue:
    """The value of one key of a Secret. ``version`` changes whenever the Secret does; the value is never shown."""

    value: str
    version: str
    source: str

    def __repr__(self) -> str:
        """Without the value."""
        return f"SecretValue({self.source}, version {self.version})"


class SecretReader:
    """Reads Secrets by name, and remembers each for ``freshness`` seconds."""

    def __init__(self, client: AsyncClient, namespace: str, *, clock: Callable[[], float], freshness: float) -> None:
        self._client, self._namespace = client, namespace
        self._clock, self._freshness = clock, freshness
        self._known: dict[str, tuple[float, Secret]] = {}
        self._asking = asyncio.Lock()

    async def read(self, ref: SecretRef) -> SecretValue | None:
        """The value ``ref`` names; None when Secret or key are missing.

        Raises UnusableSecret, and what lightkube raises while nothing was ever read.
        """
        secret = await self._secret(ref.name)
        if secret is None or ref.key not in (secret.data or {}):
            return None
        try:
            value = base64.b64decode((secret.data or {})[ref.key]).decode().strip()
        except ValueError as error:  # no base64, or no UTF-8
            raise UnusableSecret(
                f"{self.describe(ref)} is not UTF-8 text. Put the credential there as text."
            ) from error
        if not value:
            raise UnusableSecret(f"{self.describe(ref)} is empty. Put the credential there.")
        return SecretValue(value=value, version=_version(secret), source=self.describe(ref))

    async def version(self, ref: SecretRef) -> str:
        """What changes whenever the Secret does; empty when there is none."""
        secret = await self._secret(ref.name)
        return _version(secret) if secret else ""

    def describe(self, ref: SecretRef) -> str:
        """How messages name ``ref``."""
        return f"Secret {self._namespace}/{ref.name}, key {ref.key}"

    def expire(self) -> None:
        """Have every Secret read again at its next use; what was read last stays for a silent API server."""
        self._known = {name: (-math.inf, secret) for name, (_, secret) in self._known.items()}

    async def _secret(self, name: str) -> Secret | None:
        async with self._asking:  # one question for all that wait: a silent API server costs each 10 s otherwise
            known = self._known.get(name)
            if known and self._clock() - known[0] < self._freshness:
                return known[1]
            secret = await self._asked(name, known[1] if known else None)
            if secret is None:
                self._known.pop(name, None)
            else:
                self._known[name] = (self._clock(), secret)
            return secret

    async def _asked(self, name: str, last: Secret | None) -> Secret | None:
        try:
            return await self._client.get(Secret, name, namespace=self._namespace)
        except httpx2.HTTPError as error:  # ApiError is one
            if isinstance(error, ApiError) and error.status.code == 404:
                return None
            if last is None:
                raise
            # The API server is away for a moment: what was read last is still the best there is.
            log.warning("secret not read, its last value is used", secret=name, error=type(error).__name__)
            return last


class SecretAuthorizer:
    """The ``Authorization`` header of one system, made from its Secret by ``scheme``."""

    def __init__(self, system: System, reader: SecretReader, ref: SecretRef, scheme: Callable[[str], str]) -> None:
        self._system, self._reader, self._ref, self._scheme = system, reader, ref, scheme

    async def credential(self) -> Credential:
        """The current credential. Raises what :func:`secret_of` raises."""
        value = await secret_of(self._system, self._reader, self._ref)
        header = self._scheme(value.value)
        if not (header.isascii() and header.isprintable()):
            raise AuthFailed(
                self._system,
                f"{value.source} holds characters that no token has, so nothing is sent to {self._system}. "
                "Put the token alone there; the operator notices by itself.",
            )
        return Credential(header=header, version=value.version, source=value.source)


async def secret_of(system: System, reader: SecretReader, ref: SecretRef) -> SecretValue:
    """What ``ref`` names, for ``system``. Raises AuthFailed where a person has to act, else Unreachable."""
    try:
        value = await reader.read(ref)
    except UnusableSecret as error:
        raise AuthFailed(system, f"{error} Until then nothing is sent to {system}.") from error
    except httpx2.HTTPError as error:
        raise _not_given(system, reader.describe(ref), error) from error
    if value is None:
        raise AuthFailed(
            system,
            f"{reader.describe(ref)} does not exist, so nothing is sent to {system}. "
            "Create it; the operator notices by itself.",
        )
    return value


def _not_given(system: System, what: str, error: httpx2.HTTPError) -> IntegrationError:
    if isinstance(error, httpx2.HTTPStatusError) and error.response.status_code in {401, 403}:
        return AuthFailed(
            system, f"The API server forbids to read {what}, so nothing is sent to {system}. Let the operator's role."
        )
    return Unreachable(
        system, f"The API server did not give {what} ({type(error).__name__}), so nothing is sent to {system} now."
    )


class CredentialWatch:
    """Calls ``changed`` as soon as a credential changes: until then its system may be stopped."""

    def __init__(
        self, reader: SecretReader, settings: Settings, *, interval: float, changed: Callable[[], None]
    ) -> None:
        self._reader, self._refs = reader, [ref for _, ref in secret_refs(settings)]
        self._interval, self._changed = interval, changed
        self._known: dict[str, str] = {}

    async def run(self) -> None:
        """Look for ever, every ``interval`` seconds."""
        while True:
            await asyncio.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Look once. An API server that never answered tells nothing."""
        self._reader.expire()
        try:
            versions = {ref.name: await self._reader.version(ref) for ref in self._refs}
        except httpx2.HTTPError as error:
            log.warning("credentials not read", error=type(error).__name__)
            return
        before, self._known = self._known, versions
        if before and before != versions:
            log.info("credentials changed")
            self._changed()


def bearer(token: str) -> str:
    """The header of a bearer token."""
    return f"Bearer {token}"


def basic(user_and_password: str) -> str:
    """The header of HTTP Basic, from `user:password`."""
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def secret_refs(settings: Settings) -> Iterable[tuple[str, SecretRef]]:
    """Every Secret the settings name, with the key that names it."""
    yield "authentik.tokenSecretRef", settings.authentik.token_secret_ref
    yield "stalwart.tokenSecretRef", settings.stalwart.token_secret_ref
    yield "ocis.secretRef", settings.ocis.secret_ref


async def check_secrets(settings: Settings, reader: SecretReader) -> None:
    """Refuse to start without a Secret the settings name. Raises SettingsError."""
    for key, ref in secret_refs(settings):
        try:
            value = await reader.read(ref)
        except UnusableSecret as error:
            raise SettingsError(f"{key}: {error}") from error
        if value is None:
            raise SettingsError(
                f"{key}: {reader.describe(ref)} does not exist. Create it, for example with "
                f"`kubectl -n {settings.namespace} create secret generic {ref.name} --from-literal={ref.key}=...`, "
                "or let `dezky-operator bootstrap` make it."
            )


def _version(secret: Secret) -> str:
    return (secret.metadata.resourceVersion if secret.metadata else None) or ""
