"""Stalwart's objects: ids, defaults, uniqueness, links and zone files (facts/stalwart.md 2, 11)."""

from __future__ import annotations

import base64
import re
import time
from collections import defaultdict
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.sandbox.stalwart.keys import pem

Record = dict[str, Any]
ALPHABET = "abcdefghijklmnopqrstuvwxyz792013"
SEQUENTIAL = {"Domain", "Account", "Role"}
TLDS = {"test", "localhost", "local", "internal", "com", "net", "org", "eu", "de", "at", "fr", "nl", "uk"}
DEFAULTS: dict[str, Record] = {
    "Domain": {
        "aliases": {},
        "isEnabled": True,
        "description": None,
        "catchAllAddress": None,
        "allowRelaying": False,
        "certificateManagement": {"@type": "Manual"},
        "dkimManagement": {"@type": "Automatic"},
        "dnsManagement": {"@type": "Manual"},
        "subAddressing": {"@type": "Enabled"},
        "reportAddressUri": "mailto:postmaster",
    },
    "Role": {
        "description": "",
        "roleIds": {},
        "enabledPermissions": {},
        "disabledPermissions": {},
        "memberTenantId": None,
    },
    "Account": {
        "@type": "User",
        "description": None,
        "aliases": {},
        "roles": {"@type": "User"},
        "permissions": {"@type": "Inherit"},
        "encryptionAtRest": {"@type": "Disabled"},
        "quotas": {},
        "credentials": {},
        "memberGroupIds": {},
        "locale": "en_US",
    },
    "MailingList": {"recipients": {}, "aliases": {}, "description": None},
    "DkimSignature": {"stage": "active", "canonicalization": "relaxed/relaxed", "nextTransitionAt": None},
    "ApiKey": {"description": "", "permissions": {"@type": "Inherit"}, "allowedIps": {}, "expiresAt": None},
    "AllowedIp": {"address": "", "reason": None},
    "Directory": {},
    "WebHook": {"url": "", "enable": True, "events": {}, "eventsPolicy": "exclude"},
    "MtaInboundThrottle": {"description": "", "key": {}, "match": {}, "rate": {}},
}
SINGLETONS: dict[str, Record] = {
    "Authentication": {
        "directoryId": None,
        "defaultUserRoleIds": {"b": True},
        "defaultGroupRoleIds": {"c": True},
        "defaultTenantRoleIds": {"d": True},
        "defaultAdminRoleIds": {"e": True},
    },
    "SystemSettings": {"defaultDomainId": "b", "defaultHostname": "mail.dezky.test"},
    "Http": {"rateLimitAuthenticated": {"count": 1000, "period": 60000}},
}


class SetError(Exception):
    """An object-level error of a set call."""

    def __init__(self, kind: str, **more: Any) -> None:
        super().__init__(kind)
        self.error = {"type": kind, **more}


def encode(number: int) -> str:
    """A number as JMAP writes it: base32 without padding, the lowest letter for 0."""
    text = ""
    while True:
        text = ALPHABET[number & 31] + text
        number >>= 5
        if number == 0:
            return text


def decode(text: str) -> int:
    """The number of an id."""
    number = 0
    for letter in text:
        number = number << 5 | ALPHABET.index(letter)
    return number


