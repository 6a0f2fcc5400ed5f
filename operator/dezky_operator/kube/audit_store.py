"""Where the audit log is kept, by the settings: a file of this host, or a MongoDB that several hosts share."""

from __future__ import annotations

import asyncio
import base64
import time
from pathlib import Path

import structlog
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Secret

from dezky_operator.audit.inbox import Inbox, ThroughInbox
from dezky_operator.audit.log import Way
from dezky_operator.audit.sequencer import Sequencer
from dezky_operator.config import AuditSettings, MongoSettings, SettingsError
from dezky_operator.kube.resources import is_status
from dezky_operator.store.interface import StartError, Store, UnavailableError
from dezky_operator.store.mongodb import MongoStore, Options
from dezky_operator.store.sqlite import SqliteStore

log = structlog.get_logger(__name__)


async def open_store(audit: AuditSettings, client: AsyncClient, namespace: str, *, existing: bool = False) -> Store:
    """Open it. ``existing``: in MongoDB it is not made where it is missing.

    Raises SettingsError, and httpx2.HTTPError while the API server does not give the Secret.
    """
    if audit.mongodb is not None:
        return await _mongodb(audit.mongodb, audit.epoch, client, namespace, existing=existing)
    directory = Path(audit.directory)
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        return await SqliteStore.open(directory / f"audit-{audit.epoch}.db")
    except OSError as error:
        raise SettingsError(f"audit.directory: {directory} can not be made ({error.strerror}).") from error
    except (StartError, UnavailableError) as error:
        raise SettingsError(f"audit.directory: {error}") from error


def way_into(store: Store, sequencer: Sequencer, audit: AuditSettings) -> Way:
    """How events come into it: a store without transactions needs an inbox before the log."""
    return ThroughInbox(Inbox(store, time.time_ns), sequencer) if audit.mongodb is not None else sequencer


async def _mongodb(
    settings: MongoSettings, epoch: int, client: AsyncClient, namespace: str, *, existing: bool
) -> Store:
    ref = settings.uri_secret_ref
    where = f"Secret {namespace}/{ref.name}, key {ref.key}"
    try:
        secret = await client.get(Secret, ref.name, namespace=namespace)
    except ApiError as error:
        if is_status(error, 404):
            raise SettingsError(f"audit.mongodb.uriSecretRef: {where} does not exist. Create it.") from error
        raise
    packed = (secret.data or {}).get(ref.key)
    if packed is None:
        raise SettingsError(f"audit.mongodb.uriSecretRef: {where} does not exist. Create it.")
    uri = base64.b64decode(packed).decode().strip()
    options = Options(standalone=settings.standalone, existing=existing)
    try:
        store = await MongoStore.open(uri, settings.database, epoch, options)
    except (StartError, UnavailableError) as error:
        raise SettingsError(f"audit.mongodb: {error}") from error
    if not existing:  # who reads is told by the operator's own log, and wants events only
        log.info("audit store", server=store.server.name)
        for lack in store.server.lacks:
            log.warning("audit store lacks", what=lack)
    return store
