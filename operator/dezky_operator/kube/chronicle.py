"""What the rest of the process knows of the audit log: where steps, versions of specs and news are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.crd.tenant import SuspensionStatus, Tenant
from dezky_operator.integrations.apply import Recorder
from dezky_operator.kube.cache import Seen
from dezky_operator.tenant.outcome import Notice


class Journal(Protocol):
    """Takes what the watch and the controllers tell; keeping it is not their worry."""

    def seen(self, before: Seen | None, now: Seen) -> None:
        """The watch told of a version of a Tenant."""

    def id_of(self, tenant: Tenant) -> str:
        """The id a Tenant has in the log."""

    def told(self, tenant_id: str, notice: Notice) -> None:
        """Something was told about a tenant, as an event of Kubernetes is."""

    def proved(self, tenant_id: str, before: SuspensionStatus | None, after: SuspensionStatus | None) -> None:
        """What a lock's receipts say now."""


class Chronicle(Journal, Protocol):
    """The audit log as a part of the process."""

    def of(self, tenant: str, phase: str) -> Recorder:
        """What records the steps that bring one tenant to ``phase``."""

    async def open(self) -> None:
        """Be ready to be told. Raises SettingsError where the log can not be kept as the settings say."""

    def unfinished(self, known: Iterable[str]) -> frozenset[str]:
        """Tenants, of those ``known`` by tenantId, with steps of an earlier process whose end is to be observed."""

    async def run(self) -> None:
        """Do what the log needs while the process works, for ever."""

    async def close(self) -> None:
        """Keep what was told last, and close."""


class NoChronicle(NoRecorder):
    """Keeps nothing: for installations and tests without an audit log."""

    def seen(self, before: Seen | None, now: Seen) -> None:
        """Accept a version without keeping it."""

    def id_of(self, _tenant: Tenant) -> str:
        """Nothing is kept under it."""
        return ""

    def told(self, tenant_id: str, notice: Notice) -> None:
        """Accept a notice without keeping it."""

    def proved(self, tenant_id: str, before: SuspensionStatus | None, after: SuspensionStatus | None) -> None:
        """Accept receipts without keeping them."""

    async def open(self) -> None:
        """There is nothing to open."""

    def unfinished(self, _known: Iterable[str]) -> frozenset[str]:
        """Nothing was recorded, so nothing is without an end."""
        return frozenset()

    async def run(self) -> None:
        """There is nothing to do, for ever."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """There is nothing to close."""
