"""Kubernetes events: one when something happened, none when nothing did."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2
import structlog
from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from dezky_operator.kube.resources import GROUP, VERSION
from dezky_operator.tenant.outcome import Notice

log = structlog.get_logger(__name__)
NAMESPACE = "default"
"""Events of cluster-scoped objects live here: Kubernetes refuses any other namespace."""
COMPONENT = "dezky-operator"


class EventPoster:
    """Posts events about Tenants. An event that can not be posted is logged and lost: it is news, not state."""

    def __init__(self, client: AsyncClient, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._client, self._now = client, now

    async def post(self, *, name: str, uid: str, notice: Notice) -> None:
        """Tell about the Tenant ``name``; the same notice in the same second is one event."""
        about = ObjectReference(apiVersion=f"{GROUP}/{VERSION}", kind="Tenant", name=name, uid=uid)
        await self._post(about, NAMESPACE, notice)

    async def post_about_record(self, namespace: str, name: str, uid: str, notice: Notice) -> None:
        """Tell about a tombstone, in its own namespace."""
        about = ObjectReference(apiVersion="v1", kind="ConfigMap", namespace=namespace, name=name, uid=uid)
        await self._post(about, namespace, notice)

    async def _post(self, about: ObjectReference, namespace: str, notice: Notice) -> None:
        now, name = self._now(), about.name
        told = f"{about.uid} {notice.reason} {notice.message} {now:%Y%m%d%H%M%S}"
        event = Event(
            metadata=ObjectMeta(name=f"{name}.{hashlib.sha256(told.encode()).hexdigest()[:16]}", namespace=namespace),
            involvedObject=about,
            type="Warning" if notice.warning else "Normal",
            reason=notice.reason,
            message=notice.message[:1024],
            source=EventSource(component=COMPONENT),
            reportingComponent=COMPONENT,
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        try:
            await self._client.create(event)
        except ApiError as error:
            if error.status.code != 409:
                log.warning("event not posted", about=name, reason=notice.reason, error=str(error))
        except httpx2.HTTPError as error:
            log.warning("event not posted", about=name, reason=notice.reason, error=type(error).__name__)
