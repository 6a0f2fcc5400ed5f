"""What Stalwart must have for a tenant (facts/stalwart.md 10, design 6 and 12). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dezky_operator.integrations.intent import Phase, TenantIntent

KEYS = (("dezky1-rsa", "Dkim1RsaSha256"), ("dezky1-ed25519", "Dkim1Ed25519Sha256"))
"""Selector and type of the two signing keys of every domain. A rotation will count the selector up."""


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


def desired(intent: TenantIntent) -> Desired:
    """What must be there in ``intent.phase``."""
    people = {member.username.lower(): member.name or member.username for member in intent.members or ()}
    if intent.admin is not None:
        people.setdefault(intent.admin.username, intent.admin.name)
    mailboxes = [mailbox(intent, username, name) for username, name in sorted(people.items())]
    return Desired(
        exists=intent.phase is not Phase.PURGED,
        domains=intent.domains,
        mailboxes={found.address: found for found in mailboxes if found is not None},
        members_known=intent.members is not None,
        locked=intent.locked,
        published_keys=intent.published_dkim,
    )


def mailbox(intent: TenantIntent, username: str, name: str) -> Mailbox | None:
    """A member has a mailbox if and only if the user name is an address in one of the domains (design 6, Members)."""
    local, at, domain = username.partition("@")
    if not at or not local or domain not in intent.domains:
        return None
    return Mailbox(local=local, domain=domain, display=name, quota=intent.mailbox_quota)


def without_mailbox(intent: TenantIntent) -> tuple[str, ...]:
    """Members who have files only."""
    names = sorted(member.username for member in intent.members or ())
    return tuple(name for name in names if mailbox(intent, name.lower(), name) is None)
