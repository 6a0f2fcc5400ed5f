"""Whose event it is: tenants by everything a source may name them by. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_GROUP = re.compile(r"dezky-(?P<slug>[a-z0-9-]+)-(?:users|admins)")


class KnownTenant(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that is there, or deleted and still kept.

    Attributes:
        tenant_id: what the log calls it.
        partner: uid of its partner, empty without one; ``partner_slug`` is the partner's name.
        domains: its mail domains, lower case.
        drives: ids of its spaces in OCIS.
        files_group: id of its group in OCIS.
    """

    tenant_id: str
    slug: str
    partner: str = ""
    partner_slug: str = ""
    domains: tuple[str, ...] = ()
    drives: tuple[str, ...] = ()
    files_group: str = ""


class Tenants:
    """All of them at one moment."""

    def __init__(self, known: Iterable[KnownTenant] = ()) -> None:
        self._slugs = {tenant.slug: tenant for tenant in known}
        self._ids = {tenant.tenant_id: tenant for tenant in self._slugs.values()}
        self._domains = {domain: tenant for tenant in self._slugs.values() for domain in tenant.domains}
        self._groups = {tenant.files_group: tenant for tenant in self._slugs.values() if tenant.files_group}
        self._drives = {
            space: tenant
            for tenant in self._slugs.values()
            for drive in tenant.drives
            for space in (drive, _space(drive))
        }

    def by_id(self, tenant_id: str) -> KnownTenant | None:
        """The tenant with this id."""
        return self._ids.get(tenant_id)

    def by_slug(self, slug: str) -> KnownTenant | None:
        """The tenant of this name."""
        return self._slugs.get(slug)

    def by_group(self, group: str) -> KnownTenant | None:
        """The tenant whose users or administrators are in a group of this name."""
        found = _GROUP.fullmatch(group)
        return self._slugs.get(found["slug"]) if found else None

    def by_domain(self, domain: str) -> KnownTenant | None:
        """The tenant that has this mail domain."""
        return self._domains.get(domain.lower().rstrip("."))

    def by_address(self, address: str) -> KnownTenant | None:
        """The tenant of an e-mail address."""
        _, at, domain = address.rpartition("@")
        return self.by_domain(domain) if at else None

    def by_drive(self, drive: str) -> KnownTenant | None:
        """The tenant that has the space of this id (``storage$space``, or the space's part alone)."""
        return self._drives.get(drive) or self._drives.get(_space(drive))

    def by_files_group(self, group: str) -> KnownTenant | None:
        """The tenant whose people are in the group of this id in OCIS."""
        return self._groups.get(group)


def _space(drive: str) -> str:
    return drive.rpartition("$")[2]
