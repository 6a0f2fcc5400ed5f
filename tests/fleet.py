"""An operator without an API server, for tests of many tenants: its rules over the stand-ins, its writes in memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from dezky_operator import config
from dezky_operator.audit.recorder import NoRecorder
from dezky_operator.config import Settings
from dezky_operator.crd.tenant import SuspensionStatus, Tenant, parse
from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.canary.model import Attempt, Rehearsal
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Plan, Step, System, Verb
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant import burial
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.credentials import KeptSecret
from dezky_operator.tenant.identity import Identity
from dezky_operator.tenant.life import TenantLife
from dezky_operator.tenant.outcome import Notice, Outcome
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.record import Record, RecordState
from dezky_operator.tenant.retention import Clocks, Retention, Waited, Wishes, nothing_to_read
from dezky_operator.tenant.rounds import Rounds
from dezky_operator.tenant.sweep import Sweep, Swept
from dezky_operator.tenant.world import Systems, World
from tests.builders import Manifest
from tests.canary import Scene, scene
from tests.identity import INSTALLATION
from tests.sandbox.authentik.kinds import Record as Object

CREATED = "2026-11-24T00:00:00Z"
ROUNDS = 6


class NobodyTries:
    """The canary of a process that has none: what nobody tried is proven for nobody."""

    async def rehearse(self, _: TenantIntent) -> Rehearsal:
        return Rehearsal(controls={}, failures=dict.fromkeys(System, "nobody tries here"), keys=None)

    async def attempt(self, _: Rehearsal, __: TenantIntent, system: System) -> Attempt:
        raise AssertionError(f"{system} was tried without a control")


@dataclass
class Drawer:
    """The tenants' Secrets."""

    kept: dict[str, KeptSecret] = field(default_factory=dict)

    async def read(self, name: str) -> KeptSecret | None:
        return self.kept.get(name)

    async def perform(self, step: Step) -> Outputs:
        if step.verb is Verb.DELETE:
            self.kept.pop(step.name, None)
            return {}
        body: Any = step.body
        before = self.kept[step.name].data if step.name in self.kept else {}
        data = {key: value for key, value in {**before, **body["data"]}.items() if value is not None}
        self.kept[step.name] = KeptSecret(name=step.name, tenant_id=str(body["tenantId"]), data=data)
        return {}


