"""Whose an event is. Authentik does not say: it is told by what it is about, and by who did it (facts/authentik.md 5).

What somebody may choose for himself counts for nothing against what an administrator decides: an account's path and
its groups come before its address, and the application named in a request only tells apart the tenants that somebody
is of anyhow. Otherwise an event could be put into a stranger's log. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from dezky_operator.ingest.authentik.records import USER, Thing, thing_of, tried
from dezky_operator.ingest.authentik.rows import Row
from dezky_operator.ingest.tenants import KnownTenant, Tenants

OWN_PREFIX = "dezky-"
"""Before a tenant's slug in the name of its provider, which is its client id and its application's slug too."""
PATHS = ("dezky/tenants/", f"goauthentik.io/apps/{OWN_PREFIX}")
"""Before a tenant's slug in the path of its users, and in that of what signs in as its application."""
BRAND = "Brand "
"""Before the domain in a brand's name in events."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an account stands: its path, and the names of the groups it is in directly."""

    path: str = ""
    groups: tuple[str, ...] = ()


Places = Callable[[int], Place | None]
"""An account's place by its number; None when it is not known, or gone and never was."""


def asked(row: Row) -> tuple[int, ...]:
    """The numbers of the accounts whose places tell whose the event is, the surest first."""
    return _numbers(row, thing_of(row))


def _numbers(row: Row, thing: Thing) -> tuple[int, ...]:
    who = row.who
    about = int(thing.id) if thing.kind == USER and thing.id else 0
    behalf = who.on_behalf_of.number if who.on_behalf_of else 0
    return tuple(dict.fromkeys(number for number in (about, behalf, who.number) if number))


def whose(row: Row, places: Places, tenants: Tenants) -> KnownTenant | None:
    """The tenant whose event it is; None: it stays in the timeline of the whole."""
    thing = thing_of(row)
    return (
        _by_object(thing, tenants)
        or _by_people(row, thing, places, tenants)
        or (None if row.who.number else tenants.by_address(tried(row)))
        or _by_host(str((row.brand or {}).get("name") or ""), tenants)
    )


def _by_object(thing: Thing, tenants: Tenants) -> KnownTenant | None:
    """By the name of what was changed, where only the platform gives such names."""
    if thing.kind == "group":
        return tenants.by_group(thing.name)
    if thing.kind == "oauth2provider":
        return _by_client(thing.name, tenants)
    return _by_host(thing.name, tenants) if thing.kind == "brand" else None


def _by_people(row: Row, thing: Thing, places: Places, tenants: Tenants) -> KnownTenant | None:
    for number in _numbers(row, thing):
        place = places(number)
        found = _of(place, tenants) if place else []
        if len(found) > 1 and (named := _by_client(_client(row), tenants)) in found:
            return named
        if found:
            return found[0]
    # Of somebody who is gone only the event itself can tell.
    who = row.who
    if who.number and places(who.number) is None:
        found_by = (tenants.by_address(who.username or ""), tenants.by_address(who.email or ""))
        return found_by[0] or found_by[1] or _by_client(_client(row), tenants)
    return None


def _of(place: Place, tenants: Tenants) -> list[KnownTenant]:
    """The tenants of an account, the one it was made for first."""
    names = (place.path.removeprefix(start).partition("/")[0] for start in PATHS if place.path.startswith(start))
    found = [*map(tenants.by_slug, names), *map(tenants.by_group, place.groups)]
    return list({tenant.tenant_id: tenant for tenant in found if tenant is not None}.values())


def _client(row: Row) -> str:
    """The client id that an authorisation was asked with: events name an application by its title only."""
    if not row.part("authorized_application"):
        return ""
    args = row.part("http_request").get("args")
    if not isinstance(args, dict):
        return ""
    if isinstance(client := args.get("client_id"), str):
        return client
    # The flow executor gets the query of the page as one argument.
    query = args.get("query")
    return parse_qs(query).get("client_id", [""])[0] if isinstance(query, str) else ""


def _by_client(name: str, tenants: Tenants) -> KnownTenant | None:
    return tenants.by_slug(name.removeprefix(OWN_PREFIX)) if name.startswith(OWN_PREFIX) else None


def _by_host(name: str, tenants: Tenants) -> KnownTenant | None:
    """A tenant's own sign-in page stands under its slug."""
    slug, dot, _ = name.removeprefix(BRAND).partition(".")
    return tenants.by_slug(slug) if dot else None
