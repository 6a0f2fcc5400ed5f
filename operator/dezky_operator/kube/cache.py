"""What the watch has told about Tenants so far: the newest version of each, and what they claim.

Rebuilt by the watch's first listing after every start; nothing here is truth that could not be read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dezky_operator.crd.tenant import InvalidTenant, Tenant, parse
from dezky_operator.kube.resources import FINALIZER
from dezky_operator.kube.unreadable import outline

PREFIX = "dezky.eu/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One Tenant as it was last seen.

    The object itself is kept as JSON: as dictionaries, and with the list of who manages which field, a thousand of them
    would be half of the process's memory.

    Attributes:
        tenant: an InvalidTenant when the object can not be understood.
        uid: the uid the API server gave the object.
        version: the object's resourceVersion.
        held: whether our finalizer is on it. Not part of the trigger: its own write would cause another reconcile.
        trigger: what of the object is a reason to reconcile. Our own status writes are none.
    """

    tenant: Tenant | InvalidTenant
    uid: str
    version: str
    held: bool
    trigger: tuple[object, ...]
    packed: bytes

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Seen:
        """The object as the API server told it.

        Nothing of ``raw`` is kept, not even its texts: they would keep the memory of the whole listing it came in.
        """
        slim = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
        packed = msgspec.json.encode({**raw, "metadata": slim})
        own = _unpacked(packed)
        metadata = own["metadata"]
        annotations = metadata.get("annotations") or {}
        return cls(
            tenant=_understood(own),
            uid=str(metadata["uid"]),
            version=str(metadata["resourceVersion"]),
            held=FINALIZER in (metadata.get("finalizers") or ()),
            trigger=(
                metadata["uid"],
                metadata.get("generation"),
                metadata.get("deletionTimestamp"),
                tuple(sorted(item for item in annotations.items() if item[0].startswith(PREFIX))),
            ),
            packed=packed,
        )

    @property
    def raw(self) -> dict[str, Any]:
        """The object, but for its `managedFields`."""
        return _unpacked(self.packed)

    @property
    def outline(self) -> Tenant:
        """The Tenant, or as much of it as can be understood."""
        return outline(self.raw) if isinstance(self.tenant, InvalidTenant) else self.tenant


class TenantCache:
    """The newest version of every Tenant by name."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}

    def __len__(self) -> int:
        """How many Tenants there are."""
        return len(self._seen)

    @property
    def names(self) -> list[str]:
        """The names of all Tenants, sorted."""
        return sorted(self._seen)

    def get(self, name: str) -> Seen | None:
        """The Tenant ``name`` as last seen."""
        return self._seen.get(name)

    def put(self, raw: Mapping[str, Any]) -> tuple[Seen | None, Seen]:
        """Take in a version of a Tenant; returns what was known before and what is known now.

        An older version than the known one changes nothing: our own writes come back before the watch tells of them,
        and of a Tenant made again under its name the watch may still tell what the first one was.
        """
        name = raw["metadata"]["name"]
        known = self._seen.get(name)
        new = Seen.of(raw)
        if known is not None and newer(known.version, new.version):
            return known, known
        self._seen[name] = new
        return known, new

    def remove(self, name: str, uid: str) -> Seen | None:
        """The Tenant with this uid is gone; a new one of the same name stays."""
        known = self._seen.get(name)
        if known is None or known.uid != uid:
            return None
        return self._seen.pop(name)

    def tenants(self) -> list[Tenant]:
        """Every Tenant. One that can not be understood lives all the same: it is here with what is certain of it."""
        return [seen.outline for seen in self._seen.values()]


def newer(version: str, other: str) -> bool:
    """Whether ``version`` is later than ``other``: resourceVersions are comparable numbers since Kubernetes 1.35."""
    return int(version) > int(other)


def _understood(raw: Mapping[str, Any]) -> Tenant | InvalidTenant:
    try:
        return parse(raw)
    except InvalidTenant as error:
        return error


def _unpacked(packed: bytes) -> dict[str, Any]:
    return msgspec.json.decode(packed, type=dict[str, Any])
