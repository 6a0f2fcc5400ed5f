"""The machine: what people, other hands, faults and restarts do to two tenants, in any order (issue 8, Done when).

It is defined once, and runs on two grounds: over the stand-ins in memory, and on a real API server.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dezky_operator.crd.tenant import Tenant
from dezky_operator.tenant.record import Record, RecordState
from tests.builders import Manifest
from tests.properties.others import EDITS, PEOPLE, SLUGS, People
from tests.properties.verdict import Court
from tests.sandbox.standin import Fault
from tests.sandbox.workspace import Workspace

FULL = os.environ.get("DEZKY_PROPERTIES") == "full"
"""Many random examples instead of few that are the same in every run."""
WRITES = {"authentik": r"^(POST|PUT|PATCH|DELETE) /api", "stalwart": "/set", "ocis": "^(POST|PATCH|PUT|DELETE|MKCOL)"}
"""What of a system's requests changes something."""
MONTH = 31 * 24


@dataclass(frozen=True)
class Interruption:
    """What comes in the middle of a look: after some requests the process ends, or somebody changes the manifest."""

    after: int
    done: bool = False
    """Whether the request at that point is acted on before its sender is gone."""
    manifest: Manifest | None = None
    told: bool = False
    """Whether the watch tells of the change at once."""


class Ground(Protocol):
    """Where the machine runs."""

    workspace: Workspace
    foreign: dict[str, str]

    def reset(self) -> None:
        """As it was after bootstrap, with both tenants ready."""

    def apply(self, manifest: Manifest) -> None:
        """`kubectl apply`."""

    def delete(self, slug: str) -> None:
        """`kubectl delete`, without waiting."""

    def confirm(self, slug: str) -> None:
        """Confirm the purge on the tombstone."""

    def look(self, slug: str, interruption: Interruption | None = None) -> None:
        """Have the operator look at a tenant."""

    def restart(self) -> None:
        """Throw the operator away, and start another one."""

    def hours_pass(self, hours: int) -> None:
        """Time passes, for the operator and the API server; where nobody can let it, none does."""

    def settle(self) -> None:
        """Nothing fails any more; until everything was looked at and nothing changed by that."""

    def living(self) -> dict[str, Tenant]:
        """The Tenants."""

    def records(self) -> dict[str, Record]:
        """The tombstones."""


def first_spec(slug: str) -> dict[str, Any]:
    """The spec that both begin with."""
    return {
        "displayName": slug.title(),
        "domains": [f"{slug}.test"],
        "admin": {"email": f"anna@{slug}.test", "name": "Anna"},
        "brand": {"title": slug.title()},
        "files": {"quota": "10Gi", "spaces": [{"name": "sales"}]},
    }


def first_manifest(slug: str) -> Manifest:
    """The manifest that both begin with."""
    return manifest_of(slug, first_spec(slug))


def manifest_of(slug: str, spec: Mapping[str, Any], **annotations: str) -> Manifest:
    """A Tenant as in a Git repository."""
    marked = {f"dezky.eu/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "apiVersion": "dezky.eu/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": slug, **({"annotations": marked} if marked else {})},
        "spec": copy.deepcopy(dict(spec)),
    }


Change = tuple[str, Any]
"""A field of the spec and its value; ``{}`` in a text is the slug, None removes the field."""
CHANGES: tuple[Change, ...] = (
    ("displayName", "Acme & Söhne"),
    ("displayName", "Other"),
    ("domains", ["{}.test"]),
    ("domains", ["{}.test", "{}-two.test"]),
    ("domains", ["{}-two.test", "{}.test"]),
    ("domains", ["{}.test", "shared.test"]),
    ("files", {"quota": "10Gi"}),
    ("files", {"quota": "20Gi", "spaces": [{"name": "sales"}]}),
    ("files", {"quota": "0", "spaces": [{"name": "sales", "quota": "1Gi"}, {"name": "labs"}]}),
    ("mail", {"mailboxQuota": "1Gi"}),
    ("mail", {"mailboxQuota": "2Gi"}),
    ("admin", {"email": "anna@{}.test", "name": "Anna"}),
    ("admin", {"email": "anna@{}.test", "name": "Anna Berg"}),
    ("brand", {"title": "Brand"}),
    ("brand", None),
    ("driftPolicy", "ReportOnly"),
    ("driftPolicy", "Correct"),
    ("deletionPolicy", "SoftDelete"),
    ("deletionPolicy", "Retain"),
    ("deletionPolicy", "Purge"),
)
slugs, people = st.sampled_from(SLUGS), st.sampled_from(PEOPLE)
systems = st.sampled_from(sorted(WRITES))


