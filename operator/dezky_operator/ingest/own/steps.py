"""Applied steps as events: an intent before the write, its end after it (facts/audit-log.md §2.3, rule 10).

A crash between the two leaves an intent without an end. The next process observes what is there: what is not to be done
any more was done (``step.done`` with ``observed``), of the rest nobody knows (``step.unknown``).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import msgspec

from dezky_operator.audit.event import Datum, Event, Outcome
from dezky_operator.ingest.own.acts import Whose, act, once
from dezky_operator.ingest.own.keeping import Keeping, NotKeptError
from dezky_operator.integrations.errors import IntegrationError, NoPermission, Unrecorded
from dezky_operator.integrations.steps import Plan, Ref, Step, System

INTENT, DONE, FAILED, UNKNOWN = "step.intent", "step.done", "step.failed", "step.unknown"
ENDS = (DONE, FAILED, UNKNOWN)
_PLANNED_WITH = {System.AUTHENTIK: (System.AUTHENTIK, System.KUBERNETES)}
"""A tenant's Secret is planned with its sign-in."""
_FIELD = re.compile("[A-Za-z][A-Za-z0-9_.]*")


class OpenIntent(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an earlier process of which no end is known.

    Attributes:
        step: its id.
        system, kind, key, verb, phase: as its intent says them.
        tenant: tenantId.
    """

    step: str
    system: str
    kind: str
    key: str
    verb: str
    phase: str
    tenant: str


class Trail:
    """Where the steps of all tenants are recorded."""

    def __init__(
        self,
        keeping: Keeping,
        whose: Callable[[str], Whose],
        *,
        secret: bytes,
        now: Callable[[], str],
        open_: Iterable[OpenIntent] = (),
    ) -> None:
        """Record into ``keeping``.

        Args:
            keeping: takes the events.
            whose: knows tenants by their ids.
            secret: keys the digests of steps' keys, which may name people.
            now: canonical time.
            open_: intents without an end.
        """
        self._keeping, self._whose, self._secret, self._now = keeping, whose, secret, now
        self._open: dict[str, list[OpenIntent]] = {}
        for intent in open_:
            self._open.setdefault(intent.tenant, []).append(intent)

    @property
    def unfinished(self) -> frozenset[str]:
        """Tenants with intents whose end is not known yet: they are to be observed."""
        return frozenset(self._open)

    def of(self, tenant: str, phase: str) -> StepRecorder:
        """What records the steps that bring one tenant to ``phase``."""
        return StepRecorder(self, tenant, phase)

    async def intent(self, tenant: str, phase: str, step: Step) -> str:
        """Record that ``step`` is about to be done; returns the id under which its end is recorded.

        Raises Unrecorded: it can not be recorded, and the step is one that is not done then.
        """
        number = once()
        event = self._event(INTENT, tenant, step, number, Outcome.UNKNOWN, phase=phase)
        try:
            await self._keeping.keep(event)
        except NotKeptError as error:
            if step.privileged:
                raise Unrecorded(step.system, f"{step.id}: not done, because {error}. Free its disk.") from error
            self._keeping.offer(event)
        return number

    def end(self, tenant: str, step: Step, number: str, error: IntegrationError | None) -> None:
        """Record how ``step`` ended: it is written soon, and found open by the next process where it is not."""
        if error is None:
            event = self._event(DONE, tenant, step, number, Outcome.SUCCESS)
        else:
            outcome = Outcome.DENIED if isinstance(error, NoPermission) else Outcome.FAILURE
            event = self._event(FAILED, tenant, step, number, outcome, error=type(error).__name__)
        self._keeping.offer(event)

    def observed(self, tenant: str, phase: str, system: System, plan: Plan) -> None:
        """End the intents of an earlier process in ``system``: ``plan`` is what observing leaves to be done.

        That a step is not in it tells only in the phase it was for: to lock, nothing is planned that is to be made.
        """
        intents = self._open.get(tenant)
        if intents is None:
            return
        left = {(step.kind, self._key(tenant, step), step.verb.value) for step in plan.steps}
        for intent in [intent for intent in intents if intent.system in _PLANNED_WITH.get(system, (system,))]:
            there = intent.phase == phase and (intent.kind, intent.key, intent.verb) not in left
            self._close(intent, there=there)
            intents.remove(intent)
        if not intents:
            del self._open[tenant]

    def give_up(self, tenants: Iterable[str] | None = None) -> None:
        """End the intents of tenants that nobody will observe any more; of all where none are named."""
        for tenant in list(self._open) if tenants is None else tenants:
            for intent in self._open.pop(tenant, ()):
                self._close(intent, there=False)

    def _close(self, intent: OpenIntent, *, there: bool) -> None:
        data: dict[str, Datum] = {
            "step": intent.step,
            "system": intent.system,
            "kind": intent.kind,
            "key": intent.key,
            "verb": intent.verb,
        }
        if there:
            data["observed"] = True
        action = DONE if there else UNKNOWN
        self._keeping.offer(
            act(
                action,
                ext=f"{intent.step}:{action.partition('.')[2]}",
                now=self._now(),
                whose=self._whose(intent.tenant),
                outcome=Outcome.SUCCESS if there else Outcome.UNKNOWN,
                resource=intent.kind,
                data=data,
            )
        )

    def _event(self, action: str, tenant: str, step: Step, number: str, outcome: Outcome, **more: str) -> Event:
        data: dict[str, Datum] = {
            "step": number,
            "system": step.system.value,
            "kind": step.kind,
            "key": self._key(tenant, step),
            "verb": step.verb.value,
        }
        if fields := [field for field in step.fields if _FIELD.fullmatch(field)]:
            data["fields"] = ",".join(fields)
        data.update(more)
        values = {"resource.name": step.name}
        if isinstance(step.target, str):
            values["resource.id"] = step.target
        if step.body:
            values["after"] = sha256(_canonical(step.body)).hexdigest()
        return act(
            action,
            ext=f"{number}:{action.partition('.')[2]}",
            now=self._now(),
            whose=self._whose(tenant),
            outcome=outcome,
            resource=step.kind,
            data=data,
            values=values,
        )

    def _key(self, tenant: str, step: Step) -> str:
        """What tells steps of a kind apart: keyed, since some keys are people's names."""
        return hmac.digest(self._secret, f"{tenant}\0{step.id}".encode(), "sha256")[:8].hex()


class StepRecorder:
    """Records the steps of one tenant: what :func:`dezky_operator.integrations.apply.apply` asks for."""

    def __init__(self, trail: Trail, tenant: str, phase: str) -> None:
        self._trail, self._tenant, self._phase = trail, tenant, phase
        self._numbers: dict[str, str] = {}

    async def intent(self, step: Step) -> None:
        """Record it before the write. Raises Unrecorded."""
        self._numbers[step.id] = await self._trail.intent(self._tenant, self._phase, step)

    async def done(self, step: Step) -> None:
        """Record that its effect is in place."""
        self._trail.end(self._tenant, step, self._numbers.pop(step.id), None)

    async def failed(self, step: Step, error: IntegrationError) -> None:
        """Record that it was refused, or that its outcome is not known."""
        self._trail.end(self._tenant, step, self._numbers.pop(step.id), error)

    def observed(self, system: System, plan: Plan) -> None:
        """End what an earlier process left open."""
        self._trail.observed(self._tenant, self._phase, system, plan)


def _canonical(body: object) -> bytes:
    """The body as text that is the same for equal bodies; ids that are not known yet by the step that yields them."""
    return msgspec.json.encode(_plain(body), order="sorted")


def _plain(value: Any) -> Any:
    if isinstance(value, Ref):
        return f"{value.step}#{value.output}"
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
