"""What an object must fulfil to be stored, type by type (facts/stalwart.md 2.3 to 2.6, 11.0 to 11.4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.sandbox.stalwart.errors import MethodError, SetError, linked, not_grantable
from tests.sandbox.stalwart.keys import public_key

if TYPE_CHECKING:
    from tests.sandbox.stalwart.objects import Objects

Record = dict[str, Any]
MASKED = "****"
SIGNS = r"\s*(rcpt_domain|rcpt|sender_domain|sender|remote_ip)\s*(==|=)\s*'[^']*'\s*"
EXPRESSION = re.compile(rf"true|false|{SIGNS}(\|\|{SIGNS})*")
Grants = frozenset[str] | None
"""What the caller holds; None for whoever may give everything."""


class Checks:
    """Checks a record before it is stored. ``before`` is the stored one, None for a new one. Raises SetError."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._by_kind = {
            "Domain": self._domain,
            "Role": self._role,
            "Account": self._account,
            "MailingList": self._list,
            "DkimSignature": self._key,
            "MtaInboundThrottle": self._throttle,
        }

    def check(self, kind: str, record: Record, before: Record | None, grants: Grants) -> None:
        """Raise unless ``record`` may be stored."""
        if check := self._by_kind.get(kind):
            check(record, before, grants)

    # -- domains --------------------------------------------------------------------------

    def _domain(self, record: Record, before: Record | None, _: Grants) -> None:
        """Names and aliases of all domains are one set of names."""
        old = {before["name"], *before["aliases"]} if before else set()
        for field, names in (("name", [record["name"]]), ("aliases", list(record["aliases"]))):
            for name in names:
                other = self._objects.names.get(name)
                if other and other != record.get("id") and name not in old:
                    raise SetError("primaryKeyViolation", properties=[field], objectId=linked("Domain", other))

    # -- roles and accounts ------------------------------------------------------------------

    def _role(self, record: Record, before: Record | None, grants: Grants) -> None:
        """The caller must hold what the role enables; a role without any is everybody's to make."""
        rights = ("enabledPermissions", "disabledPermissions", "roleIds")
        changed = before is None or any(before[key] != record[key] for key in rights)
        given = frozenset(record["enabledPermissions"]) - frozenset(record["disabledPermissions"])
        if changed and grants is not None and given - grants:
            raise not_grantable(given - grants)
        for role in record["roleIds"]:
            self._exists("Role", role)

    def _account(self, record: Record, before: Record | None, grants: Grants) -> None:
        if record["@type"] == "User":
            self._credentials(record, before)
        if before is None or any(before[key] != record[key] for key in ("roles", "permissions")):
            self._granted(record, grants)
        self._exists("Domain", record["domainId"])
        for group in record.get("memberGroupIds", ()):
            if self._objects.by_type["Account"].get(group, {}).get("@type") != "Group":
                raise SetError("invalidForeignKey", objectId=linked("Account", group))
        self._addresses(record)

    def _granted(self, record: Record, grants: Grants) -> None:
        try:
            held = self._objects.rights.held(record)
        except KeyError as error:
            # Permanent, although it sounds like a moment's trouble, and the whole method falls (facts 11.0.3).
            raise MethodError("serverUnavailable", "The server is unavailable.") from error
        if grants is not None and held - grants:
            raise not_grantable(held - grants)

    def _credentials(self, record: Record, before: Record | None) -> None:
        """Passwords only, one of them, and none at all where a directory knows them."""
        old = (before or {}).get("credentials", {})
        known = {credential["credentialId"]: credential for credential in old.values()}
        for number, credential in enumerate(record["credentials"].values()):
            same = known.get(credential.get("credentialId", ""))
            if same is None:
                self._new_credential(record, credential, first=number == 0)
            elif credential["secret"] == MASKED:
                credential["secret"] = same["secret"]
            elif credential["secret"] != same["secret"]:
                self._password(record, credential)

    def _new_credential(self, record: Record, credential: Record, *, first: bool) -> None:
        if credential["@type"] != "Password":
            text = "Secondary credentials cannot be set directly."
            raise SetError("invalidProperties", properties=["credentials"], description=text)
        self._password(record, credential)
        if not first:
            text = "Only one password credential is allowed."
            raise SetError("invalidProperties", properties=["credentials"], description=text)
        credential["credentialId"] = self._objects.next_credential(record)

    def _password(self, record: Record, credential: Record) -> None:
        if self._objects.directory_rules():
            text = "Cannot set credentials for accounts in an external directory."
            raise SetError("forbidden", description=text)
        secret = str(credential.get("secret", ""))
        if _is_weak(secret) or record["name"] in secret.lower():
            text = "Password is too weak."
            raise SetError("invalidProperties", properties=["secret"], description=text)

    # -- addresses -------------------------------------------------------------------------------

    def _list(self, record: Record, _: Record | None, __: Grants) -> None:
        self._exists("Domain", record["domainId"])
        self._addresses(record)

    def _addresses(self, record: Record) -> None:
        """Accounts, groups and lists share one space of addresses, aliases included."""
        for alias in record["aliases"].values():
            self._exists("Domain", alias["domainId"])
        for address in self._objects.addresses_of(record):
            other = self._objects.addresses.get(address)
            if other and other[1] != record.get("id"):
                raise SetError("primaryKeyViolation", properties=["email"], objectId=linked(*other))

    def _exists(self, kind: str, key: str) -> None:
        if key not in self._objects.by_type[kind]:
            raise SetError("invalidForeignKey", objectId=linked(kind, key))

    # -- keys and settings --------------------------------------------------------------------------

    def _key(self, record: Record, before: Record | None, _: Grants) -> None:
        """The private half is only read when it is new: the mask that a read shows is no key."""
        if before is None or record["privateKey"] != before["privateKey"]:
            record["publicKey"] = public_key(record["@type"], str(record["privateKey"].get("secret", "")))
        self._exists("Domain", record["domainId"])

    def _throttle(self, record: Record, _: Record | None, __: Grants) -> None:
        if not EXPRESSION.fullmatch(record["match"]["else"]):
            raise SetError("validationFailed", properties=["match"], description="Failed to parse the expression.")


def _is_weak(secret: str) -> bool:
    """Stricter than the real estimate: a stand-in's tests take long random passwords."""
    kinds = sum(bool(re.search(kind, secret)) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[^a-zA-Z0-9]"))
    common = re.search(r"passw|qwert|letmein|welcome|1234|abcd", secret.lower())
    return len(secret) < 8 or len(set(secret)) < 6 or bool(common) or (len(secret) < 12 and kinds < 3)
