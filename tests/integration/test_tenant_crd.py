"""The Tenant resource on the real API server: what it refuses with which sentence, and what it makes of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client  # type: ignore[import-untyped]
from kubernetes import config as kubeconfig

from dezky_operator.crd.tenant import parse
from tests.builders import Manifest, admin, domains, partner, spec, suspended, tenant
from tests.controlplane.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "manifests" / "samples"
CRD = yaml.safe_load((ROOT / "crds" / "tenant.yaml").read_text())
RESERVED = [
    *["platform", "tenants", "ocis", "mail", "portal", "operator", "signing", "probe", "app", "api", "auth", "files"],
    *["office", "traefik", "minio", "www", "autoconfig", "autodiscover", "mta-sts"],
]


class Refused(Exception):  # noqa: N818 - it is what happened
    """The API server's refusal: field and sentence of each cause."""

    def __init__(self, causes: dict[str, str]) -> None:
        super().__init__(str(causes))
        self.causes = causes


@dataclass(frozen=True)
class Tenants:
    """The Tenants of the cluster, through the independent client. Every field is checked strictly unless said."""

    api: client.CustomObjectsApi

    def create(self, manifest: Manifest, *, dry_run: bool = False, validation: str = "Strict") -> Manifest:
        """Create one. Raises Refused."""
        options = {"dry_run": "All"} if dry_run else {}
        return self._call("create_cluster_custom_object", body=manifest, field_validation=validation, **options)

    def get(self, name: str) -> Manifest:
        """One as it is stored."""
        return self._call("get_cluster_custom_object", name=name)

    def patch(self, name: str, body: Manifest, *, dry_run: bool = False) -> Manifest:
        """Merge a patch into one. Raises Refused."""
        options = {"dry_run": "All"} if dry_run else {}
        return self._call("patch_cluster_custom_object", name=name, body=body, field_validation="Strict", **options)

    def patch_status(self, name: str, body: Manifest) -> Manifest:
        """Merge a patch into the status of one. Raises Refused."""
        return self._call("patch_cluster_custom_object_status", name=name, body=body)

    def selected(self, field: str, value: str) -> list[str]:
        """The names of those whose field has this value."""
        found = self._call("list_cluster_custom_object", field_selector=f"{field}={value}")
        return sorted(item["metadata"]["name"] for item in found["items"])

    def clear(self) -> None:
        """Remove them all."""
        self._call("delete_collection_cluster_custom_object")

    def _call(self, method: str, **arguments: Any) -> Manifest:
        try:
            return dict(getattr(self.api, method)("dezky.eu", "v1alpha1", plural="tenants", **arguments))
        except client.ApiException as error:
            details = json.loads(error.body).get("details", {})
            causes = details.get("causes") or [{"field": "", "message": json.loads(error.body)["message"]}]
            raise Refused({cause.get("field", ""): cause["message"] for cause in causes}) from error


@pytest.fixture
def tenants(cluster: Cluster) -> Iterator[Tenants]:
    """An API server without any Tenant."""
    connection = kubeconfig.new_client_from_config(config_file=str(cluster.kubeconfig))
    found = Tenants(client.CustomObjectsApi(connection))
    found.clear()
    yield found
    found.clear()
    connection.close()


# -- every rule, refused once and accepted once ------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """One rule of the schema: a manifest (with ``before``: a patch) that only it refuses, and one it lets through."""

    field: str
    sentence: str
    refused: Manifest
    accepted: Manifest
    before: Manifest | None = None


def acme(**fields: Any) -> Manifest:
    """A Tenant with these fields in its spec."""
    return tenant("acme", spec(**fields))


def tile(**fields: str) -> Manifest:
    """A Tenant with one launcher tile."""
    return acme(brand={"launcherTiles": [{"title": "Wiki", "url": "https://wiki.test/", **fields}]})


