"""The writes to the API server that one reconcile may need, for one Tenant."""

from __future__ import annotations

from typing import Protocol

from dezky_operator.crd.tenant import SuspensionStatus
from dezky_operator.tenant.record import Record


class Writes(Protocol):
    """Who makes them, for a Tenant by name and uid (:class:`dezky_operator.kube.controller.TenantController`)."""

    async def hold(self, name: str, uid: str) -> None:
        """Put our finalizer on the Tenant."""

    async def release(self, name: str, uid: str) -> None:
        """Take our finalizer off the Tenant."""

    async def write_ahead(self, name: str, uid: str, suspension: SuspensionStatus) -> None:
        """Write `status.suspension`."""

    async def mass_deletion(self, name: str) -> str | None:
        """Why a deletion must wait for a person."""

    async def keep(self, name: str, uid: str, record: Record) -> None:
        """Write a record."""


class Keeper:
    """The writes to the API server that one reconcile may need, bound to its Tenant: a later one of the same name is
    another.
    """

    def __init__(self, controller: Writes, name: str, uid: str) -> None:
        self._controller, self._name, self._uid = controller, name, uid

    async def hold(self) -> None:
        """Put our finalizer on the Tenant."""
        await self._controller.hold(self._name, self._uid)

    async def release(self) -> None:
        """Take our finalizer off the Tenant."""
        await self._controller.release(self._name, self._uid)

    async def write_ahead(self, suspension: SuspensionStatus) -> None:
        """Write `status.suspension` before the lock."""
        await self._controller.write_ahead(self._name, self._uid, suspension)

    async def mass_deletion(self) -> str | None:
        """Why this deletion must wait for a person."""
        return await self._controller.mass_deletion(self._name)

    async def keep(self, record: Record) -> None:
        """Write a record."""
        await self._controller.keep(self._name, self._uid, record)
