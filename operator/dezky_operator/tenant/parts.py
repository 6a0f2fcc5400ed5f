"""A tenant's three parts, as the reconciler drives them: sign-in, mail, files.

Each part observes, and plans from what it observed. Mail finds out on the way which domains are the tenant's, who its
members are, and which records are published; sign-in keeps the tenant's Secret beside its objects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import structlog

from dezky_operator.config import DomainVerification
from dezky_operator.integrations.authentik.integration import AuthentikIntegration
from dezky_operator.integrations.authentik.model import User, owns_user
from dezky_operator.integrations.authentik.observe import Observed as IdentityObserved
from dezky_operator.integrations.dns.records import DnsRecord, RecordState, ZoneError, verification_record
from dezky_operator.integrations.dns.resolver import Resolver
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.intent import Adoption, Member, Phase, TenantIntent
from dezky_operator.integrations.ocis.integration import OcisIntegration
from dezky_operator.integrations.ocis.observe import Observed as FilesObserved
from dezky_operator.integrations.ocis.observe import People
from dezky_operator.integrations.stalwart.integration import StalwartIntegration
from dezky_operator.integrations.stalwart.observe import Observed as MailObserved
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, System
from dezky_operator.tenant import credentials
from dezky_operator.tenant.claims import Claim, DomainConflict, Ownership, ownership, tenant_of_mark
from dezky_operator.tenant.credentials import Access, KeptSecret
from dezky_operator.tenant.record import Record

log = structlog.get_logger(__name__)
MEMBERS_WITHIN = 5.0
"""Seconds mail waits for the sign-in to tell who the members are."""


class SecretReading(Protocol):
    """Reads a tenant's Secret."""

    async def read(self, name: str) -> KeptSecret | None:
        """The Secret; None when there is none."""


# -- sign-in --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInPicture:
    """What Authentik has, and what the Secret holds."""

    identity: IdentityObserved
    secret: KeptSecret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Authentik's objects and the tenant's Secret."""

    authentik: AuthentikIntegration
    secrets: SecretReading
    now: datetime
    renew: str | None = None
    system: System = System.AUTHENTIK

    async def observe(self, intent: TenantIntent) -> SignInPicture:
        """Both, side by side."""
        identity, secret = await asyncio.gather(
            self.authentik.observe(intent), self.secrets.read(credentials.secret_name(intent.slug))
        )
        return SignInPicture(identity=identity, secret=secret)

    def plan(self, intent: TenantIntent, picture: SignInPicture) -> Plan:
        """One plan of both: the Secret waits for the provider that it is about."""
        if intent.phase is Phase.PURGED or intent.locks_only:
            return self.authentik.plan(intent, picture.identity)
        if picture.secret is not None and picture.secret.tenant_id != str(intent.tenant_id):
            return self.authentik.plan(intent, picture.identity) + Plan((), (_foreign_secret(picture.secret),))
        access = self._access(intent, picture)
        due = credentials.link_due(access, picture.secret)
        # Without a provider there is no Secret to keep the link in yet, and a link that is not kept is made again.
        asked = due and self.renew is not None and picture.identity.provider is not None
        wanted = replace(intent, recovery_link_due=due, recovery_link_asked=asked)
        identity = self.authentik.plan(wanted, picture.identity)
        if any(found.blocking for found in identity.obstacles):
            return identity  # an application that is somebody else's has no secret of ours to give away
        told = Plan((), tuple(_no_link(intent, self.renew, access)))
        return identity + credentials.plan(access, picture.secret, now=self.now) + told

    def _access(self, intent: TenantIntent, picture: SignInPicture) -> Access:
        provider, admin = picture.identity.provider, picture.identity.admin
        secret: str | Ref = (
            provider.client_secret if provider else Ref(System.AUTHENTIK, "provider", "main", "client_secret")
        )
        return Access(
            slug=intent.slug,
            tenant_id=str(intent.tenant_id),
            issuer=self.authentik.issuer(intent),
            client_id=intent.application,
            client_secret=secret,
            administered=intent.admin is not None and _ours_or_new(intent, admin),
            signed_in=admin is not None and admin.last_login is not None,
            renew=self.renew,
        )


def _foreign_secret(found: KeptSecret) -> Obstacle:
    """Told before a recovery link is made: a link that can not be kept would be made again at every try."""
    return Obstacle(
        system=System.AUTHENTIK,
        reason="ForeignObject",
        message=f"Secret {found.name} exists and is not this tenant's (label dezky.eu/tenant-id). It is not touched. "
        "Move it away; the operator then makes its own.",
    )


def _ours_or_new(intent: TenantIntent, admin: User | None) -> bool:
    """A user who was there before has a way in of his own, and a link for him would be a way into his account.

    One who was deleted after signing in is not made again, so there is nobody to give a link to.
    """
    return not intent.admin_signed_in if admin is None else owns_user(intent, admin)


def _no_link(intent: TenantIntent, renew: str | None, access: Access) -> Iterator[Obstacle]:
    """A request that can not be met is told as long as it stands."""
    if renew is not None and not access.administered:
        who = intent.admin.username if intent.admin else "nobody"
        yield Obstacle(
            system=System.AUTHENTIK,
            reason="ForeignObject",
            message=f"dezky.eu/renew-recovery-link asks for a link, but the administrator ({who}) is no user that the "
            "operator made, or was deleted in Authentik after signing in. Name another one in spec.admin, or remove "
            "the annotation.",
            blocking=False,
        )


# -- mail -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MailPicture:
    """What Stalwart has, and what was found out on the way.

    ``intent`` is the intent with domains, members and published keys filled in. ``records`` and their ``states`` are
    what has to be published; ``unverified`` are records that must be seen before a domain may be made.
    """

    intent: TenantIntent
    mail: MailObserved
    ownership: Ownership
    records: tuple[DnsRecord, ...] = ()
    states: Mapping[DnsRecord, RecordState] = field(default_factory=dict)
    unverified: tuple[DnsRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What decides about domains beyond the tenant itself."""

    me: Claim
    others: tuple[Claim, ...]
    records: tuple[Record, ...]


