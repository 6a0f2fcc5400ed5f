"""Who an event of Stalwart's is about, and whose it is (facts/stalwart.md 5.2, 11.0.8). Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping

import msgspec

from dezky_operator.ingest.tenants import KnownTenant, Tenants
from dezky_operator.integrations.stalwart.ids import as_id

AddressOf = Callable[[str], str]
"""The address of the account with a JMAP id; empty when it is not known."""
_ACCOUNT_NAMES = ("accountName", "email", "account", "username")
_IPS = ("remoteIp", "ip")
_TARGETS = ("to", "address")
_HIGHEST_ID = 2**64
_LONGEST_DOMAIN = 253


class People(msgspec.Struct, frozen=True, kw_only=True):
    """The people and addresses of one event. What it does not tell is empty.

    Attributes:
        account: JMAP id of the account; ``account_name`` as the event has it, which may be the bare local part.
        address: the account's address, from its name or from what is known of it.
        sender, recipients: addresses of a message; ``domain`` is one that the event names.
        details: free text; of some events it is a domain and nothing else.
    """

    account: str = ""
    account_name: str = ""
    address: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    domain: str = ""
    details: str = ""
    ip: str = ""

    @property
    def subject(self) -> str:
        """What the account is called in the log: its id, else its address."""
        return self.account or self.address.lower() or self.account_name.lower()

    def everybody(self) -> Iterator[str]:
        """Ids of all people whom the event's text names."""
        if self.account:
            yield self.account
        for name in (self.address, self.account_name, self.sender, *self.recipients):
            if name:
                yield name.lower()

    def tenant(self, tenants: Tenants) -> KnownTenant | None:
        """The first of account, recipients, domains and sender that is some tenant's."""
        for address in (self.address, *self.recipients, f"@{self.domain}", f"@{self.details}", self.sender):
            if (found := tenants.by_address(address)) is not None:
                return found
        return None


def people_of(data: Mapping[str, object], address_of: AddressOf) -> People:
    """What ``data`` of an event tells. An address is its own, never that of whoever brought the event."""
    account, name = _account_id(data.get("accountId")), _first_text(data, _ACCOUNT_NAMES)
    return People(
        account=account,
        account_name=name,
        address=name if "@" in name else address_of(account) if account else "",
        sender=_text(data.get("from")),
        recipients=tuple(_texts(next((data[key] for key in _TARGETS if data.get(key)), None))),
        domain=_text(data.get("domain")),
        details=_text(data.get("details"))[:_LONGEST_DOMAIN],
        ip=next(filter(None, (_ip(data.get(key)) for key in _IPS)), ""),
    )


def _account_id(value: object) -> str:
    if type(value) is int and 0 <= value < _HIGHEST_ID:
        return as_id(value)
    return value if isinstance(value, str) and len(value) <= 64 else ""


def _first_text(data: Mapping[str, object], keys: tuple[str, ...]) -> str:
    return next(filter(None, (_text(data.get(key)) for key in keys)), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, str) and one:
            yield one


def _ip(value: object) -> str:
    """The value if it is an address; anything else stays in the text only."""
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else ""
    except ValueError:
        return ""
