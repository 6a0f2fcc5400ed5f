"""Who gets in and which mail is taken, and how one is told from another (facts/stalwart.md 4, 11.5, 11.6, 11.8)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.jmap import Jmap, eventually
from tests.acceptance.postbox import Postbox
from tests.acceptance.targets import Mail, basic

LOCKED = {"disabledPermissions/authenticate": True}
OPEN = {"disabledPermissions/authenticate": False}


@dataclass(frozen=True, slots=True)
class Anna:
    """An account with a password, whose role can be locked."""

    id: str
    address: str
    password: str
    domain: str
    role: str


@pytest.fixture
def postbox(stalwart: Mail) -> Postbox:
    return Postbox(stalwart.smtp, stalwart.submission, stalwart.imap)


@pytest.fixture
async def anna(jmap: Jmap, slug: str) -> Anna:
    (settings,) = (await jmap.ok("x:Authentication/get", ids=["singleton"]))["list"]
    role = (await jmap.make("Role", description=f"{slug} users", roleIds=settings["defaultUserRoleIds"]))["id"]
    domain = (await jmap.make("Domain", name=f"{slug}.test", dkimManagement={"@type": "Manual"}))["id"]
    password = secrets.token_urlsafe(18)
    body: dict[str, Any] = {
        "@type": "User",
        "name": "anna",
        "domainId": domain,
        "roles": {"@type": "Custom", "roleIds": {role: True}},
        "credentials": {"0": {"@type": "Password", "secret": password}},
    }
    made = await jmap.make("Account", **body)
    return Anna(made["id"], f"anna@{slug}.test", password, domain, role)


async def status(stalwart: Mail, user: str, password: str) -> int:
    """What management answers to somebody's log-in."""
    async with stalwart.web.client(basic(user, password)) as http:
        return (await http.get("/api/account")).status_code


# -- delivery --------------------------------------------------------------------------------


async def test_mail_for_a_mailbox_is_taken(anna: Anna, postbox: Postbox) -> None:
    said = await postbox.recipient(anna.address)
    assert (said.code, said.text) == (250, "2.1.5 OK")


async def test_mail_for_nobody_is_refused_at_once(anna: Anna, postbox: Postbox) -> None:
    said = await postbox.recipient(anna.address.replace("anna", "nobody"))
    assert (said.code, said.text) == (550, "5.1.2 Mailbox does not exist.")


async def test_mail_for_a_foreign_domain_is_not_relayed(slug: str, postbox: Postbox) -> None:
    said = await postbox.recipient(f"anna@{slug}-nowhere.test")
    assert (said.code, said.text) == (550, "5.1.2 Relay not allowed.")


async def test_a_domain_switched_off_still_takes_mail_and_lets_people_in(
    jmap: Jmap, stalwart: Mail, anna: Anna, postbox: Postbox
) -> None:
    """Which is why it is never used to suspend."""
    assert await jmap.patch("Domain", anna.domain, {"isEnabled": False}) is None
    assert (await postbox.recipient(anna.address)).code == 250
    assert await status(stalwart, anna.address, anna.password) == 200


async def test_a_destroyed_mailbox_refuses_mail_at_once(jmap: Jmap, anna: Anna, postbox: Postbox) -> None:
    assert (await postbox.recipient(anna.address)).code == 250
    assert await jmap.destroy("Account", anna.id) is None
    assert (await postbox.recipient(anna.address)).code == 550


async def test_an_account_without_a_credential_takes_mail(jmap: Jmap, anna: Anna, postbox: Postbox) -> None:
    roles = {"@type": "Custom", "roleIds": {anna.role: True}}
    body: dict[str, Any] = {"@type": "User", "name": "bob", "domainId": anna.domain, "roles": roles}
    await jmap.make("Account", **body)
    assert (await postbox.recipient(anna.address.replace("anna", "bob"))).code == 250


# -- log-in ------------------------------------------------------------------------------------


async def test_the_right_password_opens_every_door(stalwart: Mail, anna: Anna, postbox: Postbox) -> None:
    assert await status(stalwart, anna.address, anna.password) == 200
    assert (await postbox.submit(anna.address, anna.password)).code == 235
    assert await postbox.read(anna.address, anna.password) == "OK"


