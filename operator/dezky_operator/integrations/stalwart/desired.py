"""What Stalwart must have for a tenant (facts/stalwart.md 10, design 6 and 12). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dezky_operator.integrations.intent import Phase, TenantIntent

KEPT_LOCAL = re.compile(r"(?=.{1,64}$)[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""The part before the @ as mail takes it without quotes (RFC 5321, 4.1.2), in lower case.

Stalwart folds letters and drops blanks (facts/stalwart.md 11.4): another name would come back changed, or be the
mailbox of somebody else.
"""
KEYS = (("dezky1-rsa", "Dkim1RsaSha256"), ("dezky1-ed25519", "Dkim1Ed25519Sha256"))
"""Selector and type of the two signing keys of every domain. A rotation will count the selector up."""


CANARY_QUOTA = 2**20
"""Bytes of the canary's mailbox, which nobody writes to and nobody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A mailbox that must exist. ``display`` is the person's name; ``quota`` in bytes, 0 = no limit."""

    local: str
    domain: str
    display: str
    quota: int

    @property
    def address(self) -> str:
        """The whole address."""
        return f"{self.local}@{self.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The desired state in the intent's phase.

    Attributes:
        exists: False when everything of the tenant must be gone.
        domains: domains that must exist.
        mailboxes: by address. Only these may be made.
        people: the addresses of all who may log in, also in domains that are detached.
        removed: detached domains whose removal a person confirmed.
        members_known: False when Authentik could not be asked: then nobody counts as having left.
        locked: whether the role must refuse every log-in.
        published_keys: ``(domain, selector)`` whose record was seen, so that the key may sign.
    """

    exists: bool
    domains: tuple[str, ...]
    mailboxes: dict[str, Mailbox]
    members_known: bool
    locked: bool
    published_keys: frozenset[tuple[str, str]]
    people: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


def desired(intent: TenantIntent) -> Desired:
    """What must be there in ``intent.phase``."""
    people = {member.username.lower(): member.name or member.username for member in intent.members or ()}
    if intent.admin is not None and not intent.admin_signed_in:
        people.setdefault(intent.admin.username, intent.admin.name)
    mailboxes = [mailbox(intent, username, name) for username, name in sorted(people.items())]
    return Desired(
        exists=intent.phase is not Phase.PURGED,
        domains=intent.domains,
        mailboxes={found.address: found for found in mailboxes if found is not None},
        people=frozenset(people),
        removed=frozenset(intent.known_domains) & intent.removable - frozenset(intent.domains),
        members_known=intent.members is not None,
        locked=intent.locked,
        published_keys=intent.published_dkim,
    )


def mailbox(intent: TenantIntent, username: str, name: str) -> Mailbox | None:
    """A member has a mailbox if and only if the user name is an address in one of the domains (design 6, Members)."""
    local, _, domain = username.partition("@")
    if domain not in intent.domains or not KEPT_LOCAL.fullmatch(local):
        return None
    quota = CANARY_QUOTA if intent.is_canary(username) else intent.mailbox_quota
    return Mailbox(local=local, domain=domain, display=name, quota=quota)


def without_mailbox(intent: TenantIntent) -> tuple[str, ...]:
    """Members who have files only. The canary is nobody."""
    names = sorted(member.username for member in intent.members or () if not intent.is_canary(member.username))
    return tuple(name for name in names if mailbox(intent, name.lower(), name) is None)
