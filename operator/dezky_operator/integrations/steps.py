"""Steps and plans: the one form in which every change to the outside is expressed.

A :class:`Step` is one logical change. A :class:`Plan` is a graph of them. Both are values: making a plan reads nothing
and changes nothing, so a preview (`status.plan`), a repair and a first creation are the same thing, applied or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class System(StrEnum):
    """The external systems, by the names that status, metrics and logs use."""

    AUTHENTIK = "authentik"
    STALWART = "stalwart"
    OCIS = "ocis"
    KUBERNETES = "kubernetes"
    """Secrets that belong to a tenant; kept through the same plan as everything else."""


class Verb(StrEnum):
    """What a step does to its object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    """Destroys the object. Only a purge or a confirmed detach plans it."""
    DISABLE = "disable"
    """Takes the object out of use, reversibly."""
    ENABLE = "enable"
    """Undoes a disable."""
    GRANT = "grant"
    """Gives a principal access (group membership, a role on a space)."""
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the id of an object that an earlier step of the same plan makes.

    An application needs the pk of a provider that does not exist yet: its body holds a Ref, and :func:`apply` puts the
    id there once the provider's step is done. ``output`` names what is taken from that step's result.
    """

    system: System
    kind: str
    key: str
    output: str = "id"

    @property
    def step(self) -> str:
        """The key of the step this waits for."""
        return step_key(self.system, self.kind, self.key)


Scalar = str | int | float | bool | None
Value = Scalar | Ref | Sequence["Value"] | Mapping[Any, "Value"]
"""What a body may hold: JSON, with Refs where ids are not known yet (also as keys, which are otherwise strings)."""


def step_key(system: System, kind: str, key: str) -> str:
    """The symbolic name of a step: ``authentik/group/users``."""
    return f"{system}/{kind}/{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One logical change of one object.

    Attributes:
        system: where it happens.
        kind: the system's own word for the object: ``group``, ``provider``, ``Domain``, ``drive`` …
        key: tells objects of a kind apart inside this tenant; with system and kind it names the step.
        verb: what is done.
        name: the object's name as a person knows it, for messages, previews and the audit log.
        target: id of the object that is changed; None when it is created.
        body: what is sent. Every string in it may end up in the target system, none of it in a log.
        fields: names of the fields that differ; for a preview and the drift metric. Values stay out: some are secrets.
        reason: one sentence for a person.
        after: keys of steps that must be done first, beyond those its Refs name. Carries the safety rules.
        asked: wanted by a person or by an event outside (a new member, a published record), so it is no drift.
        privileged: refused while no audit record can be kept (design: suspension and deny are not).
    """

    system: System
    kind: str
    key: str
    verb: Verb
    name: str
    reason: str
    target: str | Ref | None = None
    body: Mapping[Any, Value] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    asked: bool = False
    privileged: bool = True

    @property
    def id(self) -> str:
        """The symbolic key, unique in a plan."""
        return step_key(self.system, self.kind, self.key)

    @property
    def waits_for(self) -> frozenset[str]:
        """Every step this one follows: those named in ``after`` and those its Refs need."""
        return self.needs.union(self.after)

    @property
    def needs(self) -> frozenset[str]:
        """The steps whose results this one can not be sent without."""
        refs = {ref.step for ref in refs_in(self.body)}
        if isinstance(self.target, Ref):
            refs.add(self.target.step)
        return frozenset(refs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why an object can not be brought to its desired state by a plan. Becomes a condition, changes nothing.

    ``reason`` is one of the fixed condition reasons (``ForeignObject``, ``DomainConflict``, ``OperatorLockedOut``, …).
    ``blocking`` obstacles make the system not ready; others are only told.
    """

    system: System
    reason: str
    message: str
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps still to do, and what stands in the way. Without both, the system is in sync."""

    steps: tuple[Step, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()

    def __add__(self, other: Plan) -> Plan:
        """Both plans as one graph; keys of steps are unique because they name system, kind and object."""
        return Plan(self.steps + other.steps, self.obstacles + other.obstacles)

    @property
    def in_sync(self) -> bool:
        """Nothing to do and nothing in the way."""
        return not self.steps and not any(found.blocking for found in self.obstacles)

    @property
    def asked(self) -> Plan:
        """The steps that are no drift, without those that need a step which is: no obstacle, nothing half done."""
        steps = [step for step in self.steps if step.asked]
        left_out = {step.id for step in self.steps if not step.asked}
        while waiting := [step for step in steps if step.needs & left_out]:
            left_out |= {step.id for step in waiting}
            steps = [step for step in steps if step.id not in left_out]
        return Plan(tuple(steps))


def refs_in(value: object) -> Iterator[Ref]:
    """Every Ref inside a body."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from refs_in(key)
            yield from refs_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from refs_in(inner)
