"""What other hands do in the three systems: to objects of a tenant, and to people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tests.hands import (
    MAIN,
    MANAGER,
    SALES,
    VIEWER,
    another_claim,
    binding,
    change,
    domain,
    for_groups,
    hosted,
    named,
    no_key,
    one_role_more,
    patch,
    slugged,
    space,
    throttle,
    users,
)
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.stalwart.errors import SetError
from tests.sandbox.workspace import Workspace

if TYPE_CHECKING:
    from tests.fleet import Fleet

SLUGS = ("acme", "beta")
NAMES = ("ben", "eve")
PEOPLE = tuple(f"{name}@{slug}.test" for slug in SLUGS for name in NAMES)
GRANTS = ["authorization_code", "refresh_token", "implicit"]
Edit = Callable[[Workspace, str], None]


def mailbox(_: str) -> dict[str, Any]:
    """The mailbox of somebody who joined."""
    return {"name": "ben"}


@dataclass(frozen=True)
class _Scene:
    workspace: Workspace


@dataclass(frozen=True)
class _Town:
    """As much of a fleet as a hand needs."""

    scene: _Scene


def _by(act: Callable[[Fleet, str], None]) -> Edit:
    def edit(workspace: Workspace, slug: str) -> None:
        try:
            act(cast("Fleet", _Town(_Scene(workspace))), slug)  # it looks for nothing but the stand-ins
        except (ValueError, KeyError, IndexError, SetError):
            return  # there is nothing of that kind now, or the system does not let go of it

    return edit


def _role(**fields: Any) -> Edit:
    """Change the role of the tenant that the mail domain named after it belongs to."""

    def edit(workspace: Workspace, slug: str) -> None:
        objects = workspace.stalwart.objects
        key = objects.names.get(f"{slug}.test")
        mark = objects.by_type["Domain"][key]["description"] if key else None
        for role, record in list(objects.by_type["Role"].items()):
            if mark and record["description"] == str(mark).replace(":domain", ":role"):
                objects.update("Role", role, fields)

    return edit


def _no_application(workspace: Workspace, slug: str) -> None:
    """Its application and provider are removed by hand."""
    store = workspace.authentik.store
    for kind, field_ in (("application", "slug"), ("oauth2provider", "name")):
        for record in [one for one in store.objects[kind].values() if one[field_] == f"dezky-{slug}"]:
            store.remove(kind, record)


EDITS: dict[str, Edit] = {
    "provider grants": _by(change("oauth2provider", named, grant_types=GRANTS)),
    "provider public": _by(change("oauth2provider", named, client_type="public")),
    "provider redirects": _by(change("oauth2provider", named, redirect_uris=[])),
    "provider token life": _by(change("oauth2provider", named, access_token_validity="days=90")),
    "group binding off": _by(binding("group", enabled=False)),
    "group binding negated": _by(binding("group", negate=True)),
    "group binding gone": _by(binding("group")),
    "deny binding on": _by(binding("policy", enabled=True)),
    "deny binding off": _by(binding("policy", enabled=False)),
    "deny binding negated": _by(binding("policy", negate=True)),
    "deny binding gone": _by(binding("policy")),
    "any binding will do": _by(change("application", slugged, policy_engine_mode="any")),
    "group under none": _by(change("group", users, parents=[])),
    "group of another claim": _by(change("group", users, attributes=another_claim)),
    "application gone": _no_application,
    "brand title": _by(change("brand", hosted, branding_title="Other")),
    "brand gone": _by(change("brand", hosted)),
    "role may do more": _role(enabledPermissions={"impersonate": True}),
    "role is shut": _role(disabledPermissions={"authenticate": True}),
    "role is open": _role(disabledPermissions={}),
    "domain off": _by(patch("Domain", domain, isEnabled=False)),
    "domain relays": _by(patch("Domain", domain, allowRelaying=True)),
    "account with a second role": _by(patch("Account", mailbox, roles=one_role_more)),
    "account quota": _by(patch("Account", mailbox, quotas={"maxDiskQuota": 1})),
    "key gone": _by(no_key),
    "throttle off": _by(patch("MtaInboundThrottle", throttle, enable=False)),
    "throttle gone": _by(patch("MtaInboundThrottle", throttle)),
    "space renamed": _by(space(MAIN, name="Other")),
    "space moved": _by(space(SALES, alias=lambda one: f"{one.alias}-moved")),
    "space with more room": _by(space(MAIN, quota=7)),
    "space closed": _by(space(MAIN, disabled=True)),
    "space opened": _by(space(MAIN, disabled=False)),
    "further space opened": _by(space(SALES, disabled=False)),
    "people may only read": _by(space(MAIN, grants=for_groups(VIEWER))),
    "people have no grant": _by(space(MAIN, grants=for_groups(None))),
    "somebody else manages": _by(space(MAIN, grants=lambda one: {**one.grants, "u:eve": MANAGER})),
    "personal space opened": _by(space("personal/ben@{}.test", disabled=False)),
}
"""Every kind of object, and every field that opens a lock."""


@dataclass
class People:
    """Users made by other hands, and what those did to them."""

    stopped: set[str] = field(default_factory=set)
    """Whom somebody else may have deactivated."""
    stopped_for_good: set[str] = field(default_factory=set)
    """Whom somebody else deactivated, with nobody's mark on them: they stay so."""

    def join(self, workspace: Workspace, name: str, slug: str) -> None:
        """Somebody is put into a tenant, made when new, and signs in to OCIS."""
        group = workspace.authentik.store.find("group", "name", f"dezky-{slug}-users")
        if group is None:
            return
        store, files = workspace.authentik.store, workspace.ocis.store
        user = self._user(workspace, name) or store.insert("user", {"username": name, "name": name.title()})
        store.join(user, group["pk"])
        there = files.user(name) or files.add_user(name, display=name.title())
        if key := files.group_ids.get(f"dezky-{slug}-users"):
            there.groups.add(key)

    def memberships(self, workspace: Workspace) -> list[tuple[str, str]]:
        """Who is in which tenant."""
        store = workspace.authentik.store
        groups = {slug: store.find("group", "name", f"dezky-{slug}-users") for slug in SLUGS}
        pairs = [(name, slug) for name in PEOPLE for slug in SLUGS]
        return [(name, slug) for name, slug in pairs if self._in(workspace, name, groups[slug])]

    def _in(self, workspace: Workspace, name: str, group: Record | None) -> bool:
        user = self._user(workspace, name)
        return user is not None and group is not None and group["pk"] in user["_groups"]

    def leave(self, workspace: Workspace, name: str, slug: str) -> None:
        """Somebody leaves a tenant."""
        store, user = workspace.authentik.store, self._user(workspace, name)
        group = store.find("group", "name", f"dezky-{slug}-users")
        if user is not None and group is not None:
            store.leave(user, group["pk"])
        there = workspace.ocis.store.user(name)
        if there is not None:
            there.groups.discard(workspace.ocis.store.group_ids.get(f"dezky-{slug}-users", ""))

    def stop(self, workspace: Workspace, name: str) -> None:
        """Somebody else deactivates a person."""
        user = self._user(workspace, name)
        if user is None or not user["is_active"]:
            return
        workspace.authentik.store.update("user", user, {"is_active": False})
        self.stopped.add(name)
        if "suspendedBy" not in str(user["attributes"]):
            self.stopped_for_good.add(name)

    def wake(self, workspace: Workspace, name: str) -> None:
        """Somebody else activates a person."""
        user = self._user(workspace, name)
        if user is not None:
            workspace.authentik.store.update("user", user, {"is_active": True})
            self.stopped.discard(name)
            self.stopped_for_good.discard(name)

    def sign_in(self, workspace: Workspace, name: str) -> None:
        """A person has a session from before."""
        user = self._user(workspace, name)
        if user is not None and user["is_active"]:
            cookie = f"cookie-{user['pk']}"
            session = {"cookie": cookie, "uuid": cookie, "user": user["pk"], "created": "2026-11-24T00:00:00Z"}
            workspace.authentik.store.sessions[cookie] = {**session, "at": 0.0}

    @staticmethod
    def _user(workspace: Workspace, name: str) -> Record | None:
        return workspace.authentik.store.find("user", "username", name)