def space(**fields: str) -> Manifest:
    """A Tenant with one further space."""
    return acme(files={"spaces": [{"name": "sales", **fields}]})


def change(**fields: Any) -> Manifest:
    """A patch of the spec."""
    return {"spec": fields}


RULES = (
    Rule(
        "<nil>",
        "The name of a Tenant must be 1 to 40 lower-case letters, digits or hyphens, begin with a letter and not end "
        "with a hyphen.",
        tenant("1acme", domains("acme.test")),
        tenant("a" * 39 + "1", domains("acme.test")),
    ),
    Rule(
        "<nil>",
        "This name is reserved for the platform itself; choose another name for the Tenant.",
        tenant("platform"),
        tenant("platforms"),
    ),
    Rule(
        "spec.suspension.holdFor",
        "suspension.holdFor says how long mail is held, so it needs suspension.mailPolicy: Hold.",
        acme(suspension={"holdFor": "24h"}),
        acme(suspension={"holdFor": "24h", "mailPolicy": "Hold"}),
    ),
    Rule(
        "spec.retentionDays",
        "retentionDays only has a meaning with deletionPolicy SoftDelete; remove it, or use SoftDelete.",
        acme(deletionPolicy="Purge", retentionDays=90),
        acme(deletionPolicy="SoftDelete", retentionDays=90),
    ),
    Rule(
        "spec.admin",
        "The administrator can not be removed once set; administrators are managed in the sign-in afterwards.",
        change(admin=None),
        change(admin={"name": "Anna"}),
        before=tenant("acme", admin("anna@acme.test")),
    ),
    Rule(
        "spec.admin.email",
        "admin.email can not be changed: that account exists. Further administrators are managed in the sign-in.",
        change(admin={"email": "bo@acme.test"}),
        change(admin={"email": "anna@acme.test"}),
        before=tenant("acme", admin("anna@acme.test")),
    ),
    Rule(
        "spec.billing",
        "billing.currency can not be changed or removed once set; invoices were made in it.",
        change(billing=None),
        change(billing={"cadence": "Yearly"}),
        before=acme(billing={"currency": "EUR"}),
    ),
    Rule(
        "spec.displayName",
        "displayName must not begin or end with a space, nor hold control characters.",
        acme(displayName="Acme\tRobotics"),
        acme(displayName="Ålesund & Søn — 株式会社"),
    ),
    Rule(
        "spec.plan",
        "plan must be lower-case letters, digits and hyphens, such as business.",
        acme(plan="Business"),
        acme(plan="business-2"),
    ),
    Rule(
        "spec.domains",
        "Each domain may be in the list only once.",
        tenant("acme", domains("acme.test", "b.test", "acme.test")),
        tenant("acme", domains("acme.test", "b.test", "mail.acme.test")),
    ),
    Rule(
        "spec.domains[0]",
        "A domain must be in lower case with at least one dot and no dot at the end, such as acme.eu; write "
        "international names as xn--.",
        tenant("acme", domains("Acme.test")),
        tenant("acme", domains("xn--bcher-kva.xn--p1ai")),
    ),
    Rule(
        "spec.domains[1]",
        "This domain can never receive mail from the internet; use a domain the customer owns.",
        tenant("acme", domains("acme.test", "acme.example")),
        tenant("acme", domains("acme.test", "example.test")),
    ),
    Rule(
        "spec.partnerRef.name",
        "partnerRef.name must be the name of a Partner: lower-case letters, digits and hyphens.",
        tenant("acme", partner("Nord IT")),
        tenant("acme", partner("nord-it")),
    ),
    Rule(
        "spec.admin.email",
        "admin.email must be an e-mail address, such as anna@acme.eu.",
        tenant("acme", admin("anna at acme.test")),
        tenant("acme", admin("Anna@acme.test")),
    ),
    Rule(
        "spec.brand.logoURL",
        "brand.logoURL must be an https address.",
        acme(brand={"logoURL": "http://acme.test/logo.svg"}),
        acme(brand={"logoURL": "https://acme.test/logo.svg"}),
    ),
    Rule(
        "spec.brand.primaryColor",
        "brand.primaryColor must be # and six hexadecimal digits, such as #0a7d4f.",
        acme(brand={"primaryColor": "green"}),
        acme(brand={"primaryColor": "#0A7d4f"}),
    ),
    Rule(
        "spec.brand.launcherTiles[0].url",
        "The url of a launcher tile must be an https address.",
        tile(url="javascript:alert(1)"),
        tile(url="https://wiki.test"),
    ),
    Rule(
        "spec.brand.launcherTiles[0].icon",
        "The icon of a launcher tile must be a name such as calendar, or an https address.",
        tile(icon="data:image/png;base64,AAAA"),
        tile(icon="calendar-2"),
    ),
    Rule(
        "spec.files.quota",
        "files.quota must be a size such as 500Mi, 50Gi or 2Ti, or 0 for no limit.",
        acme(files={"quota": "50GB"}),
        acme(files={"quota": "0"}),
    ),
    Rule(
        "spec.files.spaces[0].name",
        "The name of a space must be lower-case letters, digits and hyphens, such as sales.",
        space(name="Sales/EU"),
        space(name="sales-eu"),
    ),
    Rule(
        "spec.files.spaces[0].name",
        "The space main exists already; its room is files.quota.",
        space(name="main"),
        space(name="mains"),
    ),
    Rule(
        "spec.files.spaces[0].quota",
        "The quota of a space must be a size such as 500Mi, 50Gi or 2Ti, or 0 for no limit.",
        space(quota="5.5Gi"),
        space(quota="500M"),
    ),
    Rule(
        "spec.mail.mailboxQuota",
        "mail.mailboxQuota must be a size such as 500Mi, 5Gi or 1Ti, or 0 for no limit.",
        acme(mail={"mailboxQuota": "many"}),
        acme(mail={"mailboxQuota": "1Ti"}),
    ),
    Rule(
        "spec.suspension.holdFor",
        "suspension.holdFor must be 1h to 96h: senders give up on mail that is held longer.",
        acme(suspension={"mailPolicy": "Hold", "holdFor": "97h"}),
        acme(suspension={"mailPolicy": "Hold", "holdFor": "96h"}),
    ),
    Rule(
        "spec.billing.email",
        "billing.email must be an e-mail address, such as invoices@acme.eu.",
        acme(billing={"email": "invoices"}),
        acme(billing={"email": "invoices@acme.test"}),
    ),
)
by_sentence = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.sentence[:40])


