"""Bringing one system to its desired state: observe, plan, apply, and observe again until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from dezky_operator.integrations.apply import Performer, Recorder, apply
from dezky_operator.integrations.errors import IntegrationError, RateLimited
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Obstacle, Plan, Step, System
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.admission import Gate

log = structlog.get_logger(__name__)
P = TypeVar("P")
ROUNDS = 6
"""Rounds until a system counts as not converging. Three are needed: create, what only then is seen, check."""


class Part(Protocol[P]):
    """One system, seen from a tenant."""

    @property
    def system(self) -> System:
        """Which one."""

    async def observe(self, intent: TenantIntent) -> P:
        """What is there; reads only. Raises IntegrationError."""

    def plan(self, intent: TenantIntent, picture: P) -> Plan:
        """What is to be done. Pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What applying needs. ``stopping`` turns true when the process is asked to end: no new step begins then."""

    performers: Mapping[System, Performer]
    recorder: Recorder
    metrics: Metrics
    stopping: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[P]):
    """How a system stands after its rounds.

    Attributes:
        picture: what was seen last; None when nothing could be seen.
        plan: what is left: the steps not applied and the obstacles.
        done: the steps applied.
        error: what stopped it.
        exhausted: every round changed something and something is always left: two hands pull at the same object.
    """

    system: System
    picture: P | None = None
    plan: Plan = field(default_factory=Plan)
    done: tuple[Step, ...] = ()
    error: IntegrationError | None = None
    exhausted: bool = False

    @property
    def ready(self) -> bool:
        """The system is as declared."""
        return self.error is None and self.plan.in_sync

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """What stands in the way, blocking or not."""
        return self.plan.obstacles

    @property
    def retry_after(self) -> float:
        """Seconds the system asked to be left alone."""
        return self.error.retry_after if isinstance(self.error, RateLimited) else 0.0


async def converge(part: Part[P], intent: TenantIntent, gate: Gate, means: Means) -> Report[P]:
    """Drive ``part`` to its desired state; never raises IntegrationError, reports it."""
    picture: P | None = None
    plan, done = Plan(), list[Step]()
    try:
        for _ in range(ROUNDS):
            picture = await part.observe(intent)
            plan = part.plan(intent, picture)
            means.recorder.observed(part.system, plan)
            chosen = await gate(part.system, plan)
            if not chosen.steps:
                return Report(system=part.system, picture=picture, plan=plan, done=tuple(done))
            error = await applied(chosen, means, done)
            if error is not None:
                return Report(system=part.system, picture=picture, plan=plan, done=tuple(done), error=error)
            if means.stopping():
                break
        picture = await part.observe(intent)
        plan = part.plan(intent, picture)
    except IntegrationError as error:
        return Report(system=part.system, picture=picture, plan=plan, done=tuple(done), error=error)
    return Report(system=part.system, picture=picture, plan=plan, done=tuple(done), exhausted=bool(plan.steps))


async def applied(plan: Plan, means: Means, done: list[Step]) -> IntegrationError | None:
    """Apply ``plan``; the first failure in the order of the steps' keys, or None."""
    outcome = await apply(plan, means.performers, means.recorder, stopping=means.stopping)
    for step in outcome.done:
        means.metrics.steps.labels(step.system, step.kind, step.verb, "done").inc()
        log.info("step done", step=step.id, verb=step.verb, object=step.name, fields=list(step.fields))
    for key, error in outcome.failed.items():
        system, kind = key.split("/")[:2]
        means.metrics.steps.labels(system, kind, "", "failed").inc()
        log.warning("step failed", step=key, error=str(error))
    done += outcome.done
    return outcome.failed[min(outcome.failed)] if outcome.failed else None
