"""Credentials of the external systems: read from Secrets, looked at again while the operator runs.

A refused credential stops its system at once (:meth:`Connection.refuse`). What ends the stop is a new version of the
Secret, which is noticed here within seconds: no restart, and no request with the old one in between.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Secret

from dezky_operator.config import SecretRef, Settings, SettingsError
from dezky_operator.integrations.connection import Credential
from dezky_operator.integrations.errors import AuthFailed
from dezky_operator.integrations.steps import System


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

    async def read(self, ref: SecretRef) -> SecretValue | None:
        """The value ``ref`` names; None when Secret or key are missing."""
        secret = await self._secret(ref.name)
        if secret is None or ref.key not in (secret.data or {}):
            return None
        value = base64.b64decode((secret.data or {})[ref.key]).decode().strip()
        version = secret.metadata.resourceVersion if secret.metadata else None
        return SecretValue(value=value, version=version or "", source=self.describe(ref))

    def describe(self, ref: SecretRef) -> str:
        """How messages name ``ref``."""
        return f"Secret {self._namespace}/{ref.name}, key {ref.key}"

    def expire(self) -> None:
        """Have every Secret read again at its next use."""
        self._known.clear()

    async def _secret(self, name: str) -> Secret | None:
        known = self._known.get(name)
        if known and self._clock() - known[0] < self._freshness:
            return known[1]
        try:
            secret = await self._client.get(Secret, name, namespace=self._namespace)
        except ApiError as error:
            if error.status.code == 404:
                self._known.pop(name, None)
                return None
            if known is None:
                raise
            return known[1]
        except httpx2.HTTPError:
            # The API server is away for a moment: what was read last is still the best there is.
            if known is None:
                raise
            return known[1]
        self._known[name] = (self._clock(), secret)
        return secret


class SecretAuthorizer:
    """The ``Authorization`` header of one system, made from its Secret by ``scheme``."""

    def __init__(self, system: System, reader: SecretReader, ref: SecretRef, scheme: Callable[[str], str]) -> None:
        self._system, self._reader, self._ref, self._scheme = system, reader, ref, scheme

    async def credential(self) -> Credential:
        """The current credential. Raises AuthFailed when the Secret or the key is gone."""
        value = await self._reader.read(self._ref)
        if value is None:
            raise AuthFailed(
                self._system,
                f"{self._reader.describe(self._ref)} does not exist, so nothing is sent to {self._system}. "
                "Create it; the operator notices by itself.",
            )
        return Credential(header=self._scheme(value.value), version=value.version, source=value.source)


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
        if await reader.read(ref) is None:
            raise SettingsError(
                f"{key}: {reader.describe(ref)} does not exist. Create it, for example with "
                f"`kubectl -n {settings.namespace} create secret generic {ref.name} --from-literal={ref.key}=...`, "
                "or let `dezky-operator bootstrap` make it."
            )