@by_sentence
def test_a_rule_refuses_with_its_sentence_and_nothing_else_does(tenants: Tenants, rule: Rule) -> None:
    with pytest.raises(Refused) as refusal:
        _try(tenants, rule, rule.refused)
    assert list(refusal.value.causes) == [rule.field]
    assert refusal.value.causes[rule.field].endswith(f": {rule.sentence}")


@by_sentence
def test_a_rule_lets_through_what_keeps_it(tenants: Tenants, rule: Rule) -> None:
    assert _try(tenants, rule, rule.accepted)["spec"]["domains"]


def _try(tenants: Tenants, rule: Rule, manifest: Manifest) -> Manifest:
    if rule.before is None:
        return tenants.create(manifest, dry_run=True)
    name = tenants.create(rule.before)["metadata"]["name"]
    return tenants.patch(name, manifest, dry_run=True)


def test_every_rule_of_the_schema_is_in_this_list() -> None:
    in_schema = [rule["message"] for rule in _rules(CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"])]
    assert sorted(rule.sentence for rule in RULES) == sorted(in_schema)


def _rules(schema: Any) -> Iterator[dict[str, Any]]:
    yield from schema.get("x-kubernetes-validations", [])
    for inner in schema.get("properties", {}).values():
        yield from _rules(inner)
    if "items" in schema:
        yield from _rules(schema["items"])


@pytest.mark.parametrize("name", RESERVED)
def test_every_name_of_the_platform_is_reserved(tenants: Tenants, name: str) -> None:
    with pytest.raises(Refused, match="reserved for the platform"):
        tenants.create(tenant(name, domains("acme.test")), dry_run=True)


@pytest.mark.parametrize("name", ["a" * 41, "acme.eu", "acme-", "-acme", "Acme"])
def test_a_name_that_no_system_could_carry_is_refused(tenants: Tenants, name: str) -> None:
    with pytest.raises(Refused):
        tenants.create(tenant(name, domains("acme.test")), dry_run=True)


@pytest.mark.parametrize(
    "name",
    [
        "acme",
        "acme.test.",
        "a_b.test",
        "-a.test",
        "a-.test",
        "*.test",
        "bücher.test",
        "a..test",
        "10.0.0.1",
        "a" * 64 + ".test",
    ],
)
def test_a_domain_no_mail_server_takes_is_refused(tenants: Tenants, name: str) -> None:
    with pytest.raises(Refused, match="A domain must be in lower case"):
        tenants.create(tenant("acme", domains(name)), dry_run=True)


@pytest.mark.parametrize("name", ["", " Acme", "Acme ", "Ac\nme", "Ac\x00me", "A" * 129])
def test_a_name_people_could_not_read_is_refused(tenants: Tenants, name: str) -> None:
    with pytest.raises(Refused) as refusal:
        tenants.create(acme(displayName=name), dry_run=True)
    assert "spec.displayName" in refusal.value.causes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec.deletionPolicy", acme(deletionPolicy="Delete")),
        ("spec.adoption", acme(adoption="Always")),
        ("spec.driftPolicy", acme(driftPolicy="Ignore")),
        ("spec.suspension.mailPolicy", acme(suspension={"mailPolicy": "Reject"})),
        ("spec.billing.currency", acme(billing={"currency": "eur"})),
        ("spec.seats", acme(seats=0)),
        ("spec.retentionDays", acme(retentionDays=-1)),
        ("spec.domains", acme(domains=[])),
        ("spec.domains", acme(domains=[f"d{number}.test" for number in range(21)])),
        ("spec.files.spaces[1]", acme(files={"spaces": [{"name": "sales"}, {"name": "sales"}]})),
        ("spec.brand.launcherTiles[1]", acme(brand={"launcherTiles": [{"title": "W", "url": "https://w.test"}] * 2})),
    ],
)
def test_a_value_outside_of_its_bounds_is_refused_by_its_field(tenants: Tenants, field: str, value: Manifest) -> None:
    with pytest.raises(Refused) as refusal:
        tenants.create(value, dry_run=True)
    assert field in refusal.value.causes


