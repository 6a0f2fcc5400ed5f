"""From `kubectl apply` to Ready, and what happens to a tenant afterwards, on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from dezky_operator.kube.process import Operator
from tests.builders import admin, annotated, deletion, domains, partner, spaces, spec, tenant
from tests.controlplane.cluster import Cluster
from tests.sandbox.standin import Fault
from tests.site import Site
from tests.tombstones import buried

ANNA = admin("Anna@acme.test", "Anna")


async def test_apply_gives_a_sign_in_a_mail_domain_and_a_file_space(site: Site) -> None:
    """C002, C015, C016: five things for one object, C003 under the customer's own brand; C013, C023: their state."""
    await site.start()
    await site.apply(
        tenant("acme", domains("acme.test", "acme-labs.test"), ANNA, spaces("sales"), spec(brand={"title": "Acme"}))
    )
    status = await site.ready("acme")
    assert status["phase"] == "Active"
    assert status["provisioningStatus"] == {"authentik": "Ready", "stalwart": "Ready", "ocis": "Ready"}
    assert "provisioningErrors" not in status
    assert status["identity"]["issuerURL"].endswith("/application/o/dezky-acme/")
    assert [domain["name"] for domain in status["mail"]["domains"]] == ["acme.test", "acme-labs.test"]
    assert [space["driveAlias"] for space in status["files"]["spaces"]] == [
        "project/dezky-acme",
        "project/dezky-acme_sales",
    ]
    assert status["launcher"]["title"] == "Acme"
    brand = site.workspace.authentik.store.find("brand", "domain", "acme.dezky.test")
    assert brand is not None
    assert brand["branding_title"] == "Acme"


async def test_a_new_tenant_costs_two_writes_and_the_next_reconcile_none(site: Site) -> None:
    """C014: reconcile twice, the second changes nothing anywhere; C022: asked for by annotation, and answered."""
    operator = await site.start()
    await site.apply(tenant("acme", ANNA, spaces("sales"), spec(brand={"title": "Acme"})))
    await site.ready("acme")
    await site.idle()
    assert _object_writes(operator) == 2
    site.workspace.forget()
    await site.annotate("acme", "reconcile-requested-at", "now")
    await _until_handled(site, "acme", "now")
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    assert _object_writes(operator) == 3  # only the answer to the annotation


async def test_the_administrator_signs_in_reads_mail_and_writes_a_file(site: Site) -> None:
    """C002: from the recovery link in the Secret to a mailbox and a file, as that person."""
    await site.start()
    await site.apply(tenant("acme", ANNA))
    status = await site.ready("acme")
    secret = await site.secret("acme")
    assert "recovery-link" not in str(status)
    async with httpx2.AsyncClient() as browser:
        token = await _sign_in(site, browser, secret["recovery-link"])
        headers = {"Authorization": f"Bearer {token}"}
        drive = status["files"]["spaces"][0]["id"]
        put = await browser.put(
            f"{site.workspace.ocis.url}/dav/spaces/{drive}/hello.txt", content=b"hi", headers=headers
        )
        assert put.status_code == 201
    reader, writer = await asyncio.open_connection("127.0.0.1", site.workspace.stalwart.smtp_port)
    writer.write(
        b"EHLO test\r\nMAIL FROM:<x@other.test>\r\nRCPT TO:<anna@acme.test>\r\nRCPT TO:<nobody@acme.test>\r\nQUIT\r\n"
    )
    told = (await reader.read()).decode()
    writer.close()
    assert "250 2.1.5 OK" in told
    assert "550 5.1.2 Mailbox does not exist." in told


