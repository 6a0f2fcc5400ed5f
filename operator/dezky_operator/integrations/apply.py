"""Applying a plan: the graph is walked, ready steps side by side, each one recorded before and after.

A step that fails holds back only the steps that wait for it; everything else goes on. Nothing is rolled back: each step
is safe to repeat, and the next reconcile observes what is there and plans the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.steps import Plan, Ref, Step, System, Value

Outputs = Mapping[str, str]
"""What a step yields for others: ``id`` where it makes an object, more where a Ref asks (``link``, ``secret``)."""


class Performer(Protocol):
    """Carries out single steps in one system. Every step must be safe to repeat after a crash at any point."""

    async def perform(self, step: Step) -> Outputs:
        """Do what ``step`` says; its Refs are already ids. Raises IntegrationError."""


class Recorder(Protocol):
    """The audit trail of applied steps: an intent is durable before the write, its end after it."""

    async def intent(self, step: Step) -> None:
        """Called before the write. Raises when nothing can be persisted and the step is privileged."""

    async def done(self, step: Step) -> None:
        """The step's effect is in place."""

    async def failed(self, step: Step, error: IntegrationError) -> None:
        """The step was refused or its outcome is not known."""

    def observed(self, system: System, plan: Plan) -> None:
        """Observing ``system`` left ``plan`` to be done: it tells the end of what an earlier process left open."""


class Trail(Protocol):
    """Where the steps of all tenants are recorded."""

    def of(self, tenant: str, phase: str) -> Recorder:
        """The recorder of the steps that bring the tenant with this tenantId to ``phase``."""


@dataclass(slots=True)
class Applied:
    """What became of a plan."""

    done: list[Step] = field(default_factory=list)
    failed: dict[str, IntegrationError] = field(default_factory=dict)
    skipped: list[Step] = field(default_factory=list)
    outputs: dict[str, Outputs] = field(default_factory=dict, repr=False)
    """By step. Passwords and links are among them."""

    def errors_of(self, system: System) -> list[IntegrationError]:
        """The failures of one system, in the order of their steps' keys."""
        return [error for key, error in sorted(self.failed.items()) if error.system is system or key.startswith(system)]


async def apply(
    plan: Plan,
    performers: Mapping[System, Performer],
    recorder: Recorder,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Applied:
    """Carry out every step of ``plan`` whose prerequisites are met; returns what was done, what failed, what waited.

    Prerequisites that are not in the plan count as met: their object exists already. A cycle is a programming error and
    raises ValueError before anything is written. Once ``stopping`` says so no step begins; those begun are finished.
    """
    applied = Applied()
    waiting = {step.id: step for step in plan.steps}
    _refuse_cycles(waiting)
    running: dict[asyncio.Task[Outputs], Step] = {}
    try:
        while waiting or running:
            for step in [] if stopping() else _ready(waiting, running.values()):
                del waiting[step.id]
                running[asyncio.create_task(_one(step, performers, recorder, applied))] = step
            if not running:
                break
            finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                _settle(running.pop(task), task, applied, waiting)
        applied.skipped += waiting.values()
    finally:
        # Cancelled or broken from inside: what is on the wire may land, nothing new starts.
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return applied


async def _one(step: Step, performers: Mapping[System, Performer], recorder: Recorder, applied: Applied) -> Outputs:
    bound = resolved(step, applied.outputs)
    await recorder.intent(step)
    try:
        outputs = await performers[step.system].perform(bound)
    except IntegrationError as error:
        await recorder.failed(step, error)
        raise
    await recorder.done(step)
    return outputs


def _settle(step: Step, task: asyncio.Task[Outputs], applied: Applied, waiting: dict[str, Step]) -> None:
    try:
        applied.outputs[step.id] = task.result()
    except IntegrationError as error:
        applied.failed[step.id] = error
        _skip_dependents(step.id, waiting, applied)
    else:
        applied.done.append(step)


def _ready(waiting: Mapping[str, Step], running: Iterable[Step]) -> list[Step]:
    busy = {step.id for step in running}
    open_keys = busy | waiting.keys()
    return [step for step in waiting.values() if not step.waits_for & (open_keys - {step.id})]


def _skip_dependents(key: str, waiting: dict[str, Step], applied: Applied) -> None:
    for step in [step for step in waiting.values() if key in step.waits_for]:
        if waiting.pop(step.id, None) is not None:
            applied.skipped.append(step)
            _skip_dependents(step.id, waiting, applied)


def _refuse_cycles(steps: Mapping[str, Step]) -> None:
    left = dict(steps)
    while left:
        free = [key for key, step in left.items() if not step.waits_for & (left.keys() - {key})]
        if not free:
            raise ValueError(f"steps wait for each other in a circle: {', '.join(sorted(left))}")
        for key in free:
            del left[key]


def resolved(step: Step, outputs: Mapping[str, Outputs]) -> Step:
    """The step with every Ref replaced by what the step it names has yielded."""

    def put(value: Value) -> Value:
        if isinstance(value, Ref):
            return outputs[value.step][value.output]
        if isinstance(value, Mapping):
            # A Ref can be a key: Stalwart writes sets as {"<role id>": true} (facts/stalwart.md 2.2).
            return {str(put(key)): put(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [put(inner) for inner in value]
        return value

    target = outputs[step.target.step][step.target.output] if isinstance(step.target, Ref) else step.target
    return replace(step, target=target, body={str(put(key)): put(value) for key, value in step.body.items()})