def test_the_currency_can_be_set_later_but_not_changed_or_removed_in_any_way(tenants: Tenants) -> None:
    tenants.create(acme(billing={"email": "invoices@acme.test"}))
    tenants.patch("acme", change(billing={"currency": "EUR"}))
    for attempt in (None, {"currency": None}, {"currency": "SEK"}):
        with pytest.raises(Refused, match=r"billing\.currency can not be changed or removed"):
            tenants.patch("acme", change(billing=attempt))


def test_the_administrator_can_be_named_later(tenants: Tenants) -> None:
    tenants.create(tenant("acme"))
    assert (
        tenants.patch("acme", change(admin={"email": "anna@acme.test"}))["spec"]["admin"]["email"] == "anna@acme.test"
    )


# -- what the API server makes of a Tenant --------------------------------------------------------------


def test_a_minimal_tenant_gets_every_default_and_is_read_by_the_operator(tenants: Tenants) -> None:
    """C024: what is not there has a default, in the stored object and in the operator's view alike."""
    found = tenants.create(tenant("acme"))
    assert found["spec"] == {
        "displayName": "Acme",
        "domains": ["acme.test"],
        "plan": "standard",
        "files": {"quota": "50Gi"},
        "mail": {"mailboxQuota": "5Gi"},
        "suspended": False,
        "deletionPolicy": "SoftDelete",
        "retentionDays": 30,
        "adoption": "Never",
        "driftPolicy": "Correct",
    }
    assert found["status"] == {"observedGeneration": -1}
    assert parse(found).spec == parse({**found, "spec": tenant("acme")["spec"]}).spec


