"""How the steps of one tenant in Stalwart are named and made: what the parts of the plan share."""

from __future__ import annotations

from typing import Any

from dezky_operator.integrations.steps import Obstacle, Ref, Step, System, Value, Verb

Found = Step | Obstacle
ROLE = Ref(System.STALWART, "role", "main")
DISABLED_ROLE = Ref(System.STALWART, "role", "disabled")


def stalwart_step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    """A step of Stalwart; ``more`` are further fields of a Step."""
    return Step(system=System.STALWART, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)


def changed(kind: str, key: str, name: str, target: str, changes: dict[str, Value]) -> Step:
    """The step that gives an object the properties in ``changes``."""
    return stalwart_step(
        kind,
        key,
        Verb.UPDATE,
        name=name,
        target=target,
        body=changes,
        fields=tuple(sorted(changes)),
        reason="Changed by another hand, or declared anew.",
    )


def foreign(message: str) -> Obstacle:
    """Something of another's is in the way."""
    return Obstacle(system=System.STALWART, reason="ForeignObject", message=message)