@dataclass
class Fleet:
    """Tenants and tombstones as an API server would keep them, and one process that serves them."""

    scene: Scene
    settings: Settings
    metrics: Metrics = field(default_factory=Metrics)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    writes: int = 0
    secrets: Drawer = field(default_factory=Drawer)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: nothing of the old one's memory is left."""
        workspace = self.scene.workspace
        self.rounds = Rounds(
            settings=self.settings,
            systems=Systems(
                authentik=self.scene.identity.integration,
                stalwart=self.scene.mail.integration,
                ocis=self.scene.files.integration,
                secrets=self.secrets,
                resolver=Resolver([f"127.0.0.1:{workspace.dns.port}"], timeout=1.0, clock=time.monotonic),
            ),
            trail=NoRecorder(),
            metrics=self.metrics,
            stopping=lambda: False,
        )
        proofs = Proofs(NobodyTries(), waiting=lambda: 0.0, clock=time.monotonic)
        self.life = TenantLife(self.rounds, proofs, clock=time.monotonic)
        self.retention = Retention(
            self.rounds,
            proofs,
            deletion=self.settings.deletion,
            purge=self.settings.purge,
            audit=Waited(self.settings.purge, nothing_to_read),
            brake=MassDeletion(most=100),
        )
        self.sweeper = Sweep(self.rounds)

    # -- objects -------------------------------------------------------------------------

    def put(self, manifest: Manifest) -> str:
        """Apply a manifest; the generation moves with the spec."""
        name = str(manifest["metadata"]["name"])
        old, annotations = self.tenants.get(name), manifest["metadata"].get("annotations", {})
        metadata = {
            "name": name,
            "uid": uid_of(name),
            "creationTimestamp": CREATED,
            "generation": 1,
            "annotations": annotations,
        }
        new = parse({"metadata": metadata, "spec": manifest["spec"]})
        if old is not None:
            generation = old.metadata.generation + (old.spec != new.spec)
            kept = msgspec.structs.replace(old.metadata, generation=generation, annotations=annotations)
            new = Tenant(metadata=kept, spec=new.spec, status=old.status)
        self.tenants[name] = new
        return name

    async def apply(self, *manifests: Manifest) -> None:
        """Apply and reconcile until nothing is left to do."""
        for manifest in manifests:
            await self.settle(self.put(manifest))

    async def settle(self, name: str) -> list[Notice]:
        """Reconciles until one is settled; what was told. The second one sees what the first one wrote."""
        told: list[Notice] = []
        for _ in range(ROUNDS):
            outcome = await self.reconcile(name)
            told += outcome.notices
            if outcome.settled:
                return told
        raise AssertionError(f"{name} never was settled: {self.tenants[name].status.conditions}")

    async def reconcile(self, name: str) -> Outcome:
        """One reconcile, its status written."""
        outcome = await self.life.reconcile(self.tenants[name], self.world(name), Hand(self, name))
        if outcome.status is not None and outcome.status != self.tenants[name].status:
            self.writes += 1
            written = msgspec.convert(msgspec.json.decode(msgspec.json.encode(outcome.status)), type(outcome.status))
            self.tenants[name] = msgspec.structs.replace(self.tenants[name], status=written)
        return outcome

    async def delete(self, name: str) -> None:
        """Soft delete: a tombstone, until it is locked."""
        tenant = self.tenants.pop(name)
        metadata = msgspec.structs.replace(tenant.metadata, deletion_timestamp=now_text())
        who = Identity(tenant_id=self.world(name).id_of(tenant))
        gone = msgspec.structs.replace(tenant, metadata=metadata)
        self.records[name], _ = burial.tombstone(gone, who, None, confirmed=False, held=None)
        for _ in range(ROUNDS):
            await self.bury(name)
            if self.records[name].state is RecordState.LOCKED:
                return
        raise AssertionError(f"{name} never was locked: {self.records[name].blocked}")

    async def bury(self, name: str) -> tuple[Notice, ...]:
        """One look at a tombstone; what was told."""
        rest = await self.retention.reconcile(self.records[name], Wishes(), self.world(name), Spade(self))
        return rest.notices

    # -- the fleet ------------------------------------------------------------------------

    def world(self, name: str = "") -> World:
        """What is known beyond one Tenant; of everybody without a name."""
        return World(
            installation_id=INSTALLATION,
            others=tuple(tenant for slug, tenant in sorted(self.tenants.items()) if slug != name),
            records=tuple(record for _, record in sorted(self.records.items())),
        )

    async def sweep(self) -> Swept:
        """One sweep."""
        return await self.sweeper.look(self.world())

    async def suspects(self) -> dict[str, Plan]:
        """One sweep; what differs, by slug."""
        return {subject.tenant.name: plan for subject, plan in (await self.sweep()).suspects}

    def drifted(self) -> dict[tuple[str, str], float]:
        """The drift counted so far, by system and field."""
        samples = [sample for metric in self.metrics.drift.collect() for sample in metric.samples]
        return {(one.labels["system"], one.labels["field"]): one.value for one in samples}

    # -- what people do -----------------------------------------------------------------------

    def person(self, username: str, *slugs: str, **more: Any) -> Object:
        """A user in Authentik, in the groups of these tenants."""
        store = self.scene.workspace.authentik.store
        user: Object = store.insert("user", {"username": username, "name": username.title(), **more})
        for slug in slugs:
            group = store.find("group", "name", f"dezky-{slug}-users")
            assert group is not None
            store.join(user, group["pk"])
        return user

    def at_ocis(self, username: str, *slugs: str) -> None:
        """The same person after a first sign-in to OCIS, with a personal space."""
        store = self.scene.workspace.ocis.store
        user = store.add_user(username, display=username.title())
        user.groups |= {store.group_ids[f"dezky-{slug}-users"] for slug in slugs}


@dataclass(frozen=True)
class Hand:
    """What a reconcile writes beside the status."""

    fleet: Fleet
    name: str

    async def hold(self) -> None:
        tenant = self.fleet.tenants[self.name]
        metadata = msgspec.structs.replace(tenant.metadata, finalizers=("dezky.eu/operator",))
        self.fleet.tenants[self.name] = msgspec.structs.replace(tenant, metadata=metadata)

    async def release(self) -> None:
        del self.fleet.tenants[self.name]

    async def write_ahead(self, suspension: SuspensionStatus) -> None:
        tenant = self.fleet.tenants[self.name]
        status = msgspec.structs.replace(tenant.status, suspension=suspension)
        self.fleet.tenants[self.name] = msgspec.structs.replace(tenant, status=status)

    async def keep(self, record: Record) -> None:
        self.fleet.records[record.slug] = record

    async def forget(self) -> None:
        self.fleet.records.pop(self.name, None)

    async def mass_deletion(self) -> str | None:
        return None


@dataclass(frozen=True)
class Spade:
    """What a look at a tombstone writes."""

    fleet: Fleet

    async def keep(self, record: Record) -> None:
        self.fleet.records[record.slug] = record

    async def forget(self) -> None:
        raise AssertionError("nothing is purged here")

    async def release_tenant(self) -> None:
        return

    async def clocks(self) -> Clocks:
        now = datetime.now(UTC)
        return Clocks(local=now, server=now, boot=time.monotonic())

    def may_purge_now(self) -> bool:
        return False


def uid_of(name: str) -> str:
    """The uid of a Tenant; another one of the same name would have another in a cluster."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def now_text() -> str:
    """The time as the API server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def fleet(**changes: Mapping[str, Any]) -> AsyncIterator[Fleet]:
    """Prepared by bootstrap, without any tenant."""
    async with scene() as found:
        settings = config.parse(found.workspace.settings(**changes), where="the test")
        yield Fleet(scene=found, settings=settings)