def test_every_field_of_a_tenant_is_kept_and_read(tenants: Tenants) -> None:
    """C015: the fields of the original, and where each of them is now."""
    manifest = yaml.safe_load((SAMPLES / "acme.yaml").read_text())
    stored = tenants.create(manifest)
    seen = parse(stored)
    assert (seen.name, seen.spec.display_name, seen.spec.plan) == ("acme", "Acme Robotics", "business")
    assert seen.spec.domains == ("acme.test", "acme-labs.test")
    assert seen.spec.brand is not None
    assert seen.spec.brand.logo_url == "https://acme.test/logo.svg"
    assert seen.spec.billing is not None
    assert seen.spec.billing.currency == "EUR"
    assert seen.metadata.uid == stored["metadata"]["uid"]
    for field, value in manifest["spec"].items():
        assert stored["spec"][field] == value, field


def test_plan_domains_and_partner_change_and_the_name_can_not(tenants: Tenants) -> None:
    """C017: an update; the slug is the object's name, which nothing changes."""
    tenants.create(tenant("acme"))
    wanted = {"plan": "business", "domains": ["acme.test", "b.test"], "partnerRef": {"name": "nord"}}
    changed = tenants.patch("acme", change(**wanted))
    assert {field: changed["spec"][field] for field in wanted} == wanted
    assert changed["metadata"]["generation"] == 2
    with pytest.raises(Refused, match="the name of the object"):
        tenants.patch("acme", {"metadata": {"name": "other"}})


def test_detaching_from_the_partner_makes_the_field_vanish(tenants: Tenants) -> None:
    """C018: no empty value stays behind."""
    tenants.create(tenant("acme", partner("nord")))
    assert "partnerRef" not in tenants.patch("acme", change(partnerRef=None))["spec"]


def test_an_unknown_field_is_refused_or_dropped_with_a_warning_and_never_silently(
    cluster: Cluster, tenants: Tenants
) -> None:
    """C018: the original dropped a field that its schema did not declare, and told nobody."""
    misspelt = acme(partnerref={"name": "nord"})
    with pytest.raises(Refused, match=r'unknown field \\?"spec\.partnerref\\?"'):
        tenants.create(misspelt)
    refused = cluster.kubectl("create", "-f", "-", input=json.dumps(misspelt), check=False)
    assert 'unknown field "spec.partnerref"' in refused
    warned = cluster.kubectl("create", "--validate=warn", "-f", "-", input=json.dumps(misspelt))
    assert 'Warning: unknown field "spec.partnerref"' in warned
    assert "partnerref" not in tenants.get("acme")["spec"]


def test_the_state_of_a_system_has_its_three_names_and_no_other(tenants: Tenants) -> None:
    """C023: what else comes in, as an `_id` once did, is not kept."""
    tenants.create(tenant("acme"))
    words = {"authentik": "Ready", "stalwart": "Failed", "ocis": "Provisioning"}
    errors = {"stalwart": "The mail server does not answer."}
    body = {"status": {"provisioningStatus": {**words, "_id": "5f"}, "provisioningErrors": {**errors, "_id": "60"}}}
    status = tenants.patch_status("acme", body)["status"]
    assert status["provisioningStatus"] == words
    assert status["provisioningErrors"] == errors


