"""How the steps of one tenant in Authentik are named and made: what the plan and the purge share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import Owner
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb

Found = Step | Obstacle
USERS_GROUP = Ref(System.AUTHENTIK, "group", "users")
ADMINS_GROUP = Ref(System.AUTHENTIK, "group", "admins")
PROVIDER = Ref(System.AUTHENTIK, "provider", "main")
APPLICATION = Ref(System.AUTHENTIK, "application", "main")
APPLICATION_PK = Ref(System.AUTHENTIK, "application", "main", "pk")
"""What bindings and brands name; the slug is what everything else does."""
ADMIN = Ref(System.AUTHENTIK, "user", "admin")


def authentik_step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    """A step of Authentik; ``more`` are further fields of a Step."""
    return Step(system=System.AUTHENTIK, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)


def update(kind: str, key: str, name: str, target: str, changes: Mapping[str, Value]) -> Step:
    """The step that gives an object the fields in ``changes``."""
    return authentik_step(
        kind,
        key,
        Verb.UPDATE,
        name=name,
        target=target,
        body=dict(changes),
        fields=tuple(sorted(changes)),
        reason="Changed by another hand, or declared anew.",
    )


def foreign(what: str, owner: Owner, intent: TenantIntent) -> Obstacle:
    """An object of the tenant's names that is not the tenant's."""
    return Obstacle(
        system=System.AUTHENTIK,
        reason="ForeignObject",
        message=f"Authentik's {what} exists and {owner.sentence}. It is not touched. {owner.way_out(intent.adoption)}",
    )


def gathered(found: Iterable[Found]) -> Plan:
    """Steps and obstacles, each in the order they were found."""
    both = list(found)
    return Plan(
        tuple(item for item in both if isinstance(item, Step)),
        tuple(item for item in both if isinstance(item, Obstacle)),
    )
