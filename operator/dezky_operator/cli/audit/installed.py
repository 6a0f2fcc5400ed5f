"""The installation's own keys: the log's from its Secret, those of tenants and people from the store, wrapped."""

from __future__ import annotations

import httpx2
from lightkube import AsyncClient, ConfigError

from dezky_operator.audit.keystore import KeyStore
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.config import Settings, SettingsError
from dezky_operator.kube.audit_keys import KeysSecret
from dezky_operator.kube.transport import cluster_config
from dezky_operator.store.interface import Store


async def installed(settings: Settings, store: Store) -> Keys:
    """The keys, read with the rights of the process: in the pod its service account. Raises SettingsError."""
    if settings.audit is None:
        raise SettingsError("audit: is missing: this installation keeps no audit log.")
    origin = f"{settings.installation_id}/audit/{settings.audit.epoch}"
    try:
        client = AsyncClient(cluster_config(None))
        secret = KeysSecret(client, settings.namespace, settings.audit.keys_secret)
        keys = await secret.read(origin, new=False, environment={})
    except ConfigError as error:
        raise SettingsError(f"no way to the API server: {error}. Run it in the pod: kubectl dezky audit.") from error
    except httpx2.HTTPError as error:
        raise SettingsError(f"the API server did not give {settings.audit.keys_secret} ({error}).") from error
    people = KeyStore(store, keys.master)
    return Keys(people.ring, (keys.log.verify_key.vkey,), people.find)
