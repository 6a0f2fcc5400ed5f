"""What Stalwart has for all tenants at once, in a few shared requests. :func:`observe` asks this as it asks a server.

So what is seen of one tenant is found by the same questions and judged by the same plan, whoever answers them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from dezky_operator.integrations.stalwart.client import OBJECTS, StalwartClient
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, MailingList, Role, Throttle

T = TypeVar("T")
PROPERTIES: Mapping[str, tuple[type[msgspec.Struct], tuple[str, ...]]] = {
    "Domain": (
        Domain,
        ("name", "description", "isEnabled", "allowRelaying", "catchAllAddress", "dkimManagement"),
    ),
    "Role": (Role, ("description", "roleIds", "enabledPermissions", "disabledPermissions")),
    "DkimSignature": (DkimKey, ("@type", "domainId", "selector", "stage")),
    "Account": (Account, ("@type", "name", "domainId", "roles", "permissions", "quotas")),
    "MailingList": (MailingList, ("name", "domainId")),
}
"""What a plan reads of each type. Zone files and used bytes are left out: they are most of an answer."""
INDEXES = {"Domain": "name", "Role": "description", "DkimSignature": "domain_id", "Account": "domain_id"}
"""By which field each type is asked for."""
SHARED = frozenset({"domain_id", "type", "stage", "selector"})
"""Texts that many objects have in common."""
TOGETHER = 2 * OBJECTS
"""Objects read in one request: enough for few requests, little enough to be dropped again page by page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StalwartFleet:
    """Objects by type and id, lowest first, and their ids by the field they are asked for by.

    Domains are without their zone file, accounts without the bytes they use.
    """

    objects: Mapping[str, Mapping[str, msgspec.Struct]]
    ids: Mapping[str, Mapping[str | None, tuple[str, ...]]]
    throttles: tuple[Throttle, ...] = ()

    async def query(self, kind: str, filters: Mapping[str, Any]) -> list[str]:
        """The ids of all objects that pass the filter, lowest first."""
        if not filters:
            return list(self.objects[kind])
        (wanted,) = filters.values()
        return list(self.ids[kind].get(wanted, ()))

    async def get(self, kind: str, ids: Sequence[str], shape: type[T], properties: Sequence[str] = ()) -> list[T]:  # noqa: ARG002 - all it knows
        """The objects with these ids; missing ones are left out."""
        known = self.objects[kind]
        return [found for key in ids if isinstance(found := known.get(key), shape)]

    async def every(self, kind: str, shape: type[T]) -> list[T]:  # noqa: ARG002 - throttles are the only type asked so
        """All throttles."""
        return [found for found in self.throttles if isinstance(found, shape)]

    def domains(self, names: Iterable[str]) -> list[Domain]:
        """The Domain objects of these names."""
        keys = (key for name in names for key in self.ids["Domain"].get(name, ()))
        return [found for key in keys if isinstance(found := self.objects["Domain"][key], Domain)]


async def survey(client: StalwartClient) -> StalwartFleet:
    """Ids in one request, then the objects, page after page. Raises IntegrationError."""
    listed, throttles = await asyncio.gather(
        asyncio.gather(*(client.query(kind, {}) for kind in PROPERTIES)),
        client.every("MtaInboundThrottle", Throttle),
    )
    objects = {kind: await _objects(client, kind, ids) for kind, ids in zip(PROPERTIES, listed, strict=True)}
    return StalwartFleet(
        objects=objects,
        ids={kind: _index(objects[kind], field) for kind, field in INDEXES.items()},
        throttles=tuple(throttles),
    )


async def _objects(client: StalwartClient, kind: str, ids: Sequence[str]) -> dict[str, msgspec.Struct]:
    shape, properties = PROPERTIES[kind]
    found: dict[str, msgspec.Struct] = {}
    shared: dict[str, Any] = {}
    for start in range(0, len(ids), TOGETHER):
        page: list[Any] = await client.get(kind, ids[start : start + TOGETHER], shape, properties)
        found |= {one.id: _lean(one, shared) for one in page}
    return {key: found[key] for key in ids if key in found}


def _lean(found: Any, shared: dict[str, Any]) -> Any:
    """Roles, quotas and the like are the same in all mailboxes of a tenant, and are kept once."""
    parts = {
        name: shared.setdefault(repr(value), value)
        for name in found.__struct_fields__
        if isinstance(value := getattr(found, name), msgspec.Struct | dict) or name in SHARED
    }
    return msgspec.structs.replace(found, **parts)


def _index(objects: Mapping[str, msgspec.Struct], field: str) -> dict[str | None, tuple[str, ...]]:
    found: defaultdict[str | None, list[str]] = defaultdict(list)
    for key, one in objects.items():
        found[getattr(one, field)].append(key)
    return {value: tuple(keys) for value, keys in found.items()}
