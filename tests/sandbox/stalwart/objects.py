"""Stalwart's objects: ids, indexes, links and the work that follows a write (facts/stalwart.md 2, 11)."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.sandbox.stalwart.checks import MASKED, Checks, Grants
from tests.sandbox.stalwart.errors import SetError, bad_patch, linked
from tests.sandbox.stalwart.ids import decode, encode
from tests.sandbox.stalwart.keys import pem
from tests.sandbox.stalwart.permissions import DEFAULT_ROLES, Rights
from tests.sandbox.stalwart.records import created, patched, required
from tests.sandbox.stalwart.shapes import copied
from tests.sandbox.stalwart.zone import zone_file

Record = dict[str, Any]
SEQUENTIAL = {"Domain", "Account", "Role"}
SECONDARY = ("ApiKey", "AppPassword")
TASK_DELAY = 0.1
"""Seconds until the worker has made the keys of a domain: a create's answer comes first."""
SINGLETONS: dict[str, Record] = {
    "Authentication": {
        "directoryId": None,
        "defaultUserRoleIds": {"b": True},
        "defaultGroupRoleIds": {"c": True},
        "defaultTenantRoleIds": {"d": True, "b": True},
        "defaultAdminRoleIds": {"e": True, "b": True},
        "maxApiKeys": 5,
        "maxAppPasswords": 5,
    },
    "SystemSettings": {"defaultDomainId": "b", "defaultHostname": "mail.dezky.test"},
    "Http": {
        "rateLimitAuthenticated": {"count": 1000, "period": 60_000},
        "rateLimitAnonymous": {"count": 100, "period": 60_000},
    },
    "Security": {"authBanRate": {"count": 100, "period": 86_400_000}},
}
DEFAULT_THROTTLES: tuple[Record, ...] = (
    {"description": "Sender IP throttle", "key": {"remoteIp": True}, "rate": {"count": 5, "period": 1000}},
    {
        "description": "Sender address to recipient throttle",
        "key": {"senderDomain": True, "rcpt": True},
        "rate": {"count": 25, "period": 3_600_000},
    },
)


