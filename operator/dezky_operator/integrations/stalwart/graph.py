"""How the steps of one tenant in Stalwart are named and made: what the parts of the plan share."""

from __future__ import annotations

from typing import Any

from dezky_operator.integrations.steps import Obstacle, Ref, Step, System, Verb

Found = Step | Obstacle
ROLE = Ref(System.STALWART, "role", "main")
DISABLED_ROLE = Ref(System.STALWART, "role", "disabled")


def stalwart_step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    """A step of Stalwart; ``more`` are further fields of a Step."""
    return Step(system=System.STALWART, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)
