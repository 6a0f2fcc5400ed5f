"""How the steps of one tenant in Authentik are named and made: what the plan and the purge share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Verb

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


def gathered(found: Iterable[Found]) -> Plan:
    """Steps and obstacles, each in the order they were found."""
    both = list(found)
    return Plan(
        tuple(item for item in both if isinstance(item, Step)),
        tuple(item for item in both if isinstance(item, Obstacle)),
    )
