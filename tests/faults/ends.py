"""What must be true of the tenant at the end of a scenario, whatever interrupted it: looked up one by one.

The comparison of pictures says that a run ended like another; this says that both ended well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from tests.apiserver import ApiServer
from tests.faults.receipts import SYSTEMS, shut
from tests.sandbox.ocis.store import Space
from tests.sandbox.workspace import Workspace

SLUG = "acme"
DOMAIN = "acme.test"
End = Callable[[Workspace, ApiServer], Awaitable[None]]
"""Raises AssertionError."""


async def suspended(workspace: Workspace, api: ApiServer) -> None:
    """Nobody gets in, nowhere; there is one canary, and no tombstone."""
    _nothing_open(workspace)
    _one_canary(workspace)
    assert _holds(workspace) == []
    assert await api.records() == []


async def held(workspace: Workspace, api: ApiServer) -> None:
    """The same, and mail of each domain is held once."""
    _nothing_open(workspace)
    _one_canary(workspace)
    assert len(_holds(workspace)) == 1
    assert await api.records() == []


async def resumed(workspace: Workspace, api: ApiServer) -> None:
    """Everybody gets in, and nothing is left of the lock."""
    _nothing_shut(workspace)
    _one_canary(workspace)
    tenant = await api.tenant(SLUG)
    assert tenant is not None
    assert "suspension" not in tenant["status"]
    assert await api.records() == []


async def buried(workspace: Workspace, api: ApiServer) -> None:
    """The Tenant is gone, nobody gets in, and one tombstone says so."""
    _nothing_open(workspace)
    _one_canary(workspace)
    assert await api.tenant(SLUG) is None
    assert len(await api.records()) == 1
    tombstone = await api.tombstone(SLUG)
    assert (tombstone["state"], tombstone["suspension"]["source"]) == ("Locked", "Deletion")


async def restored(workspace: Workspace, api: ApiServer) -> None:
    """Everybody gets in again, as who they were."""
    _nothing_shut(workspace)
    _one_canary(workspace)
    assert len(await api.records()) == 1
    tombstone, tenant = await api.tombstone(SLUG), await api.tenant(SLUG)
    assert tenant is not None
    assert (tombstone["state"], tombstone["suspension"]) == ("Restored", None)
    assert tombstone["restoredUid"] == tenant["metadata"]["uid"]
    assert tombstone["tenantId"] == tenant["status"]["tenantId"]
    assert "dezky.eu/operator" in tenant["metadata"]["finalizers"]


async def destroyed(workspace: Workspace, api: ApiServer) -> None:
    """Nothing is left, in no system and not in the API server."""
    authentik, mail, files = workspace.authentik.store, workspace.stalwart.objects, workspace.ocis.store
    left = [found for objects in authentik.objects.values() for found in objects.values() if _names(found)]
    left += [found for objects in mail.by_type.values() for found in objects.values() if _names(found)]
    assert not left
    assert not [space.alias for space in files.spaces.values() if f"dezky-{SLUG}" in space.alias]
    assert not [user.name for user in files.users.values() if user.name in {f"anna@{DOMAIN}", f"dezky-probe@{DOMAIN}"}]
    assert await api.tenant(SLUG) is None
    assert (await api.records(), await api.secrets()) == ([], [])


def _names(record: dict[str, Any]) -> bool:
    """Whether this is an object of the tenant, by any of the names that the operator gives."""
    titles = {str(record.get(key)) for key in ("name", "username", "slug", "domain", "identifier", "domainName")}
    own = {DOMAIN, f"{SLUG}.dezky.test", f"anna@{DOMAIN}", f"dezky-probe@{DOMAIN}"}
    return bool(titles & own) or any(title.startswith(f"dezky-{SLUG}") for title in titles)


def _nothing_open(workspace: Workspace) -> None:
    assert shut(workspace, SLUG) == set(SYSTEMS)
    assert not [user["username"] for user in _members(workspace) if user["is_active"]]
    assert not [space.alias for space in _spaces(workspace) if not space.disabled]


def _nothing_shut(workspace: Workspace) -> None:
    assert shut(workspace, SLUG) == set()
    assert not [user["username"] for user in _members(workspace) if not user["is_active"]]
    assert not [user["username"] for user in _members(workspace) if "suspendedBy" in str(user["attributes"])]
    assert not [space.alias for space in _spaces(workspace) if space.disabled]
    assert _holds(workspace) == []


def _one_canary(workspace: Workspace) -> None:
    users = workspace.authentik.store.objects["user"].values()
    assert len([user for user in users if str(user["username"]).startswith("dezky-probe")]) == 1
    accounts = workspace.stalwart.objects.by_type["Account"].values()
    assert len([account for account in accounts if account["name"] == "dezky-probe"]) == 1
    names = [user.name for user in workspace.ocis.store.users.values()]
    assert names.count(f"dezky-probe@{DOMAIN}") <= 1


def _members(workspace: Workspace) -> Iterator[dict[str, Any]]:
    store = workspace.authentik.store
    group = store.find("group", "name", f"dezky-{SLUG}-users")
    assert group is not None
    found = [user for user in store.objects["user"].values() if group["pk"] in store.groups_of(user)]
    assert found
    yield from found


def _spaces(workspace: Workspace) -> list[Space]:
    found = [space for space in workspace.ocis.store.spaces.values() if f"project/dezky-{SLUG}" in space.alias]
    own = [f"personal/{user['username']}" for user in _members(workspace)]
    return found + [space for space in workspace.ocis.store.spaces.values() if space.alias in own]


def _holds(workspace: Workspace) -> list[str]:
    throttles = workspace.stalwart.objects.by_type["MtaInboundThrottle"].values()
    return [found["description"] for found in throttles if str(found["description"]).startswith("dezky:")]
