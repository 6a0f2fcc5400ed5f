"""Stalwart's domains, keys, roles, accounts and lists: what is unique, linked, refused (facts/stalwart.md 2, 11)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dezky_operator.integrations.dns.records import parse_zone
from dezky_operator.integrations.stalwart.perform import private_key
from tests.acceptance.jmap import Jmap, eventually

MANUAL = {"@type": "Manual"}
ED25519 = "Dkim1Ed25519Sha256"


async def domain_of(jmap: Jmap, slug: str) -> str:
    """A domain without keys."""
    return str((await jmap.make("Domain", name=f"{slug}.test", dkimManagement=MANUAL))["id"])


def user(domain: str, name: str, **more: Any) -> dict[str, Any]:
    """An account as the operator makes one."""
    return {"@type": "User", "name": name, "domainId": domain, "roles": {"@type": "User"}, **more}


def secret(kind: str = ED25519) -> dict[str, Any]:
    """A private key as it is sent."""
    return {"@type": "Text", "secret": private_key(kind)}


# -- domains ----------------------------------------------------------------------------------


async def test_a_domain_with_nothing_said_makes_active_keys_by_itself(jmap: Jmap, slug: str) -> None:
    """Mail is signed before anybody can have published a record: so the operator says Manual."""
    domain = (await jmap.make("Domain", name=f"{slug}.test"))["id"]
    found = await jmap.get("Domain", domain)
    assert found["dkimManagement"]["@type"] == "Automatic"
    assert [found[key]["@type"] for key in ("certificateManagement", "dnsManagement", "subAddressing")] == [
        "Manual",
        "Manual",
        "Enabled",
    ]

    async def both() -> list[dict[str, Any]] | None:
        keys = await jmap.find("DkimSignature", domainId=domain)
        return keys if len(keys) == 2 else None

    keys = await eventually(both, "no two keys were made")
    assert {(key["@type"], key["stage"]) for key in keys} == {(ED25519, "active"), ("Dkim1RsaSha256", "active")}


async def test_a_domain_exists_once_in_any_case_and_the_answer_names_it(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    error = await jmap.refusal("Domain", name=f"{slug.upper()}.test")
    assert error["type"] == "primaryKeyViolation"
    assert (error["properties"], error["objectId"]) == (["name"], {"object": "Domain", "id": domain})


async def test_an_alias_is_as_unique_as_a_name(jmap: Jmap, slug: str) -> None:
    await domain_of(jmap, slug)
    error = await jmap.refusal("Domain", name=f"{slug}b.test", aliases={f"{slug}.test": True}, dkimManagement=MANUAL)
    assert (error["type"], error["properties"]) == ("primaryKeyViolation", ["aliases"])


async def test_names_are_kept_in_lower_case_and_asked_for_exactly(jmap: Jmap, slug: str) -> None:
    domain = (await jmap.make("Domain", name=f"{slug.upper()}.test", dkimManagement=MANUAL))["id"]
    assert (await jmap.get("Domain", domain))["name"] == f"{slug}.test"
    assert [found["id"] for found in await jmap.find("Domain", name=f"{slug}.test")] == [domain]
    assert await jmap.find("Domain", name=f"{slug.upper()}.test") == []


async def test_names_are_kept_as_punycode(jmap: Jmap, slug: str) -> None:
    domain = (await jmap.make("Domain", name=f"bücher{slug}.test", dkimManagement=MANUAL))["id"]
    assert (await jmap.get("Domain", domain))["name"].startswith("xn--")


@pytest.mark.parametrize("suffix", [".example", ".invalid", "", ".test."])
async def test_a_domain_that_can_not_exist_is_refused(jmap: Jmap, slug: str, suffix: str) -> None:
    error = await jmap.refusal("Domain", name=f"{slug}{suffix}")
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid domain name")


async def test_an_array_for_a_set_is_refused(jmap: Jmap, slug: str) -> None:
    error = await jmap.refusal("Domain", name=f"{slug}.test", aliases=[f"{slug}b.test"])
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid value for object property")


async def test_an_unknown_property_is_refused(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    error = await jmap.patch("Domain", domain, {"colour": "red"})
    assert error is not None
    assert (error["type"], error["description"], error["properties"]) == (
        "invalidPatch",
        "Invalid property",
        ["colour"],
    )
    error = await jmap.refusal("Domain", name=f"{slug}b.test", colour="red")
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid key for object")


async def test_an_unknown_permission_is_refused(jmap: Jmap, slug: str) -> None:
    """A right that a version does not know: bootstrap would fail on it as a whole."""
    error = await jmap.refusal("Role", description=slug, enabledPermissions={"sysNothingGet": True})
    assert (error["type"], error["description"], error["properties"]) == (
        "invalidPatch",
        "Invalid key for object property",
        ["enabledPermissions"],
    )


async def test_a_patch_that_changes_nothing_is_done(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    assert await jmap.patch("Domain", domain, {"isEnabled": True}) is None


async def test_a_patch_of_what_is_not_there_is_not_found(jmap: Jmap) -> None:
    error = await jmap.patch("Domain", "zzzzz", {"isEnabled": True})
    assert error is not None
    assert error["type"] == "notFound"


async def test_a_domain_with_anything_in_it_stays_and_every_link_is_named(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    links = {
        ("Account", (await jmap.make("Account", **user(domain, "anna")))["id"]),
        ("MailingList", (await jmap.make("MailingList", name="all", domainId=domain))["id"]),
        ("DkimSignature", (await _key(jmap, domain))["id"]),
    }
    error = await jmap.destroy("Domain", domain)
    assert error is not None
    assert error["type"] == "objectIsLinked"
    assert {(link["object"], link["id"]) for link in error["linkedObjects"]} == links


async def test_the_default_domain_is_held_by_the_settings(jmap: Jmap) -> None:
    (settings,) = (await jmap.ok("x:SystemSettings/get", ids=["singleton"]))["list"]
    error = await jmap.destroy("Domain", settings["defaultDomainId"])
    assert error is not None
    assert {"object": "SystemSettings", "id": "singleton"} in error["linkedObjects"]


async def test_what_is_gone_is_not_found_and_its_id_is_not_given_again(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    assert await jmap.destroy("Domain", domain) is None
    again = await jmap.destroy("Domain", domain)
    assert again is not None
    assert again["type"] == "notFound"
    assert await domain_of(jmap, slug) != domain


# -- keys ---------------------------------------------------------------------------------------


async def _key(jmap: Jmap, domain: str, **more: Any) -> dict[str, Any]:
    body = {"@type": ED25519, "domainId": domain, "selector": "one", "stage": "pending", "privateKey": secret()}
    return await jmap.make("DkimSignature", **{**body, **more})


@pytest.mark.parametrize("kind", [ED25519, "Dkim1RsaSha256"])
async def test_a_pending_key_is_in_the_zone_and_can_be_activated(jmap: Jmap, slug: str, kind: str) -> None:
    domain = await domain_of(jmap, slug)
    key = await _key(jmap, domain, **{"@type": kind, "privateKey": secret(kind)})
    found = await jmap.get("DkimSignature", key["id"])
    assert (found["stage"], found["privateKey"]["secret"]) == ("pending", "****")
    zone = parse_zone(f"{slug}.test", (await jmap.get("Domain", domain))["dnsZoneFile"])
    (record,) = [one for one in zone if one.name == f"one._domainkey.{slug}.test"]
    assert found["publicKey"] in record.value
    assert await jmap.patch("DkimSignature", key["id"], {"stage": "active"}) is None
    assert (await jmap.get("DkimSignature", key["id"]))["stage"] == "active"


async def test_the_zone_names_what_mail_needs(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    zone = parse_zone(f"{slug}.test", (await jmap.get("Domain", domain))["dnsZoneFile"])
    kinds = {(one.type, one.name.removesuffix(f"{slug}.test").rstrip(".")) for one in zone}
    assert {("MX", ""), ("TXT", ""), ("TXT", "_dmarc"), ("TXT", "_smtp._tls"), ("CNAME", "autoconfig")} <= kinds


async def test_a_selector_is_not_unique(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    await _key(jmap, domain)
    await _key(jmap, domain)
    assert len(await jmap.find("DkimSignature", domainId=domain)) == 2


async def test_a_short_key_is_refused(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it must be refused
    pem = short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    body = {"@type": "Dkim1RsaSha256", "domainId": domain, "selector": "short", "stage": "pending"}
    error = await jmap.refusal("DkimSignature", **body, privateKey={"@type": "Text", "secret": pem})
    assert error["type"] == "invalidProperties"


async def test_a_key_can_not_be_written_back_as_it_was_read(jmap: Jmap, slug: str) -> None:
    key = (await _key(jmap, await domain_of(jmap, slug)))["id"]
    shown = (await jmap.get("DkimSignature", key))["privateKey"]
    error = await jmap.patch("DkimSignature", key, {"privateKey": shown})
    assert error is not None
    assert error["type"] == "invalidProperties"


async def test_a_key_needs_its_domain(jmap: Jmap) -> None:
    body = {"@type": ED25519, "domainId": "zzzzz", "selector": "one", "privateKey": secret()}
    assert (await jmap.refusal("DkimSignature", **body))["type"] == "invalidForeignKey"


# -- roles -----------------------------------------------------------------------------------------


async def test_the_ordinary_users_roles_stand_in_the_settings(jmap: Jmap) -> None:
    (settings,) = (await jmap.ok("x:Authentication/get", ids=["singleton"]))["list"]
    (role,) = settings["defaultUserRoleIds"]
    assert (await jmap.get("Role", role))["description"] == "User"


async def test_a_roles_description_is_not_unique_and_its_filter_finds_by_words(jmap: Jmap, slug: str) -> None:
    """So what is found is compared again."""
    mark = f"dezky:{slug}:5a0c3c5e-6f4f:role"
    made = {(await jmap.make("Role", description=mark))["id"] for _ in range(2)}
    other = (await jmap.make("Role", description=f"{mark} of another"))["id"]
    found = {role["id"] for role in await jmap.find("Role", description=mark)}
    assert found == made | {other}


async def test_a_parent_that_is_not_there_is_refused(jmap: Jmap, slug: str) -> None:
    assert (await jmap.refusal("Role", description=slug, roleIds={"zzzzz": True}))["type"] == "invalidForeignKey"


async def test_a_role_in_use_stays(jmap: Jmap, slug: str) -> None:
    role = (await jmap.make("Role", description=slug))["id"]
    child = (await jmap.make("Role", description=f"{slug} child", roleIds={role: True}))["id"]
    domain = await domain_of(jmap, slug)
    roles = {"@type": "Custom", "roleIds": {role: True}}
    anna = (await jmap.make("Account", **user(domain, "anna", roles=roles)))["id"]
    error = await jmap.destroy("Role", role)
    assert error is not None
    links = {(link["object"], link["id"]) for link in error["linkedObjects"]}
    assert links == {("Role", child), ("Account", anna)}


async def test_one_permission_is_put_and_taken_by_a_pointer(jmap: Jmap, slug: str) -> None:
    role = (await jmap.make("Role", description=slug))["id"]
    for value, left in ((True, {"authenticate": True}), (True, {"authenticate": True}), (False, {}), (None, {})):
        assert await jmap.patch("Role", role, {"disabledPermissions/authenticate": value}) is None
        assert (await jmap.get("Role", role))["disabledPermissions"] == left


# -- accounts and lists --------------------------------------------------------------------------------


async def test_an_address_belongs_to_one_account_list_or_alias(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    alias = {"0": {"name": "a.nna", "domainId": domain, "enabled": True}}
    anna = (await jmap.make("Account", **user(domain, "anna", aliases=alias)))["id"]
    for body in (user(domain, "anna"), user(domain, "ANNA"), user(domain, "an na"), user(domain, "a.nna")):
        error = await jmap.refusal("Account", **body)
        assert error["type"] == "primaryKeyViolation", body
        assert (error["properties"], error["objectId"]) == (["email"], {"object": "Account", "id": anna})
    assert (await jmap.refusal("MailingList", name="anna", domainId=domain))["objectId"]["id"] == anna


async def test_a_list_takes_an_address_from_accounts(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    everybody = (await jmap.make("MailingList", name="all", domainId=domain))["id"]
    error = await jmap.refusal("Account", **user(domain, "all"))
    assert error["objectId"] == {"object": "MailingList", "id": everybody}


async def test_a_role_that_is_not_there_looks_like_a_moments_trouble(jmap: Jmap, slug: str) -> None:
    """It never passes: so tries are counted, and the next round looks at the role."""
    domain = await domain_of(jmap, slug)
    roles = {"@type": "Custom", "roleIds": {"zzzzz": True}}
    assert (await jmap.refusal("Account", **user(domain, "anna", roles=roles)))["type"] == "serverUnavailable"


async def test_an_account_needs_its_domain(jmap: Jmap) -> None:
    assert (await jmap.refusal("Account", **user("zzzzz", "anna")))["type"] == "invalidForeignKey"


async def test_accounts_are_found_by_their_domain_and_by_their_exact_name(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    anna = (await jmap.make("Account", **user(domain, "anna")))["id"]
    bob = (await jmap.make("Account", **user(domain, "bob")))["id"]
    assert {one["id"] for one in await jmap.find("Account", domainId=domain)} == {anna, bob}
    assert [one["id"] for one in await jmap.find("Account", domainId=domain, name="anna")] == [anna]
    assert await jmap.find("Account", domainId=domain, name="Anna") == []
    assert (await jmap.get("Account", anna))["emailAddress"] == f"anna@{slug}.test"


async def test_a_list_is_found_by_its_own_words_and_not_by_its_domain(jmap: Jmap, slug: str) -> None:
    """So whoever wants the lists of a domain reads all lists."""
    domain = await domain_of(jmap, slug)
    body: dict[str, Any] = {"description": "Everybody", "recipients": {f"anna@else{slug}.local": True}}
    made = (await jmap.make("MailingList", name=f"all{slug}", domainId=domain, **body))["id"]
    for text in (f"all{slug}", f"else{slug}"):
        assert [one["id"] for one in await jmap.find("MailingList", text=text)] == [made], text
    for text in (slug, f"{slug}.test"):
        assert made not in {one["id"] for one in await jmap.find("MailingList", text=text)}, text
    assert made in {one["id"] for one in await jmap.find("MailingList")}


async def test_a_text_filter_skips_words_that_nothing_has_until_one_is_known(jmap: Jmap, slug: str) -> None:
    """A superset, or everything: what is found is always compared again."""
    role = (await jmap.make("Role", description=f"{slug} people"))["id"]
    for text, found in (
        (f"nothing{slug} {slug}", True),
        (f"{slug} nothing{slug}", False),
        (f"{slug} x people", True),
        (f"{slug.upper()}: People!", True),
    ):
        assert (role in {one["id"] for one in await jmap.find("Role", description=text)}) is found, text


async def test_an_account_can_not_be_written_back_as_it_was_read(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    credentials = {"0": {"@type": "Password", "secret": f"Long-enough-{slug}-{slug}"}}
    anna = (await jmap.make("Account", **user(domain, "anna", credentials=credentials)))["id"]
    shown = (await jmap.get("Account", anna))["credentials"]
    assert shown["0"]["secret"] == "****"
    error = await jmap.patch("Account", anna, {"credentials": shown})
    assert error is not None
    assert (error["type"], error["properties"]) == ("invalidPatch", ["credentials/credentialId"])


async def test_a_weak_password_is_refused(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    credentials = {"0": {"@type": "Password", "secret": "hunter2"}}
    error = await jmap.refusal("Account", **user(domain, "anna", credentials=credentials))
    assert (error["type"], error["properties"]) == ("invalidProperties", ["secret"])


async def test_a_permission_can_not_be_patched_into_an_account_that_inherits(jmap: Jmap, slug: str) -> None:
    anna = (await jmap.make("Account", **user(await domain_of(jmap, slug), "anna")))["id"]
    error = await jmap.patch("Account", anna, {"permissions/disabledPermissions/authenticate": True})
    assert error is not None
    assert (error["type"], error["description"]) == ("invalidPatch", "Invalid JSON Pointer path")
    whole = {"@type": "Merge", "disabledPermissions": {"authenticate": True}}
    assert await jmap.patch("Account", anna, {"permissions": whole}) is None


async def test_quotas_are_replaced_as_a_whole(jmap: Jmap, slug: str) -> None:
    quotas = {"maxDiskQuota": 100, "maxEmails": 5}
    anna = (await jmap.make("Account", **user(await domain_of(jmap, slug), "anna", quotas=quotas)))["id"]
    assert await jmap.patch("Account", anna, {"quotas": {"maxDiskQuota": 200}}) is None
    assert (await jmap.get("Account", anna))["quotas"] == {"maxDiskQuota": 200}


async def test_a_group_with_members_stays(jmap: Jmap, slug: str) -> None:
    domain = await domain_of(jmap, slug)
    group = (await jmap.make("Account", **{"@type": "Group", "name": "team", "domainId": domain}))["id"]
    anna = (await jmap.make("Account", **user(domain, "anna", memberGroupIds={group: True})))["id"]
    error = await jmap.destroy("Account", group)
    assert error is not None
    assert error["linkedObjects"] == [{"object": "Account", "id": anna}]
