"""API keys and app passwords: secrets of an account, shown once (facts/stalwart.md 2.1, 11.10)."""

from __future__ import annotations

import base64
import ipaddress
import time
import uuid
from typing import Any

from tests.sandbox.stalwart.errors import SetError, not_grantable
from tests.sandbox.stalwart.objects import Objects, key_name
from tests.sandbox.stalwart.permissions import scoped
from tests.sandbox.stalwart.records import created, patched

Record = dict[str, Any]
PREFIX = {"ApiKey": "API_", "AppPassword": "app_"}
QUOTA = {"ApiKey": "maxApiKeys", "AppPassword": "maxAppPasswords"}


class Credentials:
    """The secondary credentials of accounts."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def create(self, kind: str, account: str, body: Record, grants: frozenset[str] | None) -> Record:
        """Make one; ``secret`` in the answer is never shown again. Raises SetError."""
        owner = self._objects.by_type["Account"].get(account)
        if owner is None or owner["@type"] != "User":
            raise SetError("notFound")
        record = created(kind, body)
        limit = owner["quotas"].get(QUOTA[kind], self._objects.singletons["Authentication"][QUOTA[kind]])
        if limit is not None and len(self._objects.keys_of(kind, account)) >= limit:
            raise SetError("overQuota", description=f"You have exceeded your quota of {limit}.")
        replaced = record["permissions"]["@type"] == "Replace" and grants is not None
        if replaced and (beyond := frozenset(record["permissions"]["permissions"]) - (grants or frozenset())):
            raise not_grantable(beyond)
        secret = PREFIX[kind] + base64.urlsafe_b64encode(uuid.uuid4().bytes * 2).decode().rstrip("=")
        record |= {"id": self._objects.next_credential(owner), "accountId": account, "_secret": secret}
        record["createdAt"] = self._objects.now_text()
        self._objects.by_type[kind][key_name(record)] = record
        return {"id": record["id"], "secret": secret}

    def update(self, kind: str, account: str, key: str, patch: Record) -> None:
        """Change one. Raises SetError."""
        record = self._one(kind, account, key)
        record |= patched(kind, record, patch)

    def destroy(self, kind: str, account: str, key: str) -> None:
        """Destroy one: it is refused from now on. Raises SetError."""
        del self._objects.by_type[kind][key_name(self._one(kind, account, key))]

    def by_secret(self, kind: str, secret: str) -> Record | None:
        """The one with this secret."""
        return next((one for one in self._objects.by_type[kind].values() if one["_secret"] == secret), None)

    def rights(self, record: Record, account: Record) -> frozenset[str]:
        """What remains of the account's rights for this one."""
        return scoped(self._objects.rights.held(account), record["permissions"])

    def _one(self, kind: str, account: str, key: str) -> Record:
        found = self._objects.by_type[kind].get(f"{account}/{key}")
        if found is None:
            raise SetError("notFound")
        return found


def expired(record: Record, now: float) -> bool:
    """Whether its time is over."""
    return bool(record["expiresAt"]) and str(record["expiresAt"]) <= time.strftime(
        "%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)
    )


def from_here(record: Record, address: str) -> bool:
    """Whether it may be used from this address."""
    return not record["allowedIps"] or within(address, record["allowedIps"])


def within(address: str, networks: Any) -> bool:
    """Whether an address lies in one of these addresses or networks."""
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(network, strict=False) for network in networks)