async def test_a_wrong_password_is_told_from_a_lock(jmap: Jmap, stalwart: Mail, anna: Anna, postbox: Postbox) -> None:
    """C024: 401, 535 and NO are a wrong password; 403, 550 and silence are a suspension."""
    for lock in (False, True):
        if lock:
            assert await jmap.patch("Role", anna.role, LOCKED) is None
        assert await status(stalwart, anna.address, "wrong") == 401
        said = await postbox.submit(anna.address, "wrong")
        assert (said.code, said.text) == (535, "5.7.8 Authentication credentials invalid.")
        assert await postbox.read(anna.address, "wrong") == "NO"
    assert await status(stalwart, anna.address, anna.password) == 403
    said = await postbox.submit(anna.address, anna.password)
    assert (said.code, said.text) == (550, "5.7.1 Your account is not authorized to use this service.")
    assert await postbox.read(anna.address, anna.password) == "closed"


async def test_a_locked_mailbox_takes_mail_and_has_it_when_it_is_opened(
    jmap: Jmap, stalwart: Mail, anna: Anna, postbox: Postbox
) -> None:
    """C024: suspension loses no mail."""
    assert await jmap.patch("Role", anna.role, LOCKED) is None
    assert (await postbox.recipient(anna.address)).code == 250
    assert (await postbox.deliver(anna.address, "while you were away")).code == 250

    async def stored() -> bool:
        return bool((await jmap.get("Account", anna.id))["usedDiskQuota"])

    await eventually(stored, "the message never arrived", within=30)
    assert await jmap.patch("Role", anna.role, OPEN) is None
    assert await status(stalwart, anna.address, anna.password) == 200
    assert await postbox.read(anna.address, anna.password) == "OK"


async def test_a_lock_of_a_parent_or_of_one_role_among_many_is_enough(
    jmap: Jmap, stalwart: Mail, slug: str, anna: Anna
) -> None:
    parent = (await jmap.make("Role", description=f"{slug} parent", disabledPermissions={"authenticate": True}))["id"]
    child = (await jmap.make("Role", description=f"{slug} child", roleIds={parent: True}))["id"]
    roles = {"@type": "Custom", "roleIds": {anna.role: True, child: True}}
    assert await jmap.patch("Account", anna.id, {"roles": roles}) is None
    assert await status(stalwart, anna.address, anna.password) == 403


async def test_a_lock_by_merged_permissions_of_one_account_works_too(jmap: Jmap, stalwart: Mail, anna: Anna) -> None:
    merged = {"@type": "Merge", "disabledPermissions": {"authenticate": True}}
    assert await jmap.patch("Account", anna.id, {"permissions": merged}) is None
    assert await status(stalwart, anna.address, anna.password) == 403


# -- keys -----------------------------------------------------------------------------------------


async def key_of(jmap: Jmap, account: str, name: str = "one") -> dict[str, Any]:
    """An API key, made by the administrator in an account's name."""
    body: dict[str, Any] = {"description": name, "permissions": {"@type": "Inherit"}, "allowedIps": {}}
    return await jmap.make("ApiKey", account=account, **body)


async def test_a_key_opens_management_and_nothing_else(
    jmap: Jmap, stalwart: Mail, anna: Anna, postbox: Postbox
) -> None:
    made = await key_of(jmap, anna.id)
    async with stalwart.web.client(f"Bearer {made['secret']}") as http:
        assert (await http.get("/api/account")).status_code == 200
    assert await status(stalwart, anna.address, made["secret"]) == 401
    assert (await postbox.submit(anna.address, made["secret"])).code == 535
    assert await postbox.read(anna.address, made["secret"]) == "NO"


async def test_a_key_ends_with_its_role_and_with_itself(jmap: Jmap, stalwart: Mail, anna: Anna) -> None:
    made = await key_of(jmap, anna.id)
    async with stalwart.web.client(f"Bearer {made['secret']}") as http:
        assert await jmap.patch("Role", anna.role, LOCKED) is None
        assert (await http.get("/api/account")).status_code == 403
        assert await jmap.patch("Role", anna.role, OPEN) is None
        assert (await http.get("/api/account")).status_code == 200
        gone = await jmap.ok("x:ApiKey/set", accountId=anna.id, destroy=[made["id"]])
        assert gone["destroyed"] == [made["id"]]
        assert (await http.get("/api/account")).status_code == 401


