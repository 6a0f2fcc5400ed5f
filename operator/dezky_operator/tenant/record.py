"""What is kept of a tenant that was deleted: enough to restore it, and to refuse its name and domains to others."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class RecordState(StrEnum):
    """What the record stands for."""

    RETAINED = "Retained"
    """The Tenant is gone, everything outside is as it was."""
    RESTORED = "Restored"
    """A later Tenant (`restoredUid`) took this identity back; kept because only this tells that they are the same."""


class AsBuilt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What existed outside when the Tenant was deleted."""

    domains: tuple[str, ...] = ()
    spaces: dict[str, str] = {}
    """Drive ids by key."""
    secret: str | None = None


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
    restored_uid: str | None = None
    schema_version: int = 1

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
    def holds(self) -> bool:
        """Whether this record, and no living Tenant, stands for the identity."""
        return self.state is RecordState.RETAINED


def decode(text: str) -> Record:
    """The record in ``text``. Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=Record)


def encode(record: Record) -> str:
    """The record as text, the same bytes for the same record."""
    return msgspec.json.encode(record, order="sorted").decode()
