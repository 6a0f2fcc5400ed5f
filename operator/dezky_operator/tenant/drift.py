"""What another hand changed: how it is counted, told and kept. Pure, but for the counter.

Drift is a step that nobody asked for, of a tenant whose spec had been reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dezky_operator.crd.tenant import DriftStatus, PlannedStep, Tenant
from dezky_operator.integrations.steps import Step, System, Verb
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.outcome import Notice
from dezky_operator.tenant.picture import planned_of
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.settled import is_reached

NAMES = {System.AUTHENTIK: "Authentik", System.STALWART: "Stalwart", System.OCIS: "OCIS", System.KUBERNETES: "Secret"}
MISSING, SURPLUS = "missing", "surplus"
VERBS = {
    Verb.CREATE: MISSING,
    Verb.GRANT: MISSING,
    Verb.DELETE: SURPLUS,
    Verb.REVOKE: SURPLUS,
    Verb.DISABLE: "disabled",
    Verb.ENABLE: "disabled",
}
"""What differs where a step names no fields."""
FOLLOWING = frozenset({"session", "settings", "recovery-link"})
"""Kinds of steps that only follow from another one."""
LONGEST = 12
"""Differences that one sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Steps that put something back, or would. ``withheld``: they are only reported."""

    steps: tuple[Step, ...] = ()
    withheld: bool = False

    def count(self, metrics: Metrics) -> None:
        """Count every field that differed."""
        for step in self.steps:
            for field in fields_of(step):
                metrics.drift.labels(step.system, field).inc()

    def status(self, at: str) -> DriftStatus | None:
        """What was put back; None when nothing was."""
        if self.withheld or not self.steps:
            return None
        return DriftStatus(at=at, steps=tuple(map(planned_of, self.steps)))

    def notices(self) -> tuple[Notice, ...]:
        """What a person hears of what was put back. What is only reported stands in the condition Synced."""
        if self.withheld or not self.steps:
            return ()
        told = list(dict.fromkeys(words for step in self.steps for words in _words(step)))
        more = f", and {len(told) - LONGEST} more" if len(told) > LONGEST else ""
        message = f"Changed by another hand, and put back: {', '.join(told[:LONGEST])}{more}."
        return (Notice(reason="DriftRepaired", message=message, warning=True),)


def drift_of(tenant: Tenant, reports: Reports, *, withheld: bool) -> Drift:
    """What a reconcile of ``tenant`` put back, or newly found where drift is only reported."""
    if not is_reached(tenant):
        return Drift()
    if not withheld:
        return repaired(reports)
    shown = set(map(_key, tenant.status.plan))
    new = (step for step in reports.steps if _is_drift(step) and _key(planned_of(step)) not in shown)
    return Drift(steps=tuple(new), withheld=True)


def repaired(reports: Reports) -> Drift:
    """What was put back of a tenant that had been as declared."""
    return Drift(steps=tuple(step for report in reports.all for step in report.done if _is_drift(step)))


def only_reported(tenant: Tenant) -> bool:
    """Drift is a plan of a spec that was reached once: a changed one is applied also where drift is only reported."""
    reached = tenant.status.applied_generation == tenant.metadata.generation
    return tenant.spec.drift_policy == "ReportOnly" and reached and tenant.status.phase == "Active"


def unreported(tenant: Tenant, steps: Sequence[Step], silent: frozenset[System]) -> bool:
    """Whether the status shows other differences than ``steps``, as far as a sweep without ``silent`` can see."""
    blind = {System.KUBERNETES, *silent}
    shown = {_key(found) for found in tenant.status.plan if _is_seen(found.key, blind)}
    return shown != {_key(planned_of(step)) for step in steps if _is_drift(step)}


def fields_of(step: Step) -> tuple[str, ...]:
    """The names of what differed."""
    return step.fields or (VERBS.get(step.verb, MISSING),)


def _is_drift(step: Step) -> bool:
    return not step.asked and step.kind not in FOLLOWING


def _is_seen(key: str, blind: Iterable[str]) -> bool:
    system, kind, _ = key.split("/", 2)
    return system not in blind and kind not in FOLLOWING


def _key(step: PlannedStep) -> tuple[str, str, tuple[str, ...]]:
    return (step.key, step.verb, step.fields)


def _words(step: Step) -> list[str]:
    where = NAMES[step.system]
    if step.fields:
        return [f"{step.kind}.{field} in {where}" for field in step.fields]
    return [f"{step.kind} {step.name} ({fields_of(step)[0]}) in {where}"]
