"""What another hand does to a tenant, in each of the three stand-ins, and three tenants that it is done to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dezky_operator.integrations.intent import tenant_id_of
from tests.builders import admin, spaces, spec, suspended, tenant
from tests.fleet import Fleet, fleet, uid_of
from tests.identity import INSTALLATION

Objects = dict[str, Any]
Act = Callable[[Fleet, str], None]
Found = Callable[[str], dict[str, Any]]
"""From a slug to the fields that find an object."""
ACME = tenant("acme", admin("anna@acme.test", "Anna"), spaces("sales"), spec(brand={"title": "Acme"}))
HELD = tenant(
    "held", admin("anna@held.test"), suspended(), spec(suspension={"mailPolicy": "Hold"}, brand={"title": "Held"})
)


@asynccontextmanager
async def three_tenants() -> AsyncIterator[Fleet]:
    """A tenant that is open, one that is locked with its mail held, and one that was deleted."""
    async with fleet() as found:
        await found.apply(ACME, tenant("held", admin("anna@held.test")), tenant("gone", admin("anna@gone.test")))
        for slug in ("acme", "held", "gone"):
            found.person(f"bob@{slug}.test", slug)
            found.at_ocis(f"bob@{slug}.test", slug)
            await found.settle(slug)
        await found.apply(HELD)
        await found.delete("gone")
        yield found


# -- Authentik -----------------------------------------------------------------------------------


def change(kind: str, name: Found, **fields: Any) -> Act:
    """Change an object of Authentik, or remove it; ``name`` gives the fields that find it."""

    def act(town: Fleet, slug: str) -> None:
        store = town.scene.workspace.authentik.store
        wanted = name(slug)
        (record,) = [
            one for one in store.objects[kind].values() if all(one[key] == value for key, value in wanted.items())
        ]
        if fields:
            store.update(kind, record, _values(fields, record))
        else:
            store.remove(kind, record)

    return act


def _values(fields: dict[str, Any], before: Any) -> dict[str, Any]:
    """A value may be made from what was there before."""
    return {name: value(before) if callable(value) else value for name, value in fields.items()}


def binding(which: str, **fields: Any) -> Act:
    """Change or remove the binding of the tenant's group (``group``) or the one to the deny policy (``policy``)."""

    def act(town: Fleet, slug: str) -> None:
        store = town.scene.workspace.authentik.store
        target = store.objects["application"][f"dezky-{slug}"]["pk"]
        (record,) = [
            one for one in store.objects["policybinding"].values() if one["target"] == target and one[which] is not None
        ]
        if fields:
            store.update("policybinding", record, fields)
        else:
            store.remove("policybinding", record)

    return act


def wake(town: Fleet, slug: str) -> None:
    """Activate a person again."""
    change("user", lambda slug: {"username": f"bob@{slug}.test"}, is_active=True)(town, slug)


def another_claim(group: Objects) -> Objects:
    """The claim of another tenant, in a group that is still marked as this one's."""
    return {**group["attributes"], "dezky.eu/tenant": "held"}


def users(slug: str) -> dict[str, Any]:
    """The group of the tenant."""
    return {"name": f"dezky-{slug}-users"}


def named(slug: str) -> dict[str, Any]:
    """What has the name of its application."""
    return {"name": f"dezky-{slug}"}


def slugged(slug: str) -> dict[str, Any]:
    """Its application."""
    return {"slug": f"dezky-{slug}"}


def hosted(slug: str) -> dict[str, Any]:
    """Its brand."""
    return {"domain": f"{slug}.dezky.test"}


# -- Stalwart --------------------------------------------------------------------------------------


def patch(kind: str, wanted: Found, **fields: Any) -> Act:
    """Change an object of Stalwart as a JMAP patch; without fields it is destroyed."""

    def act(town: Fleet, slug: str) -> None:
        objects = town.scene.workspace.stalwart.objects
        tests = wanted(slug)
        (key,) = [
            key
            for key, one in objects.by_type[kind].items()
            if all(str(one.get(name) or "").endswith(value) for name, value in tests.items())
        ]
        if fields:
            objects.update(kind, key, _values(fields, objects.by_type[kind][key]))
        else:
            objects.destroy(kind, key)

    return act


def role(slug: str) -> dict[str, Any]:
    """Its role."""
    return {"description": f"{tenant_id_of(INSTALLATION, uid_of(slug))}:role"}


def domain(slug: str) -> dict[str, Any]:
    """Its domain."""
    return {"name": f"{slug}.test"}


def mailbox(slug: str) -> dict[str, Any]:
    """A mailbox in it."""
    return {"name": "bob", "description": f"Bob@{slug.title()}.Test"}


def one_role_more(account: Objects) -> Objects:
    """The roles of an account, and those of the server's administrators."""
    return {"@type": "Custom", "roleIds": {**account["roles"]["roleIds"], "e": True}}


def throttle(slug: str) -> dict[str, Any]:
    """The throttle that holds its mail."""
    return {"description": f":hold:{slug}.test"}


def no_key(town: Fleet, slug: str) -> None:
    """Destroy one of the two signing keys."""
    objects = town.scene.workspace.stalwart.objects
    found = sorted(objects.under["DkimSignature", objects.names[f"{slug}.test"]])
    objects.destroy("DkimSignature", found[0])


# -- OCIS -------------------------------------------------------------------------------------------


def space(alias: str, /, **fields: Any) -> Act:
    """Change a space; ``{}`` in the alias is the slug."""

    def act(town: Fleet, slug: str) -> None:
        store = town.scene.workspace.ocis.store
        (found,) = [one for one in store.spaces.values() if one.alias == alias.format(slug)]
        for name, value in _values(fields, found).items():
            setattr(found, name, value)

    return act


MAIN, SALES = "project/dezky-{}", "project/dezky-{}_sales"
VIEWER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99"
MANAGER = "312c0871-5ef7-4b3a-85b6-0e4074c64049"


def for_groups(value: str | None) -> Callable[[Any], dict[str, str]]:
    """The grants with another role for groups, or none."""

    def changed(found: Any) -> dict[str, str]:
        kept = {key: grant for key, grant in found.grants.items() if key.startswith("u:")}
        return kept | ({key: value for key in found.grants if key.startswith("g:")} if value else {})

    return changed
