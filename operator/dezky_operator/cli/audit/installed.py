"""The installation's own keys: the log's from its Secret, those of tenants and people from the store, wrapped."""

from __future__ import annotations

import httpx2
from lightkube import AsyncClient, ConfigError

from dezky_operator.audit.errors import KeyFormatError, NoteError
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.stored_trust import first_note
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.config import Settings, SettingsError
from dezky_operator.kube.audit_keys import KeysSecret
from dezky_operator.kube.transport import cluster_config
from dezky_operator.store.interface import Store


async def installed(settings: Settings, store: Store) -> Keys:
    """The keys, read with the rights of the process: in the pod its service account. Raises SettingsError."""
    secret, origin = _secret(settings)
    epoch = settings.audit.epoch if settings.audit else 1
    try:
        keys = await secret.read(origin, new=False, environment={})
    except httpx2.HTTPError as error:
        raise SettingsError(f"the API server did not give the Secret of audit.keysSecret ({error}).") from error
    people = KeyStore(store, keys.master)
    try:
        signers = keys.signers(keys.first(await first_note(store), epoch=epoch))
    except (KeyFormatError, NoteError) as error:
        raise SettingsError(f"audit.keysSecret: {error}. Restore the Secret from your backup.") from error
    return Keys(people.ring, tuple(key.verify_key.vkey for key in signers.log), people.find)


async def add_key(settings: Settings) -> str:
    """Make the key that signs the log next; its vkey. Raises SettingsError."""
    secret, origin = _secret(settings)
    try:
        return await secret.add(origin)
    except httpx2.HTTPError as error:
        raise SettingsError(f"the API server did not take the new key ({error}). Nothing was changed.") from error


def _secret(settings: Settings) -> tuple[KeysSecret, str]:
    """The Secret, and the name of the log. Raises SettingsError."""
    if settings.audit is None:
        raise SettingsError("audit: is missing: this installation keeps no audit log.")
    origin = f"{settings.installation_id}/audit/{settings.audit.epoch}"
    try:
        client = AsyncClient(cluster_config(None))
    except ConfigError as error:
        raise SettingsError(f"no way to the API server: {error}. Run it in the pod: kubectl dezky audit.") from error
    return KeysSecret(client, settings.namespace, settings.audit.keys_secret), origin
