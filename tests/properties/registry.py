"""What an API server keeps of tenants, in memory: every object has a version, and a write over another one is refused.

A process works from what its watch told (:class:`View`), which may be older than what is kept.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dezky_operator.crd.tenant import Metadata, Tenant, TenantStatus, parse
from dezky_operator.tenant.record import Record, voids_wishes
from tests.builders import Manifest
from tests.fleet import Drawer

EPOCH = datetime(2026, 11, 24, tzinfo=UTC)
FINALIZER = "dezky.eu/operator"


class Conflict(Exception):  # noqa: N818 - named after what the API server answers
    """409: the object is not at the version that the writer knows."""


@dataclass(frozen=True)
class Object:
    """A Tenant and its version."""

    tenant: Tenant
    version: int


@dataclass(frozen=True)
class Tombstone:
    """A record, its version, and what people annotated."""

    record: Record
    version: int
    annotations: frozenset[str] = frozenset()


@dataclass
class Registry:
    """The objects. ``number`` counts writes, as resourceVersion does."""

    tenants: dict[str, Object] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    secrets: Drawer = field(default_factory=Drawer)
    number: int = 0
    ahead: timedelta = timedelta()

    def copy(self) -> Registry:
        """One that has nothing in common with this; all values are frozen."""
        kept = Drawer(dict(self.secrets.kept))
        return Registry(dict(self.tenants), dict(self.tombstones), kept, self.number, self.ahead)

    def now(self) -> datetime:
        """What time it is."""
        return datetime.now(UTC) + self.ahead

    def let_pass(self, hours: int) -> None:
        """Time passes."""
        self.ahead += timedelta(hours=hours)

    # -- what people do ----------------------------------------------------------------

    def apply(self, manifest: Manifest) -> None:
        """Create or change; the generation moves with the spec, the uid is another one for another object."""
        name, old = str(manifest["metadata"]["name"]), self.tenants.get(str(manifest["metadata"]["name"]))
        annotations = dict(manifest["metadata"].get("annotations", {}))
        spec: Any = copy.deepcopy(manifest["spec"])
        if old is None:
            self._put(parse({"metadata": {**self._birth(name), "annotations": annotations}, "spec": spec}))
            return
        new = parse({"metadata": {"name": name, "uid": old.tenant.metadata.uid}, "spec": spec}).spec
        generation = old.tenant.metadata.generation + (new != old.tenant.spec)
        metadata = msgspec.structs.replace(old.tenant.metadata, generation=generation, annotations=annotations)
        self._put(Tenant(metadata=metadata, spec=new, status=old.tenant.status))

    def delete(self, name: str) -> None:
        """Gone at once, or marked as being deleted while somebody holds it."""
        tenant = self.tenants[name].tenant
        if not tenant.metadata.finalizers:
            self._drop(name)
        elif tenant.metadata.deletion_timestamp is None:
            moment = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            self._put(_with(tenant, deletion_timestamp=moment, generation=tenant.metadata.generation + 1))

    def annotate(self, slug: str, key: str) -> None:
        """Annotate a tombstone, with the one value that counts."""
        kept = self.tombstones[slug]
        self.number += 1
        self.tombstones[slug] = Tombstone(kept.record, self.number, kept.annotations | {key})

    # -- what the operator writes -----------------------------------------------------------

    def finalizers(self, known: Object, finalizers: tuple[str, ...]) -> Object | None:
        """Hold it or let it go; None when it is gone by that."""
        tenant = self._current(known).tenant
        if not finalizers and tenant.metadata.deletion_timestamp is not None:
            self._drop(tenant.name)
            return None
        return self._put(_with(tenant, finalizers=finalizers))

    def status(self, known: Object, status: TenantStatus) -> Object:
        """Write the status, through JSON as on the wire."""
        written = msgspec.json.decode(msgspec.json.encode(status), type=TenantStatus)
        return self._put(msgspec.structs.replace(self._current(known).tenant, status=written))

    def keep(self, record: Record, known: Tombstone | None) -> Tombstone:
        """Write a record over the version that is known; None: it must be new."""
        old = self.tombstones.get(record.slug)
        if (old and old.version) != (known and known.version):
            raise Conflict(record.slug)
        self.number += 1
        annotations = frozenset[str]() if old is None or voids_wishes(old.record, record) else old.annotations
        kept = msgspec.json.decode(msgspec.json.encode(record), type=Record)
        self.tombstones[record.slug] = Tombstone(kept, self.number, annotations)
        return self.tombstones[record.slug]

    def forget(self, slug: str) -> None:
        """Remove a record."""
        self.number += 1
        self.tombstones.pop(slug, None)

    # -- inside ----------------------------------------------------------------------------

    def _current(self, known: Object) -> Object:
        found = self.tenants.get(known.tenant.name)
        if found is None or found.version != known.version:
            raise Conflict(known.tenant.name)
        return found

    def _put(self, tenant: Tenant) -> Object:
        self.number += 1
        self.tenants[tenant.name] = Object(tenant, self.number)
        return self.tenants[tenant.name]

    def _drop(self, name: str) -> None:
        self.number += 1
        del self.tenants[name]

    def _birth(self, name: str) -> dict[str, Any]:
        born = EPOCH + timedelta(seconds=self.number)
        return {
            "name": name,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}/{self.number}")),
            "creationTimestamp": born.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generation": 1,
        }


def _with(tenant: Tenant, **changes: Any) -> Tenant:
    metadata: Metadata = msgspec.structs.replace(tenant.metadata, **changes)
    return msgspec.structs.replace(tenant, metadata=metadata)
