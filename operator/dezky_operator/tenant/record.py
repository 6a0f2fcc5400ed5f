"""What is kept of a tenant that was deleted: its tombstone.

Enough to lock it, to restore it, to purge it, and until then to refuse its name and domains to others (design 6).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from dezky_operator.crd.tenant import Metadata, SuspensionStatus, Tenant, TenantSpec


class RecordState(StrEnum):
    """What the record stands for."""

    RETAINED = "Retained"
    """The Tenant is gone, everything outside is as it was."""
    HELD = "Held"
    """Deleted together with too many others: nothing is locked until a person releases it."""
    LOCKING = "Locking"
    """Nobody may get in any more; not all systems are seen locked yet."""
    LOCKED = "Locked"
    """All three systems are locked; kept until ``purge_at``."""
    PURGE_DUE = "PurgeDue"
    """Both clocks are past ``purge_at``; purged after one more hour, unless somebody restores it."""
    PURGING = "Purging"
    """Being destroyed. It can not be restored any more."""
    RESTORED = "Restored"
    """A later Tenant (`restoredUid`) took this identity back; kept because only this tells that they are the same."""


class AsBuilt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What existed outside when the Tenant was deleted."""

    domains: tuple[str, ...] = ()
    spaces: dict[str, str] = {}
    """Drive ids by key."""
    people: dict[str, str] = {}
    """OCIS user ids of the tenant's own people by user name, known before the first of them is destroyed."""
    secret: str | None = None


class Blocked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Why a tombstone does not get on: a condition's reason, and what to do."""

    reason: str
    message: str


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The content of the ConfigMap `dezky-tombstone-<slug>` (design 6, Delete)."""

    tenant_id: str
    slug: str
    state: RecordState
    spec: dict[str, Any]
    created_at: str
    deleted_at: str | None = None
    purge_at: str | None = None
    as_built: AsBuilt = AsBuilt()
    suspension: SuspensionStatus | None = None
    holds: tuple[str, ...] = ()
    """Reasons beyond the spec to keep it locked, such as an unpaid bill."""
    left: tuple[str, ...] = ()
    """Members who were not the tenant's own, named when it was purged."""
    purge_confirmed: bool = False
    """A person asked for the purge: neither retention nor the pace of purges holds it up."""
    released: bool = False
    """A person said that this deletion was meant, although many came at once."""
    blocked: Blocked | None = None
    restored_uid: str | None = None
    schema_version: int = 2

    @property
    def primary_domain(self) -> str | None:
        """The first of the recorded `spec.domains`."""
        domains: list[str] = self.spec.get("domains") or []
        return domains[0] if domains else None

    @property
    def partner(self) -> str | None:
        """The recorded partner's name."""
        reference: dict[str, str] = self.spec.get("partnerRef") or {}
        return reference.get("name")

    @property
    def standing(self) -> bool:
        """Whether this record, and no living Tenant, stands for the identity."""
        return self.state is not RecordState.RESTORED

    @property
    def restorable(self) -> bool:
        """Whether everything of it is still there."""
        return self.state is not RecordState.PURGING

    def tenant(self) -> Tenant:
        """The Tenant as it was, for everything that works on one. Raises msgspec.ValidationError."""
        metadata = Metadata(name=self.slug, uid=self.restored_uid or "", creation_timestamp=self.created_at)
        return Tenant(metadata=metadata, spec=msgspec.convert(self.spec, TenantSpec))


def voids_wishes(before: Record, after: Record) -> bool:
    """Whether what people annotated on the tombstone is over: it was about a deletion that a restore undid.

    Else a purge that was confirmed and then prevented would come, unasked, with the next soft delete.
    """
    return before.standing != after.standing


def decode(text: str) -> Record:
    """The record in ``text``. Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=Record)


def encode(record: Record) -> str:
    """The record as text, the same bytes for the same record."""
    return msgspec.json.encode(record, order="sorted").decode()
