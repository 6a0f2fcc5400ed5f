"""Who is looked at by the sweep, who is suspected, and how drift is told. Pure."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator import config
from dezky_operator.crd.tenant import PlannedStep, Tenant, parse
from dezky_operator.integrations.intent import Phase, tenant_id_of
from dezky_operator.integrations.steps import Obstacle, Plan, Step, System, Verb
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.converge import Report
from dezky_operator.tenant.drift import Drift, drift_of, fields_of, unreported
from dezky_operator.tenant.neighbourhood import Neighbourhood
from dezky_operator.tenant.picture import planned_of
from dezky_operator.tenant.record import AsBuilt, Record, RecordState
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.settled import first_look, full_look, is_reached, is_settled, may_rest
from dezky_operator.tenant.sweep import Subject, is_suspect, published, subjects_of
from dezky_operator.tenant.world import World

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
FINALIZER = "dezky.eu/operator"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = config.parse(
    {
        "installationId": INSTALLATION,
        "namespace": "dezky-system",
        "baseDomain": "dezky.test",
        "authentik": {"url": "http://a.test", "tokenSecretRef": {"name": "a"}},
        "stalwart": {"url": "http://s.test", "tokenSecretRef": {"name": "s"}},
        "ocis": {"url": "http://o.test", "auth": "Basic", "secretRef": {"name": "o"}},
    },
    where="the test",
)
MODE = Step(
    system=System.AUTHENTIK,
    kind="application",
    key="main",
    verb=Verb.UPDATE,
    name="dezky-acme",
    reason="Changed.",
    fields=("policy_engine_mode",),
)
BRAND = Step(
    system=System.AUTHENTIK, kind="brand", key="main", verb=Verb.CREATE, name="acme.dezky.test", reason="The page."
)
MAILBOX = Step(
    system=System.STALWART, kind="account", key="b@acme.test", verb=Verb.CREATE, name="b", reason="New.", asked=True
)


def settled(name: str = "acme", **changes: Any) -> Tenant:
    """A Tenant that is as declared; ``changes`` are laid over it, by part."""
    raw: dict[str, Any] = {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": 3,
            "finalizers": [FINALIZER],
            "creationTimestamp": "2026-11-24T00:00:00Z",
        },
        "spec": {"displayName": name.title(), "domains": [f"{name}.test"]},
        "status": {
            "observedGeneration": 3,
            "appliedGeneration": 3,
            "tenantId": str(tenant_id_of(INSTALLATION, f"uid-{name}")),
            "phase": "Active",
            "conditions": [condition("Ready"), condition("Synced"), condition("DnsReady")],
        },
    }
    for part, fields in changes.items():
        raw[part] |= fields
    return parse(raw)


def condition(kind: str, status: str = "True", reason: str = "AsDeclared") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "t"}


DRIFTED = [condition("Ready", "False", "Drift"), condition("Synced", "False", "Drift")]


def annotated(**annotations: str) -> Tenant:
    return settled(metadata={"annotations": {f"dezky.eu/{key}": value for key, value in annotations.items()}})


def locked(name: str = "acme", **suspension: Any) -> Tenant:
    status = {"phase": "Suspended", "suspension": {"since": "2026-11-24T00:00:00Z", **suspension}}
    return settled(name, spec={"suspended": True}, status=status)


# -- who is looked at -------------------------------------------------------------------------


def test_a_tenant_that_is_as_declared_is_looked_at_by_the_sweep() -> None:
    assert is_reached(settled())
    assert is_settled(settled())
    assert may_rest(settled(), FINALIZER)
    assert is_settled(locked())


@pytest.mark.parametrize(
    "tenant",
    [
        settled(metadata={"generation": 4}),
        settled(metadata={"deletionTimestamp": "2026-11-24T00:00:00Z"}),
        settled(status={"conditions": [condition("Ready", "False"), condition("Synced")]}),
        settled(status={"conditions": [condition("Ready"), condition("Synced", "Unknown", "Paused")]}),
        settled(status={"conditions": [condition("Ready"), condition("Synced", "False", "PlanOnly")]}),
        settled(status={"conditions": []}),
        settled(status={"observedGeneration": 2}),
        settled(status={"phase": "Provisioning"}),
        annotated(paused="true"),
        annotated(**{"plan-only": "purge"}),
        annotated(**{"reconcile-requested-at": "now"}),
        settled(spec={"suspended": True}),
        settled(status={"suspension": {"since": "2026-11-24T00:00:00Z"}}),
    ],
)
def test_whoever_waits_for_something_is_left_to_his_own_key(tenant: Tenant) -> None:
    assert not is_settled(tenant)
    assert not may_rest(tenant, FINALIZER)


def test_drift_that_is_only_reported_waits_for_nothing() -> None:
    assert is_settled(settled(status={"conditions": DRIFTED}))


@pytest.mark.parametrize(
    "tenant",
    [
        settled(metadata={"finalizers": []}),
        annotated(**{"renew-recovery-link": "2"}),
        settled(
            metadata={"annotations": {"dezky.eu/confirm-detach": "other.test, old.test"}},
            status={"detached": [{"kind": "Domain", "name": "old.test"}]},
        ),
    ],
)
def test_what_was_asked_for_while_no_operator_ran_is_looked_at_at_once(tenant: Tenant) -> None:
    assert is_settled(tenant)
    assert not may_rest(tenant, FINALIZER)


def test_a_confirmation_that_was_carried_out_is_no_reason_to_look_again() -> None:
    assert may_rest(annotated(**{"confirm-detach": "old.test"}), FINALIZER)


def names(
    *tenants: Tenant, records: tuple[Record, ...] = (), unreadable: frozenset[str] = frozenset()
) -> list[Subject]:
    world = World(installation_id=INSTALLATION, others=tenants, records=records, unreadable=unreadable)
    return list(subjects_of(Neighbourhood.of(world)))


def record(slug: str, state: RecordState, **more: Any) -> Record:
    spec = {"displayName": slug.title(), "domains": [f"{slug}.test"]}
    wanted = str(uuid.uuid5(uuid.UUID(INSTALLATION), slug))
    return Record(tenant_id=wanted, slug=slug, state=state, spec=spec, created_at="2026-11-24T00:00:00Z", **more)


def test_a_sweep_looks_at_settled_tenants_and_at_locked_tombstones_by_slug() -> None:
    records = tuple(record(state.value.lower(), state) for state in RecordState)
    found = names(settled("beta"), locked("alfa"), settled("busy", metadata={"generation": 4}), records=records)
    assert [(one.tenant.name, one.phase) for one in found] == [
        ("alfa", Phase.SUSPENDED),
        ("beta", Phase.ACTIVE),
        ("locked", Phase.DELETED),
        ("purgedue", Phase.DELETED),
    ]


def test_a_tenant_whose_status_or_record_tells_another_identity_is_left_alone() -> None:
    assert not names(settled(status={"tenantId": str(uuid.uuid4())}))
    assert not names(settled(), unreadable=frozenset({"acme"}))
    assert names(settled())


def test_a_restored_tenant_that_is_still_being_opened_is_left_to_its_own_key() -> None:
    begins = locked().status.suspension
    kept = record("acme", RecordState.RESTORED, restored_uid="uid-acme", suspension=begins)
    status = {"tenantId": kept.tenant_id}
    assert not names(settled(status=status), records=(kept,))
    assert names(settled(status=status), records=(msgspec.structs.replace(kept, suspension=None),))


def test_everybody_knows_the_others_and_not_himself() -> None:
    tenants = (settled("acme"), locked("beta"), settled("gone", metadata={"deletionTimestamp": "t"}))
    kept = record("kept", RecordState.LOCKED, as_built=AsBuilt(domains=("kept.test",)))
    world = World(installation_id=INSTALLATION, others=tenants, records=(kept,))
    around = Neighbourhood.of(world)
    ids = {tenant.name: f"dezky:{INSTALLATION}:{around.ids[tenant.name]}" for tenant in tenants}
    ids["kept"] = f"dezky:{INSTALLATION}:{kept.tenant_id}"
    marks = around.marks(around.ids["acme"])
    assert marks.held == {ids["beta"], ids["gone"], ids["kept"]}
    assert marks.present == {ids["beta"]}
    assert marks.active == frozenset()
    assert around.marks(around.ids["beta"]).active == {ids["acme"]}


def test_only_who_asks_for_the_same_domain_is_a_rival() -> None:
    rival = settled("beta", spec={"domains": ["acme.test", "beta.test"]})
    around = Neighbourhood.of(
        World(installation_id=INSTALLATION, others=(settled("acme"), rival, settled("cats")), records=())
    )
    found = around.neighbours(settled("acme"), around.ids["acme"])
    assert (found.me.slug, [claim.slug for claim in found.others]) == ("acme", ["beta"])


# -- when ----------------------------------------------------------------------------------------


@given(st.floats(allow_nan=True, allow_infinity=True) | st.text(max_size=5))
def test_any_value_of_the_annotation_gives_a_pace_the_systems_can_bear(value: object) -> None:
    found = full_look(annotated(**{"resync-seconds": str(value)}), SETTINGS)
    assert found >= 10.0
    assert found < float("inf")


@pytest.mark.parametrize(
    ("value", "seconds"), [("60", 60.0), ("1", 10.0), ("-5", 10.0), ("soon", 21600.0), ("", 21600.0)]
)
def test_a_tenant_may_be_looked_at_more_often(value: str, seconds: float) -> None:
    assert full_look(annotated(**{"resync-seconds": value}), SETTINGS) == seconds


def test_after_a_start_looks_are_spread_over_the_whole_time_between_two() -> None:
    assert first_look(settled(), SETTINGS, NOW, 0.5) == 10800.0
    assert first_look(settled(), SETTINGS, NOW, 0.0) == 0.0


def test_after_a_start_missing_records_and_held_mail_keep_their_own_time() -> None:
    waiting = settled(status={"conditions": [condition("Ready"), condition("Synced"), condition("DnsReady", "False")]})
    assert first_look(waiting, SETTINGS, NOW, 0.5) == 300.0
    until = (NOW + timedelta(seconds=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert first_look(locked(holdUntil=until, mailPolicy="Hold"), SETTINGS, NOW, 0.5) == 40.0


def test_a_key_is_published_when_the_status_says_so() -> None:
    dns = [
        {"name": "dezky1-rsa._domainkey.acme.test", "type": "TXT", "value": "v", "state": "Published"},
        {"name": "dezky1-ed25519._domainkey.acme.test", "type": "TXT", "value": "v", "state": "Missing"},
    ]
    assert published(settled(status={"dns": dns}), ("acme.test",)) == {("acme.test", "dezky1-rsa")}


# -- who is suspected ------------------------------------------------------------------------------


def suspect(tenant: Tenant, *steps: Step, obstacles: tuple[Obstacle, ...] = ()) -> bool:
    subject = Subject(tenant=tenant, tenant_id=uuid.uuid4(), phase=Phase.ACTIVE)
    return is_suspect(subject, Plan(steps, obstacles), frozenset())


def test_whoever_differs_is_a_suspect_and_nobody_else() -> None:
    assert not suspect(settled())
    assert suspect(settled(), MODE)
    assert suspect(settled(), MAILBOX)


def test_an_obstacle_is_told_once() -> None:
    beside = Obstacle(system=System.OCIS, reason="Drift", message="Two of them.", blocking=False)
    told = settled(status={"provisioningErrors": {"ocis": "Something. Two of them."}})
    assert suspect(settled(), obstacles=(beside,))
    assert not suspect(told, obstacles=(beside,))
    assert suspect(told, obstacles=(replace(beside, blocking=True),))


def reporting(*shown: Step) -> Tenant:
    plan = [msgspec.to_builtins(planned_of(step)) for step in shown]
    conditions = {"conditions": DRIFTED} if shown else {}
    return settled(spec={"driftPolicy": "ReportOnly"}, status={"plan": plan, **conditions})


def test_drift_that_is_reported_already_makes_nobody_a_suspect() -> None:
    assert suspect(reporting(), MODE)
    assert not suspect(reporting(MODE), MODE)
    assert suspect(reporting(MODE), MODE, BRAND)
    assert suspect(reporting(MODE)), "what somebody put right is still shown"
    assert suspect(reporting(MODE), MODE, MAILBOX), "what a person asked for is done all the same"


def test_what_a_sweep_can_not_see_is_not_missed_by_it() -> None:
    secret = PlannedStep(key="kubernetes/secret/tenant", verb="update", fields=("client-id",))
    link = PlannedStep(key="authentik/recovery-link/admin", verb="create")
    shown = (planned_of(MODE), secret, link)
    tenant = msgspec.structs.replace(settled(), status=msgspec.structs.replace(settled().status, plan=shown))
    assert not unreported(tenant, (MODE,), frozenset())
    assert unreported(tenant, (), frozenset())
    assert not unreported(tenant, (), frozenset({System.AUTHENTIK})), "a silent system tells nothing"


# -- how drift is told --------------------------------------------------------------------------------


def reports(*done: Step, left: tuple[Step, ...] = ()) -> Reports:
    mail = [step for step in done if step.system is System.STALWART]
    return Reports(
        sign_in=Report(
            system=System.AUTHENTIK,
            done=tuple(step for step in done if step.system is not System.STALWART),
            plan=Plan(left),
        ),
        mail=Report(system=System.STALWART, done=tuple(mail)),
        files=Report(system=System.OCIS),
    )


def counted(drift: Drift) -> dict[str, float]:
    metrics = Metrics()
    drift.count(metrics)
    samples = [sample for metric in metrics.drift.collect() for sample in metric.samples]
    return {f"{one.labels['system']} {one.labels['field']}": one.value for one in samples}


def test_what_was_put_back_is_counted_told_and_kept() -> None:
    drift = drift_of(settled(), reports(MODE, BRAND), withheld=False)
    assert counted(drift) == {"authentik policy_engine_mode": 1.0, "authentik missing": 1.0}
    (told,) = drift.notices()
    assert told.reason == "DriftRepaired"
    assert told.message == (
        "Changed by another hand, and put back: application.policy_engine_mode in Authentik, "
        "brand acme.dezky.test (missing) in Authentik."
    )
    kept = drift.status("2026-11-24T12:00:00Z")
    assert kept is not None
    assert kept.at == "2026-11-24T12:00:00Z"
    assert kept.steps == (planned_of(MODE), planned_of(BRAND))


def test_what_somebody_asked_for_is_no_drift() -> None:
    drift = drift_of(settled(), reports(MAILBOX), withheld=False)
    assert (counted(drift), drift.notices(), drift.status("now")) == ({}, (), None)


@pytest.mark.parametrize("tenant", [settled(metadata={"generation": 4}), settled(status={"phase": "Provisioning"})])
def test_what_a_changed_spec_needs_is_no_drift(tenant: Tenant) -> None:
    assert drift_of(tenant, reports(MODE), withheld=False) == Drift()


def test_drift_that_is_only_reported_is_counted_once() -> None:
    first = drift_of(reporting(), reports(left=(MODE,)), withheld=True)
    assert counted(first) == {"authentik policy_engine_mode": 1.0}
    assert (first.notices(), first.status("now")) == ((), None)
    assert drift_of(reporting(MODE), reports(left=(MODE,)), withheld=True).steps == ()


def test_a_long_list_is_cut_and_its_rest_counted() -> None:
    many = Drift(steps=tuple(opened(number) for number in range(15)))
    (told,) = many.notices()
    assert told.message.endswith(", and 3 more.")


def opened(number: int) -> Step:
    return Step(
        system=System.OCIS, kind="drive", key=f"k{number}", verb=Verb.ENABLE, name=f"Space {number}", reason="r"
    )


@given(st.sampled_from(list(Verb)), st.lists(st.sampled_from(["a", "b"]), unique=True))
def test_every_step_has_a_field_to_be_counted_by(verb: Verb, fields: list[str]) -> None:
    step = Step(system=System.OCIS, kind="k", key="k", verb=verb, name="n", reason="r", fields=tuple(fields))
    assert fields_of(step)
    if fields:
        assert fields_of(step) == tuple(fields)