async def test_the_recovery_link_goes_after_the_first_sign_in_and_is_renewed_on_demand(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA))
    await site.ready("acme")
    first = (await site.secret("acme"))["recovery-link"]
    async with httpx2.AsyncClient() as browser:
        await _sign_in(site, browser, first)
    await site.annotate("acme", "reconcile-requested-at", "1")
    await _until_handled(site, "acme", "1")
    secret = await site.secret("acme")
    assert "recovery-link" not in secret
    assert secret["client-secret"]
    await site.annotate("acme", "renew-recovery-link", "again")
    await site.annotate("acme", "reconcile-requested-at", "2")
    await _until_handled(site, "acme", "2")
    assert (await site.secret("acme"))["recovery-link"] != first


async def test_members_get_a_mailbox_by_their_user_name_and_lose_the_log_in_when_they_leave(site: Site) -> None:
    """Design 6, Members: a mailbox if and only if the lower-case user name is an address in one of the domains."""
    await site.start()
    await site.apply(tenant("acme", ANNA))
    await site.ready("acme")
    store = site.workspace.authentik.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    bob = store.insert("user", {"username": "Bob@acme.test", "name": "Bob"})
    eve = store.insert("user", {"username": "eve@elsewhere.test", "name": "Eve"})
    for user in (bob, eve):
        store.join(user, group["pk"])
    status = await _reconciled(site, "acme")
    assert status["mail"]["mailboxes"] == 2
    assert status["mail"]["withoutMailbox"] == ["eve@elsewhere.test"]
    assert status["members"] == 3
    mailbox = _account(site, "bob@acme.test")
    assert mailbox["credentials"] == {}
    store.leave(bob, group["pk"])
    await _reconciled(site, "acme")
    assert "authenticate" in site.workspace.stalwart.disabled(_account(site, "bob@acme.test"))
    assert "authenticate" not in site.workspace.stalwart.disabled(_account(site, "anna@acme.test"))
    store.join(bob, group["pk"])
    await _reconciled(site, "acme")
    assert "authenticate" not in site.workspace.stalwart.disabled(_account(site, "bob@acme.test"))


async def test_a_lost_group_locks_nobody_out_of_their_mail(site: Site) -> None:
    """Members that can not be known are not members who left."""
    await site.start()
    await site.apply(tenant("acme", ANNA))
    await site.ready("acme")
    store = site.workspace.authentik.store
    group = store.find("group", "name", "dezky-acme-users")
    assert group is not None
    store.join(store.insert("user", {"username": "bob@acme.test", "name": "Bob"}), group["pk"])
    await _reconciled(site, "acme")
    site.workspace.authentik.faults.append(Fault(match="GET /api/v3/core/users/\\?groups_by_pk", status=503))
    await site.annotate("acme", "reconcile-requested-at", "x")
    await _until_handled(site, "acme", "x")
    assert "authenticate" not in site.workspace.stalwart.disabled(_account(site, "bob@acme.test"))


