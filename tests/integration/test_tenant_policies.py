"""The admission policies on the real API server: who changed a spec, and what a confirmation must say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Manifest, annotated, spec, suspended, tenant
from tests.controlplane.cluster import Cluster

POLICIES = Path(__file__).resolve().parents[2] / "manifests" / "policies"
CHANGED_BY = "dezky.eu/changed-by"
REFUSED = "dezky.eu/changed-by is written by the API server; leave it out."
PURGE = "dezky.eu/confirm-purge must be the name of the Tenant whose data is to be destroyed."
DETACH = "dezky.eu/confirm-detach must be names from status.detached, separated by commas, such as old.test,sales."
RESTORE = "dezky.eu/restore must be the tenantId to restore, a UUID in lower case; the Ready condition names it."
OPERATOR = "system:serviceaccount:dezky-system:dezky-operator"
ANNA, BO = "anna@dezky.test", "bo@dezky.test"
TENANT_ID = "0b8f3b0e-6d0a-5d5b-9d4e-2f6f3d1c7a10"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def policies(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the policies in force; they act about two seconds after they were created."""
    early = tenant("early", annotated("confirm-purge", "another"))  # from before the policies
    cluster.kubectl("delete", "tenants", "--all")
    cluster.kubectl("create", "-f", "-", input=json.dumps(early))
    cluster.kubectl("apply", "-f", str(POLICIES))
    _wait_in_force(cluster)
    yield cluster
    cluster.kubectl("delete", "-f", str(POLICIES))
    cluster.kubectl("delete", "tenants", "--all")
    _wait_gone(cluster)


@pytest.fixture
def api(policies: Cluster) -> Iterator[Cluster]:
    """The same, without the Tenants of the test before."""
    yield policies
    policies.kubectl("delete", "tenants", "--field-selector=metadata.name!=early", "--wait=true")


def _wait_in_force(cluster: Cluster) -> None:
    """Until a probe is stamped, a stamp by hand is refused and a wrong confirmation is too."""
    probe, wrong = tenant("probe-one"), tenant("probe-two", annotated("confirm-purge", "else"))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        stamped = CHANGED_BY in cluster.kubectl(*_create("--dry-run=server", "-o", "json"), input=json.dumps(probe))
        refused = PURGE in cluster.kubectl(*_create("--dry-run=server"), input=json.dumps(wrong), check=False)
        forged = cluster.kubectl("annotate", "--dry-run=server", "tenant/early", f"{CHANGED_BY}=x", check=False)
        if stamped and refused and REFUSED in forged:
            return
        time.sleep(0.2)
    raise AssertionError("the policies are not in force")


def _wait_gone(cluster: Cluster) -> None:
    """Until a create is not stamped any more: the tests after this one do not expect it."""
    deadline = time.monotonic() + PATIENCE
    probe = json.dumps(tenant("probe-three"))
    while CHANGED_BY in cluster.kubectl(*_create("--dry-run=server", "-o", "json"), input=probe, check=False):
        assert time.monotonic() < deadline, "the policies still act"
        time.sleep(0.2)


def _create(*options: str) -> tuple[str, ...]:
    return ("create", *options, "-f", "-")


def _as(user: str) -> tuple[str, ...]:
    return (f"--as={user}", "--as-group=system:masters")


def _changed_by(cluster: Cluster, name: str) -> str | None:
    annotations = cluster.json("get", "tenant", name)["metadata"].get("annotations", {})
    return str(annotations[CHANGED_BY]) if CHANGED_BY in annotations else None


def _made_by(cluster: Cluster, user: str, manifest: Manifest) -> None:
    cluster.kubectl(*_create(*_as(user)), input=json.dumps(manifest))


def _patch(cluster: Cluster, user: str, name: str, body: Manifest, *options: str, check: bool = True) -> str:
    return cluster.kubectl(
        "patch", "tenant", name, "--type=merge", *_as(user), "-p", json.dumps(body), *options, check=check
    )


# -- who changed it ---------------------------------------------------------------------------------