class Objects:
    """All objects, by type and id."""

    def __init__(self, *, hostname: str, clock: Callable[[], float] = time.time) -> None:
        self.hostname, self._clock = hostname, clock
        self.by_type: dict[str, dict[str, Record]] = defaultdict(dict)
        self.singletons = {name: {"id": "singleton", **copied(value)} for name, value in SINGLETONS.items()}
        self.names: dict[str, str] = {}
        """Domain names and aliases share one space."""
        self.addresses: dict[str, tuple[str, str]] = {}
        """Addresses of accounts, groups and lists share one space too; aliases included."""
        self.under: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        """(type, domain id) -> ids."""
        self.words: dict[str, dict[str, None]] = defaultdict(dict)
        """Words of role descriptions -> role ids."""
        self.mail: dict[str, list[bytes]] = defaultdict(list)
        """Messages by account id."""
        self.rights = Rights(self.by_type["Role"], self.singletons["Authentication"])
        self.directory_rules: Callable[[], bool] = lambda: False
        """Whether a directory outside knows the passwords; the settings in force tell."""
        self._checks = Checks(self)
        self._last: dict[str, int] = defaultdict(int)
        self._snowflake = 342_282_590_291_531_776
        self._tasks: list[tuple[float, str]] = []
        for description, permissions in DEFAULT_ROLES.items():
            self.create("Role", {"description": description, "enabledPermissions": dict.fromkeys(permissions, True)})
        self.create("Domain", {"name": "dezky.test", "dkimManagement": {"@type": "Manual"}})
        for throttle in DEFAULT_THROTTLES:
            self.create("MtaInboundThrottle", throttle)

    # -- set --------------------------------------------------------------------------

    def create(self, kind: str, body: Record, grants: Grants = None) -> Record:
        """Make an object for a caller who may grant ``grants``. Raises SetError, or MethodError for the whole call."""
        record = created(kind, body)
        required(kind, record)
        self._checks.check(kind, record, None, grants)
        record["id"] = self._next(kind)
        record["createdAt"] = self.now_text()
        self._add(kind, record)
        self._follow(kind, record, None)
        return record

    def update(self, kind: str, key: str, patch: Record, grants: Grants = None) -> None:
        """A JMAP patch with pointers. Raises as :meth:`create`."""
        record = self.by_type[kind].get(key)
        if record is None:
            raise SetError("notFound")
        before = copied(record)
        changed = patched(kind, record, patch)
        required(kind, changed)
        self._checks.check(kind, changed, before, grants)
        self._remove(kind, record)
        record.clear()
        record.update(changed)
        self._add(kind, record)
        self._follow(kind, record, before)
        if kind == "Account" and "credentials" in patch:
            self._forget_keys(key)  # they are members of the same list, and it was replaced as a whole

    def destroy(self, kind: str, key: str) -> None:
        """Destroy an object that nothing is linked to. Raises SetError."""
        record = self.by_type[kind].get(key)
        if record is None:
            raise SetError("notFound")
        if links := self._links(kind, key):
            raise SetError("objectIsLinked", objectId=linked(kind, key), linkedObjects=links)
        self._remove(kind, record)
        if kind == "Account":
            self.mail.pop(key, None)
            self._forget_keys(key)

    def update_singleton(self, kind: str, patch: Record) -> None:
        """Change settings. Raises SetError."""
        settings = self.singletons[kind]
        for pointer, value in patch.items():
            key, *path = pointer.split("/")
            if key not in settings or key == "id":
                raise bad_patch("Invalid key for object", key)
            target = settings
            for part in (key, *path)[:-1]:
                target = target[part]
            target[(key, *path)[-1]] = copied(value)

    # -- get ----------------------------------------------------------------------------

    def shown(self, kind: str, record: Record, wanted: Iterable[str] | None = None) -> Record:
        """What a get answers: secrets masked, computed properties added."""
        out: Record = copied({key: value for key, value in record.items() if not key.startswith("_")})
        if kind == "Domain" and (wanted is None or "dnsZoneFile" in wanted):
            out["dnsZoneFile"] = self.zone(record)
        if kind == "DkimSignature":
            out["privateKey"] = {"@type": "Text", "secret": MASKED}
        if kind == "WebHook" and "secret" in out.get("signatureKey", {}):
            out["signatureKey"] = {**out["signatureKey"], "secret": MASKED}
        if kind in {"Account", "MailingList"}:
            out["emailAddress"] = self.address(record)
        if kind == "Account":
            out["usedDiskQuota"] = self.used(record["id"])
            for credential in out.get("credentials", {}).values():
                credential["secret"] = MASKED
        if kind in SECONDARY:
            out["secret"] = MASKED
            del out["accountId"]
        if wanted is None:
            return out
        return {key: value for key, value in out.items() if key in {"id", *wanted}}

    def address(self, record: Record) -> str:
        """The address of an account or list."""
        return f"{record['name']}@{self.by_type['Domain'][record['domainId']]['name']}"

    def zone(self, domain: Record) -> str:
        """The zone file, keys of every stage first."""
        keys = [self.by_type["DkimSignature"][key] for key in self.under["DkimSignature", domain["id"]]]
        return zone_file(domain["name"], self.hostname, keys)

    def used(self, account: str) -> int:
        """Bytes of mail in a mailbox."""
        return sum(map(len, self.mail.get(account, ())))

    def now_text(self) -> str:
        """The time as objects carry it."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))

    # -- ids ------------------------------------------------------------------------------

    def next_credential(self, account: Record) -> str:
        """Passwords, app passwords and keys of one account are numbered together."""
        own = [credential.get("credentialId") for credential in account["credentials"].values()]
        own += [key["id"] for kind in SECONDARY for key in self.keys_of(kind, account.get("id", ""))]
        taken = [decode(name) for name in own if name]
        return encode(max(taken, default=0) + 1) if "id" in account else encode(len(taken))

    def keys_of(self, kind: str, account: str) -> list[Record]:
        """The app passwords or API keys of one account."""
        return [key for key in self.by_type[kind].values() if key["accountId"] == account]

    def _next(self, kind: str) -> str:
        """Numbers in order, never used again, for the types that have them; snowflakes for the others."""
        if kind in SEQUENTIAL:
            self._last[kind] += 1
            return encode(self._last[kind])
        self._snowflake += 1
        return encode(self._snowflake)

    # -- links and work ----------------------------------------------------------------------

    def _links(self, kind: str, key: str) -> list[dict[str, str]]:
        """Everything that would point to nothing; all of it, not only the first."""
        accounts = self.by_type["Account"].values()
        if kind == "Domain":
            links = [linked(other, found) for other in ("Account", "MailingList") for found in self._in(other, key)]
            links += [linked("DkimSignature", found) for found in self.under["DkimSignature", key]]
            default = self.singletons["SystemSettings"]["defaultDomainId"] == key
            return links + ([linked("SystemSettings", "singleton")] if default else [])
        if kind == "Role":
            links = [linked("Account", one["id"]) for one in accounts if key in one["roles"].get("roleIds", {})]
            links += [linked("Role", one["id"]) for one in self.by_type["Role"].values() if key in one["roleIds"]]
            settings = self.singletons["Authentication"]
            default = any(key in settings[f"default{which}RoleIds"] for which in ("User", "Group", "Tenant", "Admin"))
            return links + ([linked("Authentication", "singleton")] if default else [])
        if kind == "Account":
            return [linked("Account", one["id"]) for one in accounts if key in one.get("memberGroupIds", {})]
        used = kind == "Directory" and self.singletons["Authentication"]["directoryId"] == key
        return [linked("Authentication", "singleton")] if used else []

    def _in(self, kind: str, domain: str) -> list[str]:
        aliased = [
            key
            for key, one in self.by_type[kind].items()
            if one["domainId"] != domain and any(alias["domainId"] == domain for alias in one["aliases"].values())
        ]
        return [*self.under[kind, domain], *aliased]

    def _follow(self, kind: str, record: Record, before: Record | None) -> None:
        """A domain whose keys become automatic gets them from a worker, a moment later."""
        if kind == "Domain" and _has_automatic_keys(record) and not (before and _has_automatic_keys(before)):
            self._tasks.append((self._clock() + TASK_DELAY, record["id"]))

    def work(self) -> list[Record]:
        """Do the tasks that are due; the signing keys made. Keys that somebody destroyed are not made again."""
        made: list[Record] = []
        due = [domain for at, domain in self._tasks if at <= self._clock()]
        self._tasks = [task for task in self._tasks if task[0] > self._clock()]
        for key in due:
            domain = self.by_type["Domain"].get(key)
            if domain and _has_automatic_keys(domain):
                made += self._automatic_keys(domain)
        return made

    def _automatic_keys(self, domain: Record) -> Iterator[Record]:
        """Active at once: mail is signed before anybody can have published the record."""
        day = time.strftime("%Y%m%d", time.gmtime(self._clock()))
        for algorithm, kind in (("rsa", "Dkim1RsaSha256"), ("ed25519", "Dkim1Ed25519Sha256")):
            body = {"@type": kind, "domainId": domain["id"], "selector": f"v1-{algorithm}-{day}"}
            yield self.create("DkimSignature", {**body, "privateKey": {"@type": "Text", "secret": pem(kind)}})

    def _forget_keys(self, account: str) -> None:
        for kind in SECONDARY:
            for record in self.keys_of(kind, account):
                del self.by_type[kind][key_name(record)]

    # -- indexes --------------------------------------------------------------------------

    def addresses_of(self, record: Record) -> list[str]:
        """The address and the aliases of an account or list."""
        domains = self.by_type["Domain"]
        own = [(record["name"], record["domainId"])]
        own += [(alias["name"], alias["domainId"]) for alias in record["aliases"].values()]
        return [f"{name}@{domains[domain]['name']}" for name, domain in own if domain in domains]

    def _add(self, kind: str, record: Record) -> None:
        self.by_type[kind][record["id"]] = record
        if kind == "Domain":
            self.names |= dict.fromkeys([record["name"], *record["aliases"]], record["id"])
        if kind in {"Account", "MailingList"}:
            self.addresses |= dict.fromkeys(self.addresses_of(record), (kind, record["id"]))
        if "domainId" in record:
            self.under[kind, record["domainId"]][record["id"]] = None
        if kind == "Role":
            for word in words(record["description"]):
                self.words[word][record["id"]] = None

    def _remove(self, kind: str, record: Record) -> None:
        del self.by_type[kind][record["id"]]
        if kind == "Domain":
            for name in (record["name"], *record["aliases"]):
                self.names.pop(name, None)
        if kind in {"Account", "MailingList"}:
            for address in self.addresses_of(record):
                self.addresses.pop(address, None)
        if "domainId" in record:
            self.under[kind, record["domainId"]].pop(record["id"], None)
        if kind == "Role":
            for word in words(record["description"]):
                self.words[word].pop(record["id"], None)


def _has_automatic_keys(domain: Record) -> bool:
    return bool(domain["dkimManagement"]["@type"] == "Automatic")


def key_name(record: Record) -> str:
    """Where a key or app password is kept: its id is unique inside its account only."""
    return f"{record['accountId']}/{record['id']}"


def words(text: str | None) -> list[str]:
    """How a text filter cuts: by everything that is neither letter nor digit, without case; single signs are lost."""
    return [word for word in re.findall(r"[^\W_]+", (text or "").lower()) if len(word) > 1]