async def test_dkim_keys_wait_until_their_record_is_published(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme"))
    status = await site.ready("acme")
    assert {key["stage"] for key in status["mail"]["domains"][0]["dkim"]} == {"Pending"}
    missing = await site.condition("acme", "DnsReady")
    assert (missing["status"], missing["reason"]) == ("False", "RecordMissing")
    assert status["dns"][0]["name"] in missing["message"]
    domain = next(
        found for found in site.workspace.stalwart.objects.by_type["Domain"].values() if found["name"] == "acme.test"
    )
    site.workspace.dns.publish_zone("acme.test", site.workspace.stalwart.objects.zone(domain))
    status = await site.wait("acme", "DnsReady", "True")
    assert {key["stage"] for key in status["mail"]["domains"][0]["dkim"]} == {"Active"}
    assert {record["state"] for record in status["dns"]} == {"Published"}


async def test_a_domain_is_taken_in_only_after_its_owner_said_so_in_dns(cluster: Cluster) -> None:
    async with Site(cluster, changes={"domainVerification": "Txt"}) as site:
        await site.start()
        await site.apply(tenant("acme"))
        status = await site.wait("acme", "Ready", "False", "DomainNotVerified")
        record = status["dns"][0]
        assert (record["name"], record["type"], record["state"]) == ("_dezky.acme.test", "TXT", "Missing")
        assert record["value"] == f"dezky-verify={status['tenantId']}"
        assert "acme.test" not in site.workspace.stalwart.objects.names
        assert status["provisioningStatus"]["ocis"] == "Ready"
        site.workspace.dns.set(record["name"], "TXT", [f'"{record["value"]}"'])
        await site.ready("acme")
        assert "acme.test" in site.workspace.stalwart.objects.names


async def test_one_system_down_does_not_hold_up_the_others_and_recovers_by_itself(site: Site) -> None:
    site.workspace.stalwart.faults.append(Fault(match="/jmap", status=503))
    await site.start()
    await site.apply(tenant("acme", ANNA))
    status = await site.wait("acme", "MailReady", "Unknown", "Unreachable")
    assert status["provisioningStatus"] == {"authentik": "Ready", "stalwart": "Failed", "ocis": "Ready"}
    assert "stalwart is not available" in status["provisioningErrors"]["stalwart"]
    site.workspace.stalwart.faults.clear()
    await site.ready("acme")


async def test_a_refused_credential_stops_its_system_until_the_secret_changes(site: Site) -> None:
    good = await site.kubectl("-n", site.namespace, "get", "secret", "stalwart", "-o", "jsonpath={.data.token}")
    await _set_token(site, "stalwart", "API_bm9wZQ==")
    await site.start()
    await site.apply(tenant("acme", ANNA), tenant("beta"))
    for name in ("acme", "beta"):
        condition = (await site.wait(name, "MailReady", "False", "AuthFailed"))["provisioningErrors"]["stalwart"]
        assert f"Secret {site.namespace}/stalwart, key token" in condition
    assert site.workspace.stalwart.failures <= 4  # those in flight together, and never one more
    before = site.workspace.stalwart.failures
    await _reconciled(site, "acme", ready=False)
    assert site.workspace.stalwart.failures == before
    await site.kubectl("-n", site.namespace, "patch", "secret", "stalwart", "-p", f'{{"data":{{"token":"{good}"}}}}')
    await site.ready("acme")
    await site.ready("beta")


async def test_a_foreign_object_with_our_name_is_a_conflict_and_untouched(site: Site) -> None:
    store = site.workspace.authentik.store
    foreign = store.insert("group", {"name": "dezky-acme-users", "attributes": {"theirs": True}})
    await site.start()
    await site.apply(tenant("acme"))
    status = await site.wait("acme", "Conflict", "True", "ForeignObject")
    assert "dezky-acme-users" in status["provisioningErrors"]["authentik"]
    assert foreign["attributes"] == {"theirs": True}
    assert status["provisioningStatus"]["stalwart"] == "Ready"
    await site.apply(tenant("acme", spec(adoption="IfUnowned")))
    # The daily token may change only what it made: taking something over needs an administrator of Authentik too.
    await site.wait("acme", "IdentityReady", "False", "NoPermission")
    operator = store.find("user", "username", "dezky-operator")
    assert operator is not None
    store.object_permissions["authentik_core.change_group", foreign["pk"]].add(operator["roles"][0])
    await site.ready("acme")
    assert foreign["attributes"]["theirs"] is True
    assert foreign["attributes"]["dezky.eu/tenant"] == "acme"


async def test_drift_of_every_kind_is_put_back(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA, spec(brand={"title": "Acme"})))
    status = await site.ready("acme")
    store, mail, files = site.workspace.authentik.store, site.workspace.stalwart.objects, site.workspace.ocis.store
    application = store.objects["application"]["dezky-acme"]
    provider = store.find("oauth2provider", "name", "dezky-acme")
    role = mail.by_type["Role"][status["mail"]["roleId"]]
    space = files.spaces[status["files"]["spaces"][0]["id"]]
    assert provider is not None
    application["policy_engine_mode"] = "any"
    provider["sub_mode"] = "hashed_user_id"
    role["disabledPermissions"] = {"authenticate": True}
    space.name, space.quota = "Mine now", 1
    space.grants.clear()
    space.grants[f"u:{files.admin.id}"] = "312c0871-5ef7-4b3a-85b6-0e4074c64049"
    status = await _reconciled(site, "acme", ready=False)
    assert application["policy_engine_mode"] == "all"
    assert provider["sub_mode"] == "user_uuid"
    assert role["disabledPermissions"] == {}
    assert (space.name, space.quota) == ("Acme", 50 * 2**30)
    locked_out = await site.condition("acme", "FilesReady")
    assert locked_out["reason"] == "OperatorLockedOut"


