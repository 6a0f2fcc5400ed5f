"""What is interrupted: how the world is prepared, what a person then does, and what it looks like when it is done.

A new scenario is one entry of :data:`SCENARIOS`; its points are generated from an undisturbed run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.apiserver import ApiServer
from tests.builders import Manifest, admin, deletion, domains, spaces, spec, suspended, tenant
from tests.faults import ends
from tests.sandbox.workspace import Workspace


@dataclass(frozen=True)
class Stage:
    """Where a person acts: the API server, and the three systems themselves."""

    api: ApiServer
    workspace: Workspace


Act = Callable[[Stage], Awaitable[object]]
NAME = "acme"
ANNA = admin("anna@acme.test", "Anna Acme")
BEN = "ben@acme.eu"
BRAND = spec(brand={"title": "Acme"})
BEFORE = tenant(NAME, ANNA, BRAND, domains("acme.test", "acme.eu"), spaces("sales"))
LESS = tenant(NAME, ANNA, spec(brand={"title": "Acme Limited"}, mail={"mailboxQuota": "8Gi"}))


@dataclass(frozen=True)
class Scenario:
    """``prepare`` and ``change`` act as a person and wait, as a person would, until they see it done.

    ``end`` looks at what must be so afterwards. ``lasting``: what ``prepare`` leaves may be put back instead of being
    made again, as no Tenant is in it: everything of a living one is derived from a uid that no other gets.
    """

    change: Act
    prepare: Act | None = None
    end: ends.End | None = None
    lasting: bool = False


def applied(manifest: Manifest) -> Act:
    """A Tenant is applied and becomes ready."""

    async def act(stage: Stage) -> None:
        await stage.api.apply(manifest)
        await stage.api.ready(NAME)

    return act


def deleted(*, confirmed: bool = False) -> Act:
    """The Tenant is deleted and goes."""

    async def act(stage: Stage) -> None:
        if confirmed:
            await stage.api.annotate(NAME, confirm_purge=NAME)
        await stage.api.delete(NAME)
        await stage.api.gone(NAME)

    return act


def in_turn(*acts: Act) -> Act:
    """One after the other."""

    async def act(stage: Stage) -> None:
        for each in acts:
            await each(stage)

    return act


def joined(username: str) -> Act:
    """Somebody whom another hand made becomes a member, and the operator took notice."""

    async def act(stage: Stage) -> None:
        store = stage.workspace.authentik.store
        group = store.find("group", "name", f"dezky-{NAME}-users")
        assert group is not None
        store.insert("user", {"username": username, "name": username, "email": username, "groups": [group["pk"]]})
        await stage.api.annotate(NAME, reconcile_requested_at="joined")
        await stage.api.handled(NAME, "joined")

    return act


def kept_as(policy: str) -> Manifest:
    """The Tenant with what becomes of it when it is deleted."""
    return tenant(NAME, ANNA, BRAND, spaces("sales"), deletion(policy))


def locked(**suspension: str) -> Manifest:
    """The Tenant, suspended."""
    return tenant(NAME, ANNA, spaces("sales"), suspended(), spec(suspension={"reason": "unpaid", **suspension}))


async def buried(stage: Stage) -> None:
    """The Tenant is deleted, goes, and its tombstone says that everything is locked."""
    await stage.api.delete(NAME)
    await stage.api.gone(NAME)
    await stage.api.buried(NAME, "Locked")


async def purged(stage: Stage) -> None:
    """A person confirms on the tombstone, and it goes last of all."""
    await stage.api.annotate_tombstone(NAME, confirm_purge=NAME)
    await stage.api.forgotten(NAME)


PLAIN = tenant(NAME, ANNA, spaces("sales"))
HELD = locked(mailPolicy="Hold", holdFor="1h")
LIVING = in_turn(applied(PLAIN), joined(BEN))
GONE = in_turn(LIVING, buried)
SCENARIOS = {
    "create": Scenario(change=applied(tenant(NAME, ANNA, BRAND, spaces("sales")))),
    "edit": Scenario(
        prepare=in_turn(applied(BEFORE), joined(BEN)),
        change=in_turn(applied(LESS), applied(BEFORE)),
    ),
    "suspend": Scenario(prepare=LIVING, change=applied(locked()), end=ends.suspended),
    "suspend and hold mail": Scenario(prepare=LIVING, change=applied(HELD), end=ends.held),
    "resume": Scenario(prepare=in_turn(LIVING, applied(HELD)), change=applied(PLAIN), end=ends.resumed),
    "soft delete": Scenario(prepare=LIVING, change=buried, end=ends.buried),
    "restore": Scenario(prepare=GONE, change=applied(PLAIN), end=ends.restored, lasting=True),
    "purge": Scenario(
        prepare=in_turn(applied(kept_as("Purge")), joined(BEN)), change=deleted(confirmed=True), end=ends.destroyed
    ),
    "purge from the tombstone": Scenario(prepare=GONE, change=purged, end=ends.destroyed, lasting=True),
    "retain and restore": Scenario(
        prepare=applied(kept_as("Retain")),
        change=in_turn(deleted(), applied(kept_as("Retain"))),
    ),
}
