"""Where mail for an address goes, and what becomes of it (facts/stalwart.md 11.5, 11.6, 11.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.sandbox.stalwart.events import Events
from tests.sandbox.stalwart.limits import Limits
from tests.sandbox.stalwart.objects import Objects
from tests.sandbox.stalwart.settings import Live

Record = dict[str, Any]
ACCEPTED = "250 2.1.5 OK"
SLOW_DOWN = "452 4.4.5 Rate limit exceeded, try again later."


@dataclass
class Envelope:
    """One message on its way: who sends it from where, and to whom."""

    address: str
    sender: str = ""
    authenticated: str = ""
    recipients: list[str] = field(default_factory=list)

    def value(self, variable: str, recipient: str) -> str:
        """A variable of a throttle's expression or key, in either spelling."""
        domain = {"rcpt": recipient, "sender": self.sender}
        name = variable.replace("Domain", "_domain").replace("remoteIp", "remote_ip")
        if name.endswith("_domain"):
            return domain.get(name.removesuffix("_domain"), "").rpartition("@")[2]
        return {**domain, "remote_ip": self.address, "authenticatedAs": self.authenticated}.get(name, "")


class Mailroom:
    """Takes recipients and messages."""

    def __init__(self, objects: Objects, live: Live, limits: Limits, events: Events) -> None:
        self._objects, self._live, self._limits, self._events = objects, live, limits, events
        self._numbers = count(342_282_590_291_531_776, 1 << 20)
        self.bounced: list[tuple[str, str]] = []
        """(recipient, reason) of messages that were accepted and then sent back."""
        self.queued: list[tuple[str, str]] = []
        """(recipient, reason) of messages that wait."""
        self.outbound: list[str] = []
        """Recipients elsewhere."""

    def recipient(self, envelope: Envelope, address: str) -> str:
        """The answer to RCPT. Suspended accounts still take mail; a hold acts after the address was found."""
        domain = self._objects.names.get(address.rpartition("@")[2])
        if domain is None and not envelope.authenticated:
            self._events.tell("smtp.relay-not-allowed", to=address)
            return "550 5.1.2 Relay not allowed."
        if domain is not None and not self.is_known(address):
            self._events.tell("smtp.mailbox-does-not-exist", to=address)
            return "550 5.1.2 Mailbox does not exist."
        if address not in envelope.recipients:
            if self._is_held(envelope, address):
                self._events.tell("smtp.rate-limit-exceeded", to=address)
                return SLOW_DOWN
            envelope.recipients.append(address)
        return ACCEPTED

    def may_connect(self, address: str) -> bool:
        """Whether one more connection from there is within the throttles that look at nothing else."""
        early = [one for one in self._live.throttles if not _looks_at(one, "rcpt") and not _looks_at(one, "sender")]
        return not any(self._is_over(one, Envelope(address), "") for one in early)

    def may_send(self, envelope: Envelope) -> bool:
        """Whether one more message of this sender is within the throttles that look at the sender only."""
        middle = [one for one in self._live.throttles if not _looks_at(one, "rcpt") and _looks_at(one, "sender")]
        return not any(self._is_over(one, envelope, "") for one in middle)

    def is_known(self, address: str) -> bool:
        """Whether an address of a local domain takes mail."""
        return self._target(address) is not None

    def mailboxes(self, address: str) -> list[str]:
        """Ids of the accounts that get mail for an address: its own, a list's members, or the catch-all."""
        target = self._target(address)
        if target is None:
            return []
        kind, key = target
        if kind == "Account":
            return [key]
        members = self._objects.by_type["MailingList"][key]["recipients"]
        return [account for member in members if member != address for account in self.mailboxes(member)]

    def _target(self, address: str) -> tuple[str, str] | None:
        """(type, id) of what an address leads to."""
        local, _, domain = address.rpartition("@")
        owner = self._objects.by_type["Domain"].get(self._objects.names.get(domain, ""))
        if owner is None:
            return None
        plain = local.partition("+")[0] if owner["subAddressing"]["@type"] == "Enabled" else local
        for name in (local, plain):
            if found := self._objects.addresses.get(f"{name}@{owner['name']}"):
                return found
        catch_all = owner["catchAllAddress"]
        return self._target(catch_all) if catch_all and catch_all != address else None

    def deliver(self, envelope: Envelope, message: bytes) -> None:
        """After DATA was accepted: stored, sent back, or kept waiting."""
        number, size = next(self._numbers), len(message)
        self._events.queued(number, envelope.sender, envelope.recipients, size)
        for address in envelope.recipients:
            boxes = self.mailboxes(address)
            if not boxes:
                self.outbound.append(address)
            for key in boxes:
                if self._store(address, self._objects.by_type["Account"][key], message):
                    self._events.ingested(number, key, envelope.sender, address, size)
                    self._events.delivered(number, envelope.sender, address, size)

    def _store(self, address: str, account: Record, message: bytes) -> bool:
        """Whether the message is in the mailbox now."""
        quota = account["quotas"].get("maxDiskQuota", 0)
        if "emailReceive" not in self._objects.rights.held(account):
            self.bounced.append((address, "550 5.5.0 This account is not authorized to receive email."))
        elif quota and self._objects.used(account["id"]) + len(message) > quota:
            self.queued.append((address, "451 4.3.0 Mailbox over quota."))
            self._events.tell("limit.quota", bare=True, limit=quota, size=self._objects.used(account["id"]), to=address)
        else:
            self._objects.mail[account["id"]].append(message)
            return True
        return False

    # -- throttles --------------------------------------------------------------------------

    def _is_held(self, envelope: Envelope, address: str) -> bool:
        return any(self._is_over(one, envelope, address) for one in self._live.throttles if _looks_at(one, "rcpt"))

    def _is_over(self, throttle: Record, envelope: Envelope, recipient: str) -> bool:
        """Counts by the values of the key and the rate alone: neither object nor expression is part of it.

        So a counter outlives its object, and two holds of one rate without a key share it.
        """
        if not _applies(throttle["match"]["else"], envelope, recipient):
            return False
        rate, names = throttle["rate"], sorted(throttle["key"])
        key = "|".join(f"{name}={envelope.value(name, recipient)}" for name in names)
        seconds = rate["period"] // 1000
        return bool(self._limits.count(f"smtp {key} {rate['count']}", limit=rate["count"], seconds=seconds))


def _looks_at(throttle: Record, what: str) -> bool:
    """Whether a throttle is about the recipient (or the sender): that decides at which command it runs."""
    return any(name.startswith(what) for name in throttle["key"]) or bool(
        re.search(rf"\b{what}(_domain)?\b", throttle["match"]["else"])
    )


def _applies(expression: str, envelope: Envelope, recipient: str) -> bool:
    """Only the ``else`` part counts; a list of conditions beside it is never looked at."""
    if expression in {"true", "false"}:
        return expression == "true"
    parts = re.findall(r"(\w+)\s*==?\s*'([^']*)'", expression)
    return any(envelope.value(variable, recipient) == wanted for variable, wanted in parts)