class Lifecycle(RuleBasedStateMachine):
    """Two tenants, their people, and everything that happens to them."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.ground.reset()
        self.people = People()
        self.specs = {slug: first_spec(slug) for slug in SLUGS}
        self.may_go: set[str] = set()
        """Slugs whose tombstone may end in a purge: a person confirmed it, or its time is over."""
        self.buried: set[str] = set()
        self.hours = 0

    @initialize(
        joined=st.sets(st.tuples(people, slugs), min_size=1, max_size=4),
        begins=st.sampled_from(["open", "suspended", "held", "deleted"]),
    )
    def begin(self, joined: set[tuple[str, str]], begins: str) -> None:
        """Somebody works there already, and one of the two may be locked: what is rare otherwise is often near then."""
        for name, slug in sorted(joined):
            self.join(name, slug)
        self.ground.settle()
        if begins in BEGINNINGS:
            BEGINNINGS[begins](self)
            self._settle()

    # -- what people declare ----------------------------------------------------------------

    @rule(slug=slugs, change=st.sampled_from(CHANGES))
    def edit(self, slug: str, change: Change) -> None:
        """The spec changes; where the Tenant is deleted, what is applied again has changed."""
        self._change(slug, change)
        if slug in self.ground.living():
            self._apply(slug)

    @rule(slug=slugs, policy=st.sampled_from(["Accept", "Hold"]))
    def suspend(self, slug: str, policy: str) -> None:
        """One field."""
        self.specs[slug] |= {"suspended": True, "suspension": {"mailPolicy": policy, "reason": "unpaid"}}
        if slug in self.ground.living():
            self._apply(slug)

    @rule(slug=slugs)
    def resume(self, slug: str) -> None:
        """The same field."""
        self.specs[slug] = {key: value for key, value in self.specs[slug].items() if not key.startswith("susp")}
        if slug in self.ground.living():
            self._apply(slug)

    @rule(slug=slugs, confirmed=st.booleans())
    def delete(self, slug: str, confirmed: bool) -> None:  # noqa: FBT001 - Hypothesis names its arguments
        """Softly, retained, or for good."""
        tenant = self.ground.living().get(slug)
        if tenant is None or tenant.metadata.deletion_timestamp is not None:
            return
        if confirmed and self.specs[slug].get("deletionPolicy") == "Purge":
            self.ground.apply(manifest_of(slug, self.specs[slug], confirm_purge=slug))
            self.may_go.add(slug)
        else:
            self.may_go.discard(slug)
        self.ground.delete(slug)
        self.hours = 0

    @rule(slug=slugs)
    def apply_again(self, slug: str) -> None:
        """Whatever became of it."""
        self._apply(slug)

    @rule(slug=slugs)
    def confirm_purge(self, slug: str) -> None:
        """On the tombstone, where there is one."""
        record = self.ground.records().get(slug)
        if record is not None and record.standing:
            self.ground.confirm(slug)
            self.may_go.add(slug)

    # -- what other hands do -----------------------------------------------------------------

    @rule(slug=slugs, what=st.sampled_from(sorted(EDITS)))
    def edit_outside(self, slug: str, what: str) -> None:
        """An object of ours is changed in its system."""
        EDITS[what](self.ground.workspace, slug)

    @rule(name=people, slug=slugs)
    def join(self, name: str, slug: str) -> None:
        """Somebody joins, of the tenant's domain or of the other's."""
        self.people.join(self.ground.workspace, name, slug)

    @rule(which=st.integers(0, 7))
    def leave(self, which: int) -> None:
        """One of those who are in a tenant leaves it."""
        if found := self.people.memberships(self.ground.workspace):
            self.people.leave(self.ground.workspace, *found[which % len(found)])

    @rule(name=people, what=st.sampled_from(["stop", "wake", "sign_in"]))
    def touch(self, name: str, what: str) -> None:
        """Somebody is deactivated or activated by another hand, or signs in."""
        getattr(self.people, what)(self.ground.workspace, name)

    # -- what the operator does, and what happens to it ------------------------------------------

    @rule(slug=slugs)
    def look(self, slug: str) -> None:
        """The operator looks at a tenant."""
        self.ground.look(slug)

    @rule(slug=slugs, after=st.integers(0, 40), done=st.booleans())
    def crash(self, slug: str, after: int, done: bool) -> None:  # noqa: FBT001 - Hypothesis names its arguments
        """It ends in the middle of a look."""
        self.ground.look(slug, Interruption(after, done=done))

    @rule(slug=slugs, after=st.integers(0, 40), change=st.sampled_from(CHANGES), told=st.booleans())
    def edit_meanwhile(self, slug: str, after: int, change: Change, told: bool) -> None:  # noqa: FBT001 - see crash
        """The spec changes in the middle of a look."""
        if slug in self.ground.living():
            self._change(slug, change)
            manifest = manifest_of(slug, self.specs[slug])
            self.ground.look(slug, Interruption(after, manifest=manifest, told=told))

    @rule()
    def restart(self) -> None:
        """The operator is thrown away between two looks."""
        self.ground.restart()

    @rule(system=systems)
    def take_down(self, system: str) -> None:
        """A system answers nothing but 503."""
        self._standin(system).faults.append(Fault(match=r"/api/v3/|/application/|/jmap|/graph|/dav|/ocs", status=503))

    @rule(
        system=systems,
        how=st.sampled_from(["lost", "refused", "status"]),
        after=st.integers(0, 6),
        times=st.integers(1, 3),
    )
    def break_writes(self, system: str, how: str, after: int, times: int) -> None:
        """Some writes are done and not answered, do not arrive, or are answered with 500."""
        kinds: dict[str, Any] = {"lost": {"lost": True}, "refused": {"refused": True}, "status": {"status": 500}}
        self._standin(system).faults.append(Fault(match=WRITES[system], after=after, times=times, **kinds[how]))

    @rule()
    def heal(self) -> None:
        """Nothing fails any more."""
        self._heal()

    @rule(hours=st.sampled_from([1, 80, MONTH]))
    def hours_pass(self, hours: int) -> None:
        """Held mail is accepted after three days, a tombstone is due after thirty."""
        self.hours += hours
        self.ground.hours_pass(hours)
        if self.hours > MONTH - 24:
            self.may_go |= set(SLUGS)

    @rule()
    def settle(self) -> None:
        """Everything comes to rest."""
        self._settle()

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def whatever_happens(self) -> None:
        """Nothing foreign changed, nothing is claimed without proof, nothing is purged that nobody gave up."""
        self._court().always()
        records = self.ground.records()
        gone = self.buried - records.keys() - self.may_go
        assert not gone, f"purged, and nobody asked for it: {gone}"
        self.buried = {slug for slug, record in records.items() if record.state is not RecordState.RESTORED}

    def teardown(self) -> None:
        """At the end all is well; whoever is suspended is resumed, drift is corrected, and all is well again."""
        self._settle()
        for slug, tenant in self.ground.living().items():
            if tenant.metadata.deletion_timestamp is None:
                self._change(slug, ("driftPolicy", "Correct"))
                self.resume(slug)
        self._settle()

    # -- parts of them -----------------------------------------------------------------------------

    def _settle(self) -> None:
        self._heal()
        self.ground.settle()
        self.whatever_happens()
        self._court().at_rest()

    def _heal(self) -> None:
        for standin in self.ground.workspace.systems:
            standin.faults.clear()

    def _apply(self, slug: str) -> None:
        self.ground.apply(manifest_of(slug, self.specs[slug]))

    def _change(self, slug: str, change: Change) -> None:
        name, value = change
        spec = {key: kept for key, kept in self.specs[slug].items() if key != name}
        self.specs[slug] = spec if value is None else {**spec, name: _named(value, slug)}

    def _standin(self, system: str) -> Any:
        return next(one for one in self.ground.workspace.systems if one.name == system)

    def _court(self) -> Court:
        ground = self.ground
        return Court(ground.workspace, ground.living(), ground.records(), self.people, ground.foreign)


BEGINNINGS: dict[str, Callable[[Lifecycle], None]] = {
    "suspended": lambda machine: machine.suspend("acme", "Accept"),
    "held": lambda machine: machine.suspend("acme", "Hold"),
    "deleted": lambda machine: machine.delete("acme", confirmed=False),
}


def _named(value: Any, slug: str) -> Any:
    """``value`` with the slug in its texts."""
    if isinstance(value, dict):
        return {key: _named(inner, slug) for key, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner, slug) for inner in value]
    return value.replace("{}", slug) if isinstance(value, str) else value


def profile(*, examples: int, steps: int) -> settings:
    """The same steps in every run, or with ``DEZKY_PROPERTIES=full`` others each time. One that fails is printed."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not FULL,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
