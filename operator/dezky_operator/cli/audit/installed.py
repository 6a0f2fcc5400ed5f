"""The installation as its cluster knows it: its log's store and keys, by the rights of whoever runs the command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import msgspec
from lightkube import AsyncClient, ConfigError

from dezky_operator.audit.errors import KeyFormatError, NoteError
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.stored_trust import first_note
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.config import AuditSettings, Settings, SettingsError
from dezky_operator.kube.audit_keys import KeysSecret
from dezky_operator.kube.audit_store import open_store
from dezky_operator.kube.transport import cluster_config
from dezky_operator.store.interface import Store


class Installed(msgspec.Struct, frozen=True):
    """One installation. ``kubeconfig`` None: by the pod's service account. All raise SettingsError."""

    settings: Settings
    kubeconfig: str | None = None

    async def store(self) -> Store:
        """The log's store, which is not made where it is missing."""
        async with self._client("name where the audit log is") as client:
            return await open_store(self._audit, client, self.settings.namespace, existing=True)

    async def keys(self, store: Store) -> Keys:
        """The log's from its Secret, those of tenants and people from the store, wrapped."""
        async with self._client("give the Secret of audit.keysSecret") as client:
            keys = await self._secret(client).read(self._origin, new=False, environment={})
        people = KeyStore(store, keys.master)
        try:
            signers = keys.signers(keys.first(await first_note(store), epoch=self._audit.epoch))
        except (KeyFormatError, NoteError) as error:
            raise SettingsError(f"audit.keysSecret: {error}. Restore the Secret from your backup.") from error
        return Keys(people.ring, tuple(key.verify_key.vkey for key in signers.log), people.find)

    async def add_key(self) -> str:
        """Make the key that signs the log next; its vkey."""
        async with self._client("take the new key; nothing was changed") as client:
            return await self._secret(client).add(self._origin)

    @property
    def _audit(self) -> AuditSettings:
        if self.settings.audit is None:
            raise SettingsError("audit: is missing: this installation keeps no audit log.")
        return self.settings.audit

    @property
    def _origin(self) -> str:
        return f"{self.settings.installation_id}/audit/{self._audit.epoch}"

    def _secret(self, client: AsyncClient) -> KeysSecret:
        return KeysSecret(client, self.settings.namespace, self._audit.keys_secret)

    @asynccontextmanager
    async def _client(self, purpose: str) -> AsyncIterator[AsyncClient]:
        """A way to the API server, for one purpose. Raises SettingsError where there is none, or it does not do it."""
        try:
            client = AsyncClient(cluster_config(self.kubeconfig), trust_env=False)
        except (ConfigError, OSError) as error:
            raise SettingsError(
                f"no way to the API server: {error}. Give --kubeconfig, or run it in the pod: kubectl dezky audit."
            ) from error
        try:
            yield client
        except httpx2.HTTPError as error:
            raise SettingsError(f"the API server did not {purpose} ({error}).") from error
        finally:
            await client.close()