async def test_drift_is_only_told_where_the_tenant_says_so(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", spec(driftPolicy="ReportOnly")))
    await site.ready("acme")
    application = site.workspace.authentik.store.objects["application"]["dezky-acme"]
    application["policy_engine_mode"] = "any"
    await site.annotate("acme", "reconcile-requested-at", "1")
    status = await site.wait("acme", "Synced", "False", "Drift")
    assert application["policy_engine_mode"] == "any"
    assert status["plan"][0]["fields"] == ["policy_engine_mode"]
    await site.apply(tenant("acme", spec(driftPolicy="Correct")))
    await site.ready("acme")
    assert application["policy_engine_mode"] == "all"


async def test_paused_stops_everything_a_deletion_included(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", annotated("paused", "true")))
    await site.wait("acme", "Synced", "Unknown", "Paused")
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    await site.annotate("acme", "paused", None)
    await site.ready("acme")
    await site.annotate("acme", "paused", "true")
    await site.wait("acme", "Synced", "Unknown", "Paused")
    await site.kubectl("delete", "tenant", "acme", "--wait=false")
    await site.idle()
    assert await site.get("acme") is not None
    await site.annotate("acme", "paused", None)
    await site.gone("acme")


async def test_plan_only_shows_the_plan_and_applies_nothing(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA, annotated("plan-only", "apply")))
    status = await site.wait("acme", "Synced", "False", "PlanOnly")
    keys = {step["key"] for step in status["plan"]}
    assert {"authentik/group/users", "stalwart/domain/acme.test", "ocis/drive/main", "kubernetes/secret/tenant"} <= keys
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    found = await site.get("acme")
    assert found is not None
    assert "finalizers" not in found["metadata"]
    await site.annotate("acme", "plan-only", None)
    status = await site.ready("acme")
    assert "plan" not in status


async def test_a_tenant_that_adds_anothers_living_domain_gets_a_conflict(site: Site) -> None:
    """Design 6, Domains: never taken from a living tenant. C017: a domain is unique over all tenants."""
    await site.start()
    await site.apply(tenant("acme"))
    await site.ready("acme")
    await site.apply(tenant("beta", domains("beta.test", "acme.test")))
    status = await site.wait("beta", "Ready", "False", "DomainConflict")
    assert "tenant acme" in status["provisioningErrors"]["stalwart"]
    assert [domain["name"] for domain in status["mail"]["domains"]] == ["beta.test"]
    await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme")
    await site.annotate("beta", "reconcile-requested-at", "1")
    await _until_handled(site, "beta", "1")
    status = await site.wait("beta", "Ready", "False", "DomainConflict")
    assert "retained tenant acme" in status["provisioningErrors"]["stalwart"]


async def test_what_leaves_the_spec_is_detached_kept_and_restored_when_it_comes_back(site: Site) -> None:
    """Design 6: no spec edit destroys data."""
    await site.start()
    await site.apply(tenant("acme", domains("acme.test", "old.test"), ANNA, spaces("sales")))
    status = await site.ready("acme")
    sales = status["files"]["spaces"][1]["id"]
    await site.apply(tenant("acme", ANNA))
    await site.ready("acme")
    status = await _reconciled(site, "acme")
    assert {(item["kind"], item["name"]) for item in status["detached"]} == {("Domain", "old.test"), ("Space", "sales")}
    assert "old.test" in site.workspace.stalwart.objects.names
    assert site.workspace.ocis.store.spaces[sales].disabled
    await site.apply(tenant("acme", domains("acme.test", "old.test"), ANNA, spaces("sales")))
    status = await site.ready("acme")
    assert "detached" not in status
    assert not site.workspace.ocis.store.spaces[sales].disabled
    await site.apply(tenant("acme", ANNA))
    await site.ready("acme")
    await site.annotate("acme", "confirm-detach", "old.test,sales")
    await site.annotate("acme", "reconcile-requested-at", "9")
    await _until_handled(site, "acme", "9")
    await site.until(lambda: "old.test" not in site.workspace.stalwart.objects.names, "the domain is removed")
    await site.until(lambda: sales not in site.workspace.ocis.store.spaces, "the space is removed")


async def test_a_slug_used_again_needs_the_same_customer_or_a_restore(site: Site) -> None:
    """Design 6, Restore: a slug used again must not hand one customer's mail to another."""
    await site.start()
    await site.apply(tenant("acme", ANNA, partner("nord")))
    first = await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme")
    await buried(site, "acme", "Locked")
    site.workspace.forget()
    await site.apply(tenant("acme", domains("other.test")))
    status = await site.wait("acme", "Ready", "False", "TombstoneExists")
    message = (await site.condition("acme", "Ready"))["message"]
    assert first["tenantId"] in message
    assert "identity" not in status
    assert site.workspace.writes() == {"authentik": 0, "stalwart": 0, "ocis": 0}
    await site.annotate("acme", "restore", first["tenantId"])
    status = await site.ready("acme")
    assert status["tenantId"] == first["tenantId"]
    assert [item["name"] for item in status["detached"]] == ["acme.test"]


async def test_the_same_customer_applied_again_gets_everything_back(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", ANNA, partner("nord")))
    first = await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme")
    await site.apply(tenant("acme", ANNA, partner("nord")))
    status = await site.ready("acme")
    assert status["tenantId"] == first["tenantId"]
    assert status["identity"]["groupId"] == first["identity"]["groupId"]
    assert status["files"]["spaces"][0]["id"] == first["files"]["spaces"][0]["id"]


async def test_a_confirmed_purge_leaves_nothing_of_ours_and_touches_nothing_else(site: Site) -> None:
    await site.start()
    await site.apply(
        tenant("acme", ANNA, spaces("sales"), deletion("Purge"), spec(brand={"title": "Acme"})), tenant("beta")
    )
    await site.ready("acme")
    beta = await site.ready("beta")
    await site.annotate("acme", "confirm-purge", "acme")
    await site.kubectl("delete", "tenant", "acme")
    store, mail = site.workspace.authentik.store, site.workspace.stalwart.objects
    names = [
        found.get("name") or found.get("slug") or found.get("domain")
        for kind in store.objects.values()
        for found in kind.values()
    ]
    assert not [name for name in names if "acme" in str(name)]
    assert store.find("user", "username", "anna@acme.test") is None
    assert "acme.test" not in mail.names
    assert not [role for role in mail.by_type["Role"].values() if "acme" in str(role)]
    assert not [space for space in site.workspace.ocis.store.spaces.values() if "acme" in space.alias]
    assert await site.secret("acme") == {}
    after = await _reconciled(site, "beta")
    assert after["identity"] == beta["identity"]


async def test_an_unconfirmed_purge_keeps_everything_and_says_so(site: Site) -> None:
    await site.start()
    await site.apply(tenant("acme", deletion("Purge")))
    await site.ready("acme")
    await site.kubectl("delete", "tenant", "acme")
    assert "acme.test" in site.workspace.stalwart.objects.names
    await _told(site, "The purge was not confirmed by dezky.eu/confirm-purge: acme")


async def test_an_unknown_plan_is_refused_by_name_and_stops_nobody(cluster: Cluster) -> None:
    """C031: plans are a setting."""
    async with Site(cluster, changes={"plans": ["standard", "business"]}) as site:
        await site.start()
        await site.apply(tenant("acme", spec(plan="gold")), tenant("beta", spec(plan="business")))
        status = await site.wait("acme", "Stalled", "True", "InvalidSpec")
        assert "expected one of standard, business" in next(
            c["message"] for c in status["conditions"] if c["type"] == "Ready"
        )
        await site.ready("beta")


async def test_the_same_failure_twice_gives_the_same_bytes(site: Site) -> None:
    site.workspace.ocis.faults.append(Fault(match="/graph", status=503))
    await site.start()
    await site.apply(tenant("acme"))
    first = await site.wait("acme", "FilesReady", "Unknown", "Unreachable")
    await site.annotate("acme", "reconcile-requested-at", "1")
    await _until_handled(site, "acme", "1")
    second = await site.status("acme")
    del second["lastHandledReconcileAt"]
    assert first == second


# -- help ---------------------------------------------------------------------------------


def _object_writes(operator: Operator) -> float:
    samples = next(iter(operator.metrics.kube_writes.collect())).samples
    return float(sum(sample.value for sample in samples if sample.labels["what"] in {"tenants", "tenants/status"}))


async def _told(site: Site, text: str) -> None:
    """Until an event says so; it is posted after the object is gone."""
    for _ in range(100):
        if text in (events := await site.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no event says {text!r}: {events}")


async def _until_handled(site: Site, name: str, value: str) -> None:
    for _ in range(600):
        if (await site.status(name)).get("lastHandledReconcileAt") == value:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} never handled {value}")


_rounds = iter(range(10_000))


async def _reconciled(site: Site, name: str, *, ready: bool = True) -> dict[str, Any]:
    value = f"round-{next(_rounds)}"
    await site.annotate(name, "reconcile-requested-at", value)
    await _until_handled(site, name, value)
    return await site.ready(name) if ready else await site.status(name)


def _account(site: Site, address: str) -> dict[str, Any]:
    _, key = site.workspace.stalwart.objects.addresses[address]
    return dict(site.workspace.stalwart.objects.by_type["Account"][key])


async def _set_token(site: Site, secret: str, value: str) -> None:
    await site.kubectl("-n", site.namespace, "patch", "secret", secret, "-p", f'{{"stringData":{{"token":"{value}"}}}}')


async def _sign_in(site: Site, browser: httpx2.AsyncClient, link: str) -> str:
    """What a person does: follow the link, set a password, and open the files application."""
    base = site.workspace.authentik.url
    assert (await browser.get(link)).status_code == 200
    executor = f"{base}/api/v3/flows/executor/dezky-recovery/"
    assert (await browser.get(executor)).json()["component"] == "ak-stage-prompt"
    answer = await browser.post(executor, json={"password": "correct horse", "password_repeat": "correct horse"})
    assert answer.json()["component"] == "xak-flow-redirect"
    redirect = "https://files.dezky.test/"
    scope = "openid profile email"
    query = {"client_id": "dezky-ocis", "redirect_uri": redirect, "response_type": "code", "scope": scope}
    code = (
        (await browser.get(f"{base}/application/o/authorize/", params=query)).headers["location"].partition("code=")[2]
    )
    provider = site.workspace.authentik.store.find("oauth2provider", "name", "dezky-ocis")
    assert provider is not None
    form = {
        "grant_type": "authorization_code",
        "code": code.partition("&")[0],
        "redirect_uri": redirect,
        "client_id": "dezky-ocis",
        "client_secret": provider["client_secret"],
    }
    return str((await browser.post(f"{base}/application/o/token/", data=form)).json()["access_token"])
