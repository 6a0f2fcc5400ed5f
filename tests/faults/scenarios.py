"""What is interrupted: how the world is prepared, what a person then does, and what it looks like when it is done.

A new scenario is one entry of :data:`SCENARIOS`; its points are generated from an undisturbed run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.apiserver import ApiServer
from tests.builders import Manifest, admin, deletion, domains, spaces, spec, tenant
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
    """``prepare`` and ``change`` act as a person and wait, as a person would, until they see it done."""

    change: Act
    prepare: Act | None = None


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


SCENARIOS = {
    "create": Scenario(change=applied(tenant(NAME, ANNA, BRAND, spaces("sales")))),
    "edit": Scenario(
        prepare=in_turn(applied(BEFORE), joined(BEN)),
        change=in_turn(applied(LESS), applied(BEFORE)),
    ),
    "purge": Scenario(
        prepare=in_turn(applied(kept_as("Purge")), joined(BEN)),
        change=deleted(confirmed=True),
    ),
    "retain and restore": Scenario(
        prepare=applied(kept_as("Retain")),
        change=in_turn(deleted(), applied(kept_as("Retain"))),
    ),
}