def test_status_and_spec_are_written_apart(tenants: Tenants) -> None:
    tenants.create(tenant("acme"))
    found = tenants.patch("acme", {**change(plan="business"), "status": {"phase": "Active"}})
    assert (found["spec"]["plan"], found["status"]) == ("business", {"observedGeneration": -1})
    found = tenants.patch_status("acme", {**change(plan="gold"), "status": {"phase": "Active"}})
    assert (found["spec"]["plan"], found["status"]["phase"]) == ("business", "Active")
    assert found["metadata"]["generation"] == 2


def test_one_condition_of_each_type_and_only_true_false_or_unknown(tenants: Tenants) -> None:
    tenants.create(tenant("acme"))
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Active",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    for conditions in ([ready, ready], [{**ready, "status": "Yes"}]):
        with pytest.raises(Refused, match=r"status\.conditions"):
            tenants.patch_status("acme", {"status": {"conditions": conditions}})
    tenants.patch_status("acme", {"status": {"conditions": [ready, {**ready, "type": "Synced"}]}})


def test_tenants_are_found_by_plan_partner_suspension_and_phase(tenants: Tenants) -> None:
    tenants.create(tenant("acme", spec(plan="business"), partner("nord-it")))
    tenants.create(tenant("berg", suspended()))
    tenants.patch_status("acme", {"status": {"phase": "Active"}})
    assert tenants.selected("spec.plan", "business") == ["acme"]
    assert tenants.selected("spec.plan", "standard") == ["berg"]
    assert tenants.selected("spec.partnerRef.name", "nord-it") == ["acme"]
    assert tenants.selected("spec.suspended", "true") == ["berg"]
    assert tenants.selected("status.phase", "Active") == ["acme"]
    with pytest.raises(Refused, match="field label not supported"):
        tenants.selected("spec.seats", "1")


def test_kubectl_get_reads_like_a_dashboard(cluster: Cluster, tenants: Tenants) -> None:
    tenants.create(tenant("acme", spec(plan="business", seats=25), partner("nord-it")))
    ready = {"type": "Ready", "status": "True", "reason": "Active", "message": "All well."}
    status = {
        "phase": "Active",
        "provisioningStatus": {"authentik": "Ready", "stalwart": "Ready", "ocis": "Failed"},
        "conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "members": 3,
    }
    tenants.patch_status("acme", {"status": status})
    header, line = cluster.kubectl("get", "tn").splitlines()
    assert " ".join(header.split()) == "NAME PHASE PLAN DOMAIN AUTHENTIK STALWART OCIS PARTNER READY AGE"
    assert " ".join(line.split()[:-1]) == "acme Active business acme.test Ready Ready Failed nord-it True"
    header, line = cluster.kubectl("get", "dezky", "-o", "wide").splitlines()
    assert " ".join(header.split()[10:]) == "REASON DNS SEATS MEMBERS TENANT-ID MESSAGE"
    assert line.split()[10:13] == ["Active", "25", "3"]
    assert line.endswith("All well.")


def test_kubectl_explain_tells_what_a_field_means(cluster: Cluster) -> None:
    assert "Mail domains, the primary one first." in cluster.kubectl("explain", "tenant.spec.domains")


# -- the samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*sorted(SAMPLES.glob("*.yaml")), SAMPLES / "minimal" / "tenant.yaml"], ids=lambda path: path.name
)
def test_a_sample_is_accepted(tenants: Tenants, path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        tenants.create(document, dry_run=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("reserved-name.yaml", "This name is reserved for the platform itself; choose another name for the Tenant."),
        ("duplicate-domain.yaml", "Each domain may be in the list only once."),
    ],
)
def test_a_bad_sample_is_refused_with_its_sentence(
    cluster: Cluster, tenants: Tenants, name: str, sentence: str
) -> None:
    told = cluster.kubectl("apply", "-f", str(SAMPLES / "bad" / name), check=False)
    assert sentence in told
    with pytest.raises(Refused, match="not found"):
        tenants.get(yaml.safe_load((SAMPLES / "bad" / name).read_text())["metadata"]["name"])
