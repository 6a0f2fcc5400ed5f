"""The pure rules of a tenant's life: whose a domain is, who a tenant is, what its Secret says, what goes first."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator import config
from dezky_operator.config import SettingsError
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.integrations.ocis.desired import cleaned
from dezky_operator.integrations.steps import Ref, System
from dezky_operator.kube.patch import merge_patch
from dezky_operator.kube.queue import Urgency, WorkQueue
from dezky_operator.kube.transport import resource_of
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.claims import Claim, ownership
from dezky_operator.tenant.credentials import Access, KeptSecret, link_due, plan
from dezky_operator.tenant.identity import Candidate, Identity, Refused, identify
from dezky_operator.tenant.record import AsBuilt, Record, RecordState, decode, encode

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
SAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "samples"


def claim(slug: str, *, created: str = "2026-01-01T00:00:00Z", domains: tuple[str, ...] = ("acme.test",)) -> Claim:
    return Claim(
        slug=slug, uid=f"uid-{slug}", created=created, tenant_id=uuid.uuid5(uuid.NAMESPACE_DNS, slug), domains=domains
    )


def record(slug: str, tenant_id: str, **more: Any) -> Record:
    return Record(
        tenant_id=tenant_id,
        slug=slug,
        state=more.pop("state", RecordState.RETAINED),
        spec={"domains": ["acme.test"], "partnerRef": {"name": "nord"}},
        created_at="2026-01-01T00:00:00Z",
        as_built=AsBuilt(domains=("acme.test",)),
        **more,
    )


# -- domains -------------------------------------------------------------------------


def owner(
    me: Claim, *others: Claim, records: tuple[Record, ...] = (), marks: dict[str, str | None] | None = None
) -> str:
    found = ownership(me, installation_id=INSTALLATION, others=others, records=records, marks=marks or {})
    return found.conflicts[0].owner if found.conflicts else me.slug


def test_the_older_of_two_tenants_that_ask_for_a_domain_gets_it() -> None:
    older, newer = claim("older"), claim("newer", created="2026-01-02T00:00:00Z")
    assert owner(older, newer) == "older"
    assert owner(newer, older) == "tenant older"


def test_two_tenants_of_the_same_second_are_told_apart_by_uid() -> None:
    a, b = claim("a"), claim("b")
    assert (owner(a, b), owner(b, a)) == ("a", "tenant a")


def test_the_mark_on_the_domain_beats_every_claim() -> None:
    older, newer = claim("older"), claim("newer", created="2026-01-02T00:00:00Z")
    marks: dict[str, str | None] = {"acme.test": f"dezky:{INSTALLATION}:{newer.tenant_id}:domain"}
    assert owner(newer, older, marks=marks) == "newer"
    assert owner(older, newer, marks=marks) == "tenant newer"


def test_a_retained_tenant_keeps_its_domains() -> None:
    retained = record("gone", str(uuid.uuid4()))
    assert owner(claim("acme"), records=(retained,)) == "the retained tenant gone"
    restored = record("gone", str(uuid.uuid4()), state=RecordState.RESTORED)
    assert owner(claim("acme"), records=(restored,)) == "acme"


def test_a_domain_of_another_installation_is_never_taken() -> None:
    marks: dict[str, str | None] = {"acme.test": f"dezky:other:{uuid.uuid4()}:domain"}
    assert owner(claim("acme"), marks=marks) == "a tenant of another installation"


def left_behind(slug: str = "gone") -> dict[str, str | None]:
    return {"acme.test": f"dezky:{INSTALLATION}:{uuid.uuid5(uuid.NAMESPACE_DNS, slug)}:domain"}


def test_force_takes_what_a_vanished_tenant_left_and_nothing_of_one_that_is_held() -> None:
    me, gone = claim("acme"), uuid.uuid5(uuid.NAMESPACE_DNS, "gone")
    fields: dict[str, Any] = {"installation_id": INSTALLATION, "others": (), "marks": left_behind()}
    assert ownership(me, records=(), force=True, **fields).owned == ("acme.test",)
    held = frozenset({f"dezky:{INSTALLATION}:{gone}"})
    for kept_back in (
        ownership(me, records=(), **fields),
        ownership(me, records=(), force=True, held=held, **fields),
        ownership(me, records=(record("gone", str(gone)),), force=True, **fields),
        ownership(me, records=(), force=True, **{**fields, "others": (claim("gone", domains=()),)}),
        ownership(me, records=(), force=True, **{**fields, "installation_id": "another"}),
    ):
        assert kept_back.owned == ()


def test_what_frees_a_domain_names_the_place() -> None:
    me = claim("acme", created="2026-01-02T00:00:00Z")

    def remedy(*others: Claim, records: tuple[Record, ...] = (), marks: dict[str, str | None] | None = None) -> str:
        found = ownership(me, installation_id=INSTALLATION, others=others, records=records, marks=marks or {})
        return found.conflicts[0].remedy

    assert remedy(claim("older")) == "remove it from spec.domains of tenant older"
    detached = remedy(claim("gone", domains=()), marks=left_behind())
    assert detached.startswith("annotate tenant gone with dezky.eu/confirm-detach=acme.test")
    assert remedy(claim("gone"), marks=left_behind()).startswith("remove it from spec.domains of tenant gone, then ")
    assert "dezky-tombstone-gone" in remedy(records=(record("gone", str(uuid.uuid4())),))
    assert "spec.adoption: Force" in remedy(marks=left_behind())


def test_the_mail_servers_own_domain_is_the_platforms() -> None:
    assert "mail server's own domain" in owner(claim("acme"), marks={"acme.test": "dezky:server:platform"})


@given(st.lists(st.tuples(st.sampled_from(["1", "2"]), st.integers(0, 9)), min_size=1, max_size=6, unique=True))
def test_exactly_one_of_all_claimants_owns_a_domain(ranks: list[tuple[str, int]]) -> None:
    claims = [claim(f"t{day}x{number}", created=f"2026-01-0{day}T00:00:00Z") for day, number in ranks]
    owners = [me for me in claims if owner(me, *(other for other in claims if other is not me)) == me.slug]
    assert len(owners) == 1


# -- identity ---------------------------------------------------------------------------


def who(found: Record | None = None, held: dict[str, str] | None = None, **changes: Any) -> Identity | Refused:
    fields: dict[str, Any] = {
        "slug": "acme",
        "uid": "u1",
        "primary_domain": "acme.test",
        "partner": "nord",
        "restore": None,
    }
    candidate = Candidate(**{**fields, **changes})
    return identify(candidate, installation_id=INSTALLATION, record=found, held_by=held or {})


def test_an_identity_comes_from_installation_and_uid() -> None:
    assert who() == Identity(tenant_id=tenant_id_of(INSTALLATION, "u1"))


def test_the_same_customer_is_restored_without_being_asked() -> None:
    """C030: the partner is part of what tells a customer apart."""
    earlier = str(uuid.uuid4())
    assert who(record("acme", earlier)) == Identity(tenant_id=uuid.UUID(earlier), restores=True)


@pytest.mark.parametrize("change", [{"primary_domain": "other.test"}, {"partner": None}])
def test_another_domain_or_partner_needs_a_restore(change: dict[str, Any]) -> None:
    earlier = str(uuid.uuid4())
    refused = who(record("acme", earlier), **change)
    assert isinstance(refused, Refused)
    assert f"dezky.eu/restore={earlier}" in refused.message
    assert who(record("acme", earlier), restore=earlier, **change) == Identity(
        tenant_id=uuid.UUID(earlier), restores=True
    )


def test_a_restored_tenant_stays_who_it_became_when_the_annotation_goes() -> None:
    earlier = str(uuid.uuid4())
    restored = record("acme", earlier, state=RecordState.RESTORED, restored_uid="u1")
    assert who(restored, primary_domain="new.test") == Identity(tenant_id=uuid.UUID(earlier))


def test_a_living_tenants_identity_is_never_given_away() -> None:
    theirs = str(uuid.uuid4())
    assert isinstance(who(None, {theirs: "beta"}, restore=theirs), Refused)
    assert isinstance(who(None, restore="nonsense"), Refused)


def test_a_record_survives_its_text() -> None:
    kept = record("acme", str(uuid.uuid4()), restored_uid="u1")
    assert decode(encode(kept)) == kept


# -- the Secret ----------------------------------------------------------------------------


NOW = datetime(2026, 11, 24, tzinfo=UTC)


def access(**changes: Any) -> Access:
    fields: dict[str, Any] = {
        "slug": "acme", "tenant_id": "id", "issuer": "https://auth/", "client_id": "dezky-acme", "client_secret": "s",
        "administered": True, "signed_in": False,
    }  # fmt: skip
    return Access(**{**fields, **changes})


def kept(**data: str) -> KeptSecret:
    base = {"client-id": "dezky-acme", "client-secret": "s", "issuer": "https://auth/"}
    return KeptSecret(
        name="dezky-tenant-acme", tenant_id="id", data={**base, **{k.replace("_", "-"): v for k, v in data.items()}}
    )


def test_a_link_is_made_once() -> None:
    assert link_due(access(), None)
    assert not link_due(access(), kept(recovery_link_round="first"))
    assert not link_due(access(administered=False), None)


def test_an_unchanged_secret_is_not_written() -> None:
    secret = kept(recovery_link_round="first", recovery_link="x", recovery_link_expires_at="2026-11-27T00:00:00Z")
    assert plan(access(), secret, now=NOW).in_sync


def test_a_new_provider_is_waited_for() -> None:
    ref = Ref(System.AUTHENTIK, "provider", "main", "client_secret")
    (step,) = plan(access(client_secret=ref), None, now=NOW).steps
    assert {"authentik/provider/main", "authentik/recovery-link/admin"} <= step.waits_for
    assert "s" not in step.fields


def test_an_expired_link_goes() -> None:
    old = {"recovery_link": "x", "recovery_link_expires_at": "2026-11-23T00:00:00Z"}
    secret = kept(recovery_link_round="asked:again", **old)
    (step,) = plan(access(signed_in=True, renew="again"), secret, now=NOW).steps
    assert step.body["data"] == {"recovery-link": None, "recovery-link-expires-at": None}
    assert step.asked


@pytest.mark.parametrize("value", ["first", "", "again"])
def test_every_value_that_asks_for_a_link_gets_one_and_gets_it_once(value: str) -> None:
    asking = access(signed_in=True, renew=value)
    first = kept(recovery_link_round="first")
    (step,) = plan(asking, first, now=NOW).steps
    assert step.asked
    assert isinstance(step.body["data"], dict)
    made = kept(recovery_link_round=str(step.body["data"]["recovery-link-round"]))
    assert not link_due(asking, made)


def test_a_changed_credential_is_drift_and_a_first_link_is_not_asked_for() -> None:
    for found in (plan(access(), None, now=NOW), plan(access(client_secret="new"), kept(), now=NOW)):
        assert [step.asked for step in found.steps] == [False]


# -- small parts -----------------------------------------------------------------------------


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _applied(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _applied(result.get(key), value)
    return result


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_a_merge_patch_turns_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    old, new = _without_nulls(old), _without_nulls(new)
    assert _applied(old, merge_patch(old, new)) == new
    assert merge_patch(new, new) == {}


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/apis/dezky.eu/v1alpha1/tenants/acme/status", "tenants/status"),
        ("/apis/dezky.eu/v1alpha1/tenants/acme", "tenants"),
        ("/api/v1/namespaces/x/secrets", "secrets"),
        ("/apis/coordination.k8s.io/v1/namespaces/x/leases/dezky-operator", "leases"),
    ],
)
def test_a_write_is_counted_under_its_resource(path: str, what: str) -> None:
    assert resource_of(path) == what


async def test_locks_go_first_and_a_key_is_never_worked_on_twice_at_once() -> None:
    now = 0.0
    queue = WorkQueue(metrics=Metrics(), clock=lambda: now, jitter=lambda: 1.0)
    queue.add("routine", Urgency.ROUTINE)
    queue.add("change")
    queue.add("lock", Urgency.LOCK)
    queue.add("lock", Urgency.LOCK)
    assert await queue.take() == "lock"
    queue.add("lock")
    assert await queue.take() == "change"
    queue.done("lock")
    assert await queue.take() == "lock"
    assert await queue.take() == "routine"


async def test_a_failing_key_waits_longer_each_time_and_a_success_forgets_it() -> None:
    queue = WorkQueue(metrics=Metrics(), clock=lambda: 0.0, jitter=lambda: 1.0, longest_backoff=300.0)
    assert [queue.retry("a") for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    queue.forget("a")
    assert queue.retry("a") == 1
    assert queue.retry("b", at_least=40.0) == 40.0


async def test_a_closed_queue_hands_out_nothing() -> None:
    queue = WorkQueue(metrics=Metrics(), clock=lambda: 0.0)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.close()
    assert await waiting is None


GOOD: dict[str, Any] = {
    "installationId": INSTALLATION,
    "namespace": "dezky-system",
    "baseDomain": "dezky.test",
    "authentik": {"url": "http://a", "tokenSecretRef": {"name": "a"}},
    "stalwart": {"url": "http://s", "tokenSecretRef": {"name": "s"}},
    "ocis": {"url": "http://o", "auth": "Basic", "secretRef": {"name": "o"}},
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lease": {"duration": 3}}, ("lease.duration", "3", "durationSeconds")),
        ({"log": {"format": "xml"}}, ("log.format", "xml", "json, console")),
        ({"metrics": {"port": "x"}}, ("metrics.port", "'x'", "int")),
        ({"authentik": {"url": "http://a"}}, ("authentik.tokenSecretRef", "missing")),
        ({"lease": {"durationSeconds": 9}}, ("lease.durationSeconds", "9", "more than")),
        ({"ocis": {"url": "http://o", "secretRef": {"name": "o"}}}, ("ocis.issuer", "missing")),
    ],
)
def test_a_wrong_setting_names_file_key_value_and_what_is_allowed(
    change: dict[str, Any], told: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as refused:
        config.parse({**GOOD, **change}, where="x.yaml")
    for part in ("x.yaml", *told):
        assert part in str(refused.value)


def test_nothing_calls_out_of_the_house() -> None:
    """C001: every address comes from the settings; none has a default."""
    settings = config.parse(GOOD, where="x.yaml")
    assert {settings.authentik.url, settings.stalwart.url, settings.ocis.url} == {"http://a", "http://s", "http://o"}


@given(st.text(min_size=1, max_size=300))
def test_every_display_name_gives_a_name_a_space_can_have(name: str) -> None:
    """C032: the space is named after the customer, and found by its alias, which holds the slug."""
    found = cleaned(name)
    assert 1 <= len(found.encode()) <= 255
    assert found == found.strip()
    assert not set('/\\.:?*"><|') & set(found)


def test_the_samples_are_tenants_with_and_without_a_partner() -> None:
    """C034: two tenants to begin with."""
    names = [yaml.safe_load(path.read_text())["metadata"]["name"] for path in sorted(SAMPLES.glob("*.yaml"))]
    assert names == ["acme", "nord"]