def test_whoever_creates_a_tenant_is_named(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme"))
    assert _changed_by(api, "acme") == ANNA


def test_a_name_written_by_hand_is_replaced_by_the_real_one(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme", annotated("changed-by", BO)))
    assert _changed_by(api, "acme") == ANNA
    _patch(api, ANNA, "acme", {"metadata": {"annotations": {CHANGED_BY: BO}}})
    assert _changed_by(api, "acme") == ANNA
    _patch(api, BO, "acme", {"metadata": {"annotations": {CHANGED_BY: ANNA}}, "spec": {"plan": "gold"}})
    assert _changed_by(api, "acme") == BO


def test_whoever_changes_the_spec_is_named_and_whoever_changes_something_else_is_not(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme"))
    _patch(api, BO, "acme", {"metadata": {"labels": {"team": "north"}, "annotations": {"dezky.eu/paused": "true"}}})
    assert _changed_by(api, "acme") == ANNA
    _patch(api, BO, "acme", {"spec": {"suspended": True}})
    assert _changed_by(api, "acme") == BO


def test_a_change_to_the_same_value_is_no_change(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme", spec(plan="gold")))
    _patch(api, BO, "acme", {"spec": {"plan": "gold", "suspended": False}})
    assert _changed_by(api, "acme") == ANNA


def test_the_operators_own_writes_pass_and_name_nobody_new(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme"))
    _patch(api, OPERATOR, "acme", {"metadata": {"finalizers": ["dezky.eu/operator"]}})
    _patch(api, OPERATOR, "acme", {"status": {"phase": "Active"}}, "--subresource=status")
    found = api.json("get", "tenant", "acme")
    assert (found["metadata"]["finalizers"], found["status"]["phase"]) == (["dezky.eu/operator"], "Active")
    assert _changed_by(api, "acme") == ANNA
    api.kubectl("delete", "tenant", "acme", "--wait=false")
    _patch(api, OPERATOR, "acme", {"metadata": {"finalizers": None}})
    assert api.kubectl("get", "tenant", "acme", "--ignore-not-found") == ""


def test_a_replace_that_leaves_the_annotation_out_keeps_it(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme"))
    api.kubectl("replace", *_as(BO), "-f", "-", input=json.dumps(tenant("acme")))
    assert _changed_by(api, "acme") == ANNA
    api.kubectl("replace", *_as(BO), "-f", "-", input=json.dumps(tenant("acme", suspended())))
    assert _changed_by(api, "acme") == BO


def test_the_annotation_can_not_be_taken_away(api: Cluster) -> None:
    _made_by(api, ANNA, tenant("acme"))
    api.kubectl("annotate", "tenant", "acme", f"{CHANGED_BY}-", *_as(BO))
    assert _changed_by(api, "acme") == ANNA


@pytest.mark.parametrize("how", [(), ("--server-side",)])
def test_applying_again_and_by_another_person_makes_no_conflict(api: Cluster, how: tuple[str, ...]) -> None:
    manifest, changed = json.dumps(tenant("acme")), json.dumps(tenant("acme", suspended()))
    for user, document, named in ((ANNA, manifest, ANNA), (BO, manifest, ANNA), (BO, changed, BO)):
        api.kubectl("apply", *how, *_as(user), "-f", "-", input=document)
        assert _changed_by(api, "acme") == named
    assert api.json("get", "tenant", "acme")["metadata"]["generation"] == 2


def test_a_tenant_from_before_the_policies_is_stamped_at_its_next_change_only(api: Cluster) -> None:
    _patch(api, OPERATOR, "early", {"metadata": {"labels": {"seen": "yes"}}})
    assert _changed_by(api, "early") is None
    assert REFUSED in api.kubectl("annotate", "tenant/early", f"{CHANGED_BY}={BO}", check=False)
    _patch(api, ANNA, "early", {"spec": {"plan": "gold"}}, "--dry-run=server")
    assert _changed_by(api, "early") is None


# -- what a confirmation must say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("confirm-purge", "true", PURGE),
        ("confirm-purge", "", PURGE),
        ("confirm-purge", "acme2", PURGE),
        ("confirm-detach", "", DETACH),
        ("confirm-detach", "Old.test", DETACH),
        ("confirm-detach", "old.test;sales", DETACH),
        ("confirm-detach", "*", DETACH),
        ("restore", "true", RESTORE),
        ("restore", TENANT_ID.upper(), RESTORE),
        ("restore", f"{TENANT_ID} ", RESTORE),
    ],
)
def test_a_confirmation_that_does_not_say_exactly_what_is_refused(
    api: Cluster, key: str, value: str, sentence: str
) -> None:
    created = api.kubectl(*_create(), input=json.dumps(tenant("acme", annotated(key, value))), check=False)
    assert sentence in created
    api.kubectl(*_create(), input=json.dumps(tenant("acme")))
    assert sentence in api.kubectl("annotate", "tenant", "acme", f"dezky.eu/{key}={value}", check=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("confirm-purge", "acme"),
        ("confirm-detach", "old.test, sales"),
        ("confirm-detach", "sales"),
        ("restore", TENANT_ID),
    ],
)
def test_a_confirmation_that_says_exactly_what_is_accepted(api: Cluster, key: str, value: str) -> None:
    api.kubectl(*_create(), input=json.dumps(tenant("acme")))
    api.kubectl("annotate", "tenant", "acme", f"dezky.eu/{key}={value}")
    api.kubectl("annotate", "tenant", "acme", f"dezky.eu/{key}-")


def test_a_wrong_confirmation_from_before_the_policy_does_not_keep_the_finalizer_on(api: Cluster) -> None:
    _patch(api, OPERATOR, "early", {"metadata": {"finalizers": ["dezky.eu/operator"]}})
    _patch(api, OPERATOR, "early", {"metadata": {"finalizers": None}})
    assert PURGE in api.kubectl("annotate", "--overwrite", "tenant/early", "dezky.eu/confirm-purge=more", check=False)