def divided(neighbours: Neighbours, intent: TenantIntent, marks: Mapping[str, str | None]) -> Ownership:
    """Which domains of the spec are the tenant's. ``marks``: of every Domain object that exists."""
    return ownership(
        neighbours.me,
        installation_id=intent.installation_id,
        others=neighbours.others,
        records=neighbours.records,
        marks=marks,
        held=intent.living_marks,
        force=intent.adoption is Adoption.FORCE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Stalwart's objects, and DNS."""

    stalwart: StalwartIntegration
    authentik: AuthentikIntegration
    resolver: Resolver
    verification: DomainVerification
    neighbours: Neighbours
    system: System = System.STALWART

    async def observe(self, intent: TenantIntent) -> MailPicture:
        """Owners first, then members and domains side by side, then DNS."""
        marks, members = await asyncio.gather(
            self.stalwart.domain_marks({*self.neighbours.me.domains, *intent.known_domains}),
            known_members(self.authentik, intent),
        )
        owned = divided(self.neighbours, intent, marks)
        unverified = await self._unverified(intent, owned, marks)
        open_domains = {record.name.split(".", 1)[1] for record in unverified}
        domains = tuple(domain for domain in owned.owned if domain not in open_domains)
        filled = replace(intent, domains=domains, members=members)
        mail = await self.stalwart.observe(filled)
        records = _records(mail, filled)
        states = dict(zip(records, await asyncio.gather(*map(self.resolver.state, records)), strict=True))
        return MailPicture(
            intent=replace(filled, published_dkim=_published(mail, states)),
            mail=mail,
            ownership=owned,
            records=records,
            states=states,
            unverified=unverified,
        )

    def plan(self, _: TenantIntent, picture: MailPicture) -> Plan:
        """Stalwart's plan, and what is wrong with the domains."""
        obstacles = (*map(_conflict, picture.ownership.conflicts), *map(_not_verified, picture.unverified))
        if picture.intent.phase is Phase.PURGED or picture.intent.locks_only:
            obstacles = ()
        return self.stalwart.plan(picture.intent, picture.mail) + Plan((), obstacles)

    async def _unverified(
        self, intent: TenantIntent, owned: Ownership, marks: Mapping[str, str | None]
    ) -> tuple[DnsRecord, ...]:
        """A Domain object captures mail: one is made or taken only for a domain whose owner said so in DNS."""
        if self.verification is DomainVerification.NONE or intent.phase is Phase.PURGED or intent.locks_only:
            return ()
        me = (intent.installation_id, str(intent.tenant_id))
        taken = [domain for domain in owned.owned if domain in marks and tenant_of_mark(marks[domain]) != me]
        # What is somebody else's and may not be taken needs no proof: the plan says what is in the way.
        refused = taken if intent.adoption is Adoption.NEVER else []
        unproven = [domain for domain in owned.owned if domain not in marks or domain in taken]
        wanted = [verification_record(domain, intent.tenant_id) for domain in unproven if domain not in refused]
        states = await asyncio.gather(*map(self.resolver.state, wanted))
        pairs = zip(wanted, states, strict=True)
        return tuple(record for record, state in pairs if state is not RecordState.PUBLISHED)


async def known_members(authentik: AuthentikIntegration, intent: TenantIntent) -> tuple[Member, ...] | None:
    """Who is in the tenant; None when that can not be known now, and then nobody counts as having left."""
    members, _ = await asked_members(authentik, intent)
    return members


async def asked_members(
    authentik: AuthentikIntegration, intent: TenantIntent
) -> tuple[tuple[Member, ...] | None, People]:
    """The same, and why where it is not known."""
    try:
        async with asyncio.timeout(MEMBERS_WITHIN):
            members = await authentik.members(intent)
    except (IntegrationError, TimeoutError):
        return None, People.UNKNOWN
    return members, People.of(members)


async def with_former(authentik: AuthentikIntegration, intent: TenantIntent, seen: FilesObserved) -> FilesObserved:
    """What was seen of a locked tenant's files, and which of those who left it work for another one now.

    Where Authentik does not tell, their personal spaces stay as they are until it does.
    """
    if not seen.left:
        return seen
    try:
        async with asyncio.timeout(MEMBERS_WITHIN):
            return seen.with_former(await authentik.former(intent, seen.left.keys()))
    except (IntegrationError, TimeoutError):
        return seen


def _records(mail: MailObserved, intent: TenantIntent) -> tuple[DnsRecord, ...]:
    """What to publish for every domain of the spec that exists. A zone that can not be read is told, not fatal."""
    found: list[DnsRecord] = []
    for name in intent.domains:
        observed = mail.owned(intent).get(name)
        try:
            found += observed.records if observed else ()
        except ZoneError as error:
            log.warning("zone unreadable", domain=name, error=str(error))
    return tuple(dict.fromkeys(found))


def _published(mail: MailObserved, states: Mapping[DnsRecord, RecordState]) -> frozenset[tuple[str, str]]:
    seen = {record.name for record, state in states.items() if state is RecordState.PUBLISHED}
    return frozenset(
        (name, key.selector)
        for name, found in mail.domains.items()
        for key in found.keys
        if f"{key.selector}._domainkey.{name}" in seen
    )


def _conflict(found: DomainConflict) -> Obstacle:
    return Obstacle(
        system=System.STALWART,
        reason="DomainConflict",
        message=f"Domain {found.domain} belongs to {found.owner}. Remove it from spec.domains here, or {found.remedy}.",
    )


def _not_verified(record: DnsRecord) -> Obstacle:
    return Obstacle(
        system=System.STALWART,
        reason="DomainNotVerified",
        message=f"Domain {record.name.split('.', 1)[1]} is not proven to be the customer's. "
        f'Publish {record.name} TXT "{record.value}"; it is looked for again by itself.',
    )


# -- files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """OCIS's objects."""

    ocis: OcisIntegration
    authentik: AuthentikIntegration
    system: System = System.OCIS

    async def observe(self, intent: TenantIntent) -> FilesObserved:
        """Group and spaces; while the tenant is locked also the personal spaces of its people."""
        if not intent.locked:
            return await self.ocis.observe(intent)
        members, people = await asked_members(self.authentik, intent)
        seen = replace(await self.ocis.observe(replace(intent, members=members)), people=people)
        return await with_former(self.authentik, intent, seen)

    def plan(self, intent: TenantIntent, picture: FilesObserved) -> Plan:
        """OCIS's plan."""
        return self.ocis.plan(intent, picture)
