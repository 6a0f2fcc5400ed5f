"""The Secret that holds the audit log's keys: made with a new log, missed with an old one, added to by a rotation."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping

import structlog
from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from dezky_operator.audit.errors import KeyFormatError
from dezky_operator.audit.keys import SEED, log_key
from dezky_operator.audit.log_keys import LogKeys, fresh, next_name, parse
from dezky_operator.config import SettingsError
from dezky_operator.kube.resources import is_status

log = structlog.get_logger(__name__)
SIGNING_KEY = "AUDIT_SIGNING_KEY"


class KeysSecret:
    """Reads the keys, and makes them once."""

    def __init__(
        self, client: AsyncClient, namespace: str, name: str, *, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._client, self._namespace, self._name, self._random = client, namespace, name, random

    async def read(self, origin: str, *, new: bool, environment: Mapping[str, str]) -> LogKeys:
        """The keys of the log ``origin``.

        Args:
            origin: name of the log.
            new: nothing was ever written to it; only then keys that are missing are made.
            environment: may hold AUDIT_SIGNING_KEY.

        Raises:
            SettingsError: they are missing or damaged; the log must not go on under others.
            httpx2.HTTPError: the API server.
        """
        data = await self._data()
        if data is None:
            if not new:
                raise SettingsError(
                    f"audit.keysSecret: {self._where} does not exist, and the log was written under its keys. Restore "
                    "it from your backup: under other keys nobody could check or read what is there."
                )
            data = await self._make()
        return self._parsed(data, origin, environment.get(SIGNING_KEY))

    def _parsed(self, data: Mapping[str, bytes], origin: str, secret: str | None) -> LogKeys:
        try:
            return parse(data, origin=origin, signing_key=secret.encode() if secret else None)
        except KeyFormatError as error:
            raise SettingsError(f"audit.keysSecret: {self._where}: {error}. Restore it from your backup.") from error

    async def add(self, origin: str) -> str:
        """Make the key that signs the log ``origin`` next; its vkey. The operator finds it and lets it follow.

        Raises:
            SettingsError: there is no log whose key could be followed.
            httpx2.HTTPError: the API server; 409 when somebody else changed the Secret meanwhile.
        """
        found = await self._found()
        data = _decoded(found, self._where) if found is not None else {}
        if found is None or found.metadata is None:
            raise SettingsError(f"audit.keysSecret: {self._where} does not exist: the log has no key yet to follow.")
        self._parsed(data, origin, None)
        seed = self._random(SEED)
        patch = {
            "metadata": {"resourceVersion": found.metadata.resourceVersion},
            "data": {next_name(data): base64.b64encode(seed).decode()},
        }
        await self._client.patch(Secret, self._name, patch, namespace=self._namespace, patch_type=PatchType.MERGE)
        return log_key(origin, seed).verify_key.vkey

    @property
    def _where(self) -> str:
        return f"Secret {self._namespace}/{self._name}"

    async def _data(self) -> dict[str, bytes] | None:
        found = await self._found()
        return None if found is None else _decoded(found, self._where)

    async def _found(self) -> Secret | None:
        try:
            return await self._client.get(Secret, self._name, namespace=self._namespace)
        except ApiError as error:
            if is_status(error, 404):
                return None
            raise

    async def _make(self) -> dict[str, bytes]:
        """Make new keys; where another process came first, take those."""
        made = fresh(self._random)
        labels = {"app.kubernetes.io/managed-by": "dezky-operator"}
        data = {key: base64.b64encode(value).decode() for key, value in made.items()}
        metadata = ObjectMeta(name=self._name, namespace=self._namespace, labels=labels)
        try:
            await self._client.create(Secret(metadata=metadata, data=data))
        except ApiError as error:
            if not is_status(error, 409):
                raise
            return await self._data() or made
        log.info("audit keys made", secret=self._where, todo="back it up apart from the log, and note its vkey")
        return made


def _decoded(secret: Secret, where: str) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (secret.data or {}).items()}
    except binascii.Error as error:
        raise SettingsError(f"audit.keysSecret: {where} holds what is no base64.") from error