async def test_an_account_has_five_keys_at_most(jmap: Jmap, anna: Anna) -> None:
    for number in range(5):
        await key_of(jmap, anna.id, f"k{number}")
    body = {"description": "sixth", "permissions": {"@type": "Inherit"}, "allowedIps": {}}
    answer = await jmap.ok("x:ApiKey/set", accountId=anna.id, create={"k": body})
    assert answer["notCreated"]["k"]["type"] == "overQuota"


async def test_the_secret_of_a_key_is_shown_once(jmap: Jmap, anna: Anna) -> None:
    made = await key_of(jmap, anna.id)
    (shown,) = (await jmap.ok("x:ApiKey/get", accountId=anna.id, ids=None))["list"]
    assert shown["id"] == made["id"]
    assert made["secret"] not in str(shown)


async def test_an_ordinary_user_may_not_manage(jmap: Jmap, stalwart: Mail, anna: Anna) -> None:
    made = await key_of(jmap, anna.id)
    async with stalwart.web.client(f"Bearer {made['secret']}") as http:
        name, error = await Jmap(http).call("x:Domain/set", create={"d": {"name": "somebody.test"}})
    assert (name, error["type"]) == ("error", "forbidden")


# -- settings ---------------------------------------------------------------------------------------


def throttle(name: str, **more: Any) -> dict[str, Any]:
    """Holds mail back for the domain of this name. The rate is one that nobody has used yet."""
    rate = {"count": 1, "period": 315360000000 + secrets.randbelow(10**9)}
    return {"description": name, "key": {}, "match": {"else": f"rcpt_domain = '{name}.test'"}, "rate": rate, **more}


async def test_a_setting_acts_after_a_reload_and_holds_back_all_but_the_first_message(
    jmap: Jmap, slug: str, anna: Anna, postbox: Postbox
) -> None:
    """C025: the throttle that `Hold` is made of."""
    made = (await jmap.make("MtaInboundThrottle", **throttle(slug)))["id"]
    assert [(await postbox.recipient(anna.address)).code for _ in range(2)] == [250, 250], "only stored as yet"
    await jmap.reload()
    assert (await postbox.recipient(anna.address)).code == 250
    held = await postbox.hold(anna.address)
    assert (held.code, held.text) == (452, "4.4.5 Rate limit exceeded, try again later.")
    assert await jmap.destroy("MtaInboundThrottle", made) is None
    assert (await postbox.hold(anna.address)).code == 452, "removed, but not reloaded"
    await jmap.reload()
    assert (await postbox.recipient(anna.address)).code == 250


async def test_throttles_of_one_rate_share_one_count_unless_their_key_tells_domains_apart(
    jmap: Jmap, slug: str, anna: Anna, postbox: Postbox
) -> None:
    """Otherwise the first message for one tenant uses up that of all others."""
    other = anna.address.replace(slug, f"{slug}b")
    domain = (await jmap.make("Domain", name=f"{slug}b.test", dkimManagement={"@type": "Manual"}))["id"]
    roles = {"@type": "Custom", "roleIds": {anna.role: True}}
    await jmap.make("Account", **{"@type": "User", "name": "anna", "domainId": domain, "roles": roles})
    for key, second in (({}, 452), ({"rcptDomain": True}, 250)):
        rate = throttle(slug)["rate"]
        made = [
            (await jmap.make("MtaInboundThrottle", **throttle(name, key=key, rate=rate)))["id"]
            for name in (slug, f"{slug}b")
        ]
        await jmap.reload()
        assert (await postbox.recipient(anna.address)).code == 250
        assert (await postbox.hold(other)).code == second, key
        for one in made:
            assert await jmap.destroy("MtaInboundThrottle", one) is None


async def test_a_throttle_of_nothing_at_all_is_refused(jmap: Jmap, slug: str) -> None:
    body = throttle(slug, rate={"count": 0, "period": 1000})
    assert (await jmap.refusal("MtaInboundThrottle", **body))["type"] == "validationFailed"