class Objects:
    """All objects, by type and id."""

    def __init__(self, *, hostname: str) -> None:
        self.hostname = hostname
        self.by_type: dict[str, dict[str, Record]] = defaultdict(dict)
        self.singletons = {name: {"id": "singleton", **value} for name, value in SINGLETONS.items()}
        self.names: dict[str, str] = {}
        """Domain names and aliases share one space."""
        self.addresses: dict[str, tuple[str, str]] = {}
        """Addresses of accounts and lists share one space too; aliases included."""
        self.under: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        """(type, domain id) -> ids."""
        self.words: dict[str, dict[str, None]] = defaultdict(dict)
        """Words of role descriptions -> role ids."""
        self.mail: dict[str, list[bytes]] = defaultdict(list)
        self._last: dict[str, int] = defaultdict(int)
        self._snowflake = 342_282_590_291_531_776
        for description in ("User", "Group", "Tenant Administrator", "System Administrator"):
            self.create("Role", {"description": description})
        self.create("Domain", {"name": "dezky.test", "dkimManagement": {"@type": "Manual"}})

    # -- set --------------------------------------------------------------------------

    def create(self, kind: str, body: Record) -> Record:
        """Make an object. Raises SetError."""
        record = {**_copy(DEFAULTS.get(kind, {})), **body}
        self._check(kind, record, body)
        record["id"] = self._next(kind)
        record["createdAt"] = "2026-11-24T00:00:00Z"
        self._add(kind, record)
        if kind == "Domain" and record["dkimManagement"]["@type"] == "Automatic":
            self._automatic_keys(record)
        return record

    def update(self, kind: str, key: str, patch: Record) -> None:
        """A JMAP patch with pointers. Raises SetError."""
        record = self.by_type[kind].get(key)
        if record is None:
            raise SetError("notFound")
        changed = _patched(record, patch, DEFAULTS.get(kind, {}))
        self._remove(kind, record)
        try:
            self._check(kind, changed, patch)
        except SetError:
            self._add(kind, record)
            raise
        record.clear()
        record.update(changed)
        self._add(kind, record)

    def destroy(self, kind: str, key: str) -> None:
        """Destroy an object that nothing is linked to. Raises SetError."""
        record = self.by_type[kind].get(key)
        if record is None:
            raise SetError("notFound")
        if links := self._links(kind, key):
            raise SetError("objectIsLinked", objectId={"object": kind, "id": key}, linkedObjects=links)
        self._remove(kind, record)
        if kind == "Account":
            self.mail.pop(self.address(record), None)

    # -- get ----------------------------------------------------------------------------

    def shown(self, kind: str, record: Record) -> Record:
        """What a get answers: secrets masked, computed properties added."""
        out: Record = _copy(record)
        out.pop("_secret", None)
        if kind == "Domain":
            out["dnsZoneFile"] = self.zone(record)
        if kind == "DkimSignature":
            out["privateKey"] = {"@type": "Text", "secret": "****"}
        if kind == "Account":
            out["emailAddress"] = self.address(record)
            out["usedDiskQuota"] = sum(map(len, self.mail.get(self.address(record), ())))
            for credential in out["credentials"].values():
                credential["secret"] = "****"
        return out

    def address(self, record: Record) -> str:
        """The address of an account or list."""
        return f"{record['name']}@{self.by_type['Domain'][record['domainId']]['name']}"

    def zone(self, domain: Record) -> str:
        """The zone file, keys of every stage first (facts/stalwart.md 11.2)."""
        name, host = domain["name"], self.hostname
        lines = [
            self._key_line(self.by_type["DkimSignature"][key], name)
            for key in self.under["DkimSignature", domain["id"]]
        ]
        lines += [
            f'{name}. IN TXT "v=spf1 mx -all"',
            f"{name}. IN MX 10 {host}.",
            f'_dmarc.{name}. IN TXT "v=DMARC1; p=reject; rua=mailto:postmaster@{name}"',
        ]
        for service, port in (
            ("caldavs", 443),
            ("carddavs", 443),
            ("jmap", 443),
            ("imaps", 993),
            ("pop3s", 995),
            ("submissions", 465),
        ):
            lines.append(f"_{service}._tcp.{name}. IN SRV 0 1 {port} {host}.")
        lines += [
            f"{label}.{name}. IN CNAME {host}." for label in ("mta-sts", "ua-auto-config", "autoconfig", "autodiscover")
        ]
        lines += [
            f'_mta-sts.{name}. IN TXT "v=STSv1; id=8140060606123217157"',
            f'_smtp._tls.{name}. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@{name}"',
        ]
        return "\n".join(lines) + "\n"

    def _key_line(self, key: Record, name: str) -> str:
        public = key["publicKey"]
        if key["@type"].startswith("Dkim1Ed25519"):
            return f'{key["selector"]}._domainkey.{name}. IN TXT "v=DKIM1; k=ed25519; h=sha256; p={public}"'
        text = f"v=DKIM1; k=rsa; h=sha256; p={public}"
        return f'{key["selector"]}._domainkey.{name}. IN TXT ( "{text[:255]}"\n    "{text[255:]}" )'

    # -- rules ---------------------------------------------------------------------------

    def _check(self, kind: str, record: Record, given: Record) -> None:
        if kind not in DEFAULTS:
            raise SetError("invalidPatch", description="Unknown object")
        for key, value in given.items():
            if isinstance(value, list):
                raise SetError("invalidPatch", description="Invalid value for object property", properties=[key])
        checks = {"Domain": self._check_domain, "Account": self._check_account, "DkimSignature": self._check_key}
        if check := checks.get(kind):
            check(record)
        if kind == "MailingList":
            self._check_address(record)
        if kind == "Role":
            missing = [role for role in record["roleIds"] if role not in self.by_type["Role"]]
            if missing:
                raise SetError("invalidForeignKey", objectId={"object": "Role", "id": missing[0]})

    def _check_domain(self, record: Record) -> None:
        name = record.get("name", "").lower().encode("idna").decode()
        record["name"] = name
        if "." not in name or name.endswith(".") or name.rpartition(".")[2] not in TLDS:
            raise SetError("invalidPatch", description="Invalid domain name", properties=["name"])
        for field, names in (("name", [name]), ("aliases", list(record["aliases"]))):
            for taken in names:
                if (other := self.names.get(taken)) and other != record.get("id"):
                    raise SetError(
                        "primaryKeyViolation", properties=[field], objectId={"object": "Domain", "id": other}
                    )

    def _check_account(self, record: Record) -> None:
        self._check_address(record)
        roles = record["roles"].get("roleIds", {}) if record["roles"]["@type"] == "Custom" else {}
        if any(role not in self.by_type["Role"] for role in roles):
            # Permanent, although it sounds like a moment's trouble (facts/stalwart.md 11.0.3).
            raise SetError("serverUnavailable")
        for credential in record["credentials"].values():
            if credential.get("@type") == "Password" and len(credential["secret"]) < 8:
                raise SetError("invalidProperties", properties=["secret"])

    def _check_address(self, record: Record) -> None:
        if record.get("domainId") not in self.by_type["Domain"]:
            raise SetError("invalidForeignKey", objectId={"object": "Domain", "id": record.get("domainId")})
        record["name"] = str(record["name"]).lower().replace(" ", "")
        for address in self._addresses_of(record):
            if (other := self.addresses.get(address)) and other[1] != record.get("id"):
                raise SetError(
                    "primaryKeyViolation", properties=["email"], objectId={"object": other[0], "id": other[1]}
                )

    def _check_key(self, record: Record) -> None:
        if record.get("domainId") not in self.by_type["Domain"]:
            raise SetError("invalidForeignKey", objectId={"object": "Domain", "id": record.get("domainId")})
        if "publicKey" in record:
            return
        secret = record.pop("privateKey", {}).get("secret", "")
        try:
            key = load_pem_private_key(secret.encode(), None)
        except ValueError as error:
            raise SetError("invalidProperties", properties=["privateKey"]) from error
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
            public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        elif isinstance(key, ed25519.Ed25519PrivateKey):
            public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            raise SetError("invalidProperties", properties=["privateKey"], description="TooSmall")
        record["publicKey"] = base64.b64encode(public).decode()

    def _links(self, kind: str, key: str) -> list[Record]:
        if kind == "Domain":
            links = [
                {"object": other, "id": found}
                for other in ("Account", "MailingList", "DkimSignature")
                for found in self.under[other, key]
            ]
            if self.singletons["SystemSettings"]["defaultDomainId"] == key:
                links.append({"object": "SystemSettings", "id": "singleton"})
            return links
        if kind == "Role":
            accounts = self.by_type["Account"].values()
            links = [
                {"object": "Account", "id": one["id"]} for one in accounts if key in one["roles"].get("roleIds", {})
            ]
            return links + [
                {"object": "Role", "id": one["id"]} for one in self.by_type["Role"].values() if key in one["roleIds"]
            ]
        if kind == "Account":
            accounts = self.by_type["Account"].values()
            return [{"object": "Account", "id": one["id"]} for one in accounts if key in one["memberGroupIds"]]
        return []

    # -- indexes --------------------------------------------------------------------------

    def _next(self, kind: str) -> str:
        if kind in SEQUENTIAL:
            self._last[kind] += 1
            return encode(self._last[kind])
        self._snowflake += 1
        return encode(self._snowflake)

    def _addresses_of(self, record: Record) -> list[str]:
        domains = self.by_type["Domain"]
        own = [(record["name"], record["domainId"])]
        own += [(alias["name"].lower(), alias["domainId"]) for alias in record["aliases"].values()]
        return [f"{name}@{domains[domain]['name']}" for name, domain in own if domain in domains]

    def _add(self, kind: str, record: Record) -> None:
        self.by_type[kind][record["id"]] = record
        if kind == "Domain":
            self.names |= dict.fromkeys([record["name"], *record["aliases"]], record["id"])
        if kind in {"Account", "MailingList"}:
            self.addresses |= dict.fromkeys(self._addresses_of(record), (kind, record["id"]))
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
            for address in self._addresses_of(record):
                self.addresses.pop(address, None)
        if "domainId" in record:
            self.under[kind, record["domainId"]].pop(record["id"], None)
        if kind == "Role":
            for word in words(record["description"]):
                self.words[word].pop(record["id"], None)

    def _automatic_keys(self, domain: Record) -> None:
        """Made at once and active at once: mail is signed before anybody can have published the record."""
        for algorithm, kind in (("rsa", "Dkim1RsaSha256"), ("ed25519", "Dkim1Ed25519Sha256")):
            selector = f"v1-{algorithm}-{time.strftime('%Y%m%d')}"
            private = {"@type": "Text", "secret": pem(kind)}
            self.create(
                "DkimSignature", {"@type": kind, "domainId": domain["id"], "selector": selector, "privateKey": private}
            )


def words(text: str | None) -> list[str]:
    """How a text filter cuts: by everything that is neither letter nor digit, without case."""
    return re.findall(r"[0-9a-z]+", (text or "").lower())


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return value


def _patched(record: Record, patch: Record, known: Record) -> Record:
    changed = _copy(record)
    for pointer, value in patch.items():
        first, *rest = pointer.split("/")
        if first not in changed and first not in known:
            raise SetError("invalidPatch", description="Invalid key for object property", properties=[first])
        target, key = changed, first
        for part in rest:
            target, key = target.setdefault(key, {}), part
            if not isinstance(target, dict):
                raise SetError("invalidPatch", description="Invalid value for object property", properties=[first])
        if rest and value in (False, None):
            target.pop(key, None)
        else:
            target[key] = _copy(value)
    return dict(changed)
