"""What exists of a tenant, as its status shows it. Pure; what could not be looked at stays as it was told last."""

from __future__ import annotations

import msgspec

from dezky_operator.config import Settings
from dezky_operator.crd.tenant import (
    Detached,
    DkimStatus,
    DnsStatus,
    DomainStatus,
    FilesStatus,
    IdentityStatus,
    LauncherStatus,
    MailStatus,
    PlannedStep,
    PreviewStatus,
    SpaceStatus,
    Tenant,
    Tile,
)
from dezky_operator.integrations.authentik.model import owns_user
from dezky_operator.integrations.authentik.purge import left
from dezky_operator.integrations.dns.records import DnsRecord, RecordState
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.model import Drive
from dezky_operator.integrations.ocis.observe import Observed as FilesObserved
from dezky_operator.integrations.stalwart.desired import without_mailbox
from dezky_operator.integrations.steps import Step
from dezky_operator.tenant.parts import MailPicture, SignInPicture
from dezky_operator.tenant.reports import Reports

USED_STEP = 0.05
"""The share of a space's room by which `quotaUsed` must move before it is written again."""


def identity_of(
    old: IdentityStatus | None, picture: SignInPicture | None, intent: TenantIntent
) -> IdentityStatus | None:
    """The tenant in Authentik."""
    if picture is None:
        return old
    found = picture.identity
    return IdentityStatus(
        group_id=found.users_group.pk if found.users_group else None,
        admin_group_id=found.admins_group.pk if found.admins_group else None,
        application_slug=found.application.slug if found.application else None,
        provider_id=str(found.provider.pk) if found.provider else None,
        issuer_url=picture.secret.data.get("issuer") if picture.secret else None,
        brand_domain=found.brand.domain if found.brand else None,
        admin_username=intent.admin.username if intent.admin and (found.admin or intent.admin_signed_in) else None,
        admin_signed_in=_admin_signed_in(picture, intent),
    )


def _admin_signed_in(picture: SignInPicture, intent: TenantIntent) -> bool | None:
    """Whether the administrator came in once as a member. Kept when she leaves or is deleted: she is not let in again.

    Who was somebody before the tenant may have signed in long ago; that counts once the tenant's group has her.
    """
    found, group = picture.identity.admin, picture.identity.users_group
    if intent.admin is not None and intent.admin_signed_in:
        return True
    if found is None:
        return None
    inside = group is not None and group.pk in (found.groups or ())
    return found.last_login is not None and (inside or owns_user(intent, found))


def mail_of(old: MailStatus | None, picture: MailPicture | None) -> MailStatus | None:
    """The tenant in Stalwart. The canary is counted nowhere."""
    if picture is None:
        return old
    owned = picture.mail.owned(picture.intent)
    return MailStatus(
        role_id=picture.mail.role.id if picture.mail.role else None,
        mailboxes=_mailboxes(picture),
        without_mailbox=without_mailbox(picture.intent),
        domains=tuple(
            DomainStatus(
                name=name,
                id=owned[name].domain.id,
                dkim=tuple(
                    DkimStatus(
                        selector=key.selector,
                        algorithm=key.type.removeprefix("Dkim1").removesuffix("Sha256"),
                        stage=key.stage.capitalize(),
                    )
                    for key in sorted(owned[name].keys, key=lambda key: (key.selector, key.id))
                ),
            )
            for name in picture.intent.domains
            if name in owned
        ),
    )


def _mailboxes(picture: MailPicture) -> int:
    owned = picture.mail.owned(picture.intent)
    boxes = [f"{account.name}@{name}" for name, found in owned.items() for account in found.accounts]
    return sum(not picture.intent.is_canary(address) for address in boxes)


def files_of(old: FilesStatus | None, picture: FilesObserved | None, intent: TenantIntent) -> FilesStatus | None:
    """The tenant in OCIS."""
    if picture is None:
        return old
    before = {space.name: space for space in old.spaces} if old else {}
    return FilesStatus(
        group_id=picture.group.id if picture.group else None,
        spaces=tuple(
            _space(space.key, picture.drives[space.key], before.get(space.key))
            for space in intent.spaces
            if space.key in picture.drives
        ),
    )


def _space(key: str, drive: Drive, before: SpaceStatus | None) -> SpaceStatus:
    used, state, total = drive.quota.used or 0, drive.quota.state, drive.quota.total
    if (
        before is not None
        and before.quota_used is not None
        and before.quota_state == state
        and before.quota_total == total
    ):
        # A file more is no news: writing every change of size would write every status all day long.
        step = total * USED_STEP if total else 2**30
        used = before.quota_used if abs(used - before.quota_used) < step else used
    return SpaceStatus(
        name=key,
        id=drive.uuid,
        drive_alias=drive.drive_alias,
        web_url=drive.web_url or None,
        quota_total=total,
        quota_used=used,
        quota_state=state,
    )


def launcher_of(tenant: Tenant, settings: Settings) -> LauncherStatus:
    """What the launcher shows."""
    brand = tenant.spec.brand
    own = (
        Tile(title="Mail", url=f"https://mail.{settings.base_domain}/", icon="mail"),
        Tile(title="Files", url=f"https://files.{settings.base_domain}/", icon="files"),
    )
    return LauncherStatus(
        title=(brand.title if brand else None) or tenant.spec.display_name,
        logo_url=brand.logo_url if brand else None,
        primary_color=brand.primary_color if brand else None,
        tiles=(*own, *(brand.launcher_tiles if brand else ())),
    )


def dns_of(
    old: tuple[DnsStatus, ...], picture: MailPicture | None, *, values_may_change: bool
) -> tuple[DnsStatus, ...]:
    """Records to prove first, then records to publish. Values that only the server recomputes wait for their hour."""
    if picture is None:
        return old
    proofs = [_record(record, RecordState.MISSING) for record in picture.unverified]
    new = (*proofs, *(_record(record, picture.states[record]) for record in picture.records))
    same_names = [(found.name, found.type) for found in old] == [(found.name, found.type) for found in new]
    if same_names and not values_may_change:
        kept = (msgspec.structs.replace(found, value=before.value) for before, found in zip(old, new, strict=True))
        return tuple(kept)
    return new


def _record(record: DnsRecord, state: RecordState) -> DnsStatus:
    return DnsStatus(name=record.name, type=record.type, value=record.value, state=state.value)


def detached_of(old: tuple[Detached, ...], reports: Reports, intent: TenantIntent) -> tuple[Detached, ...]:
    """What exists of ours and is not in the spec; a system that did not answer keeps its old entries."""
    mail, files = reports.mail.picture, reports.files.picture
    found = [
        item for item in old if (item.kind == "Domain" and mail is None) or (item.kind == "Space" and files is None)
    ]
    if mail is not None:
        owned = mail.mail.owned(mail.intent)
        spec = {*mail.intent.domains, *(conflict.domain for conflict in mail.ownership.conflicts)}
        found += [Detached(kind="Domain", name=name, id=owned[name].domain.id) for name in owned if name not in spec]
    if files is not None:
        spaces = {space.key for space in intent.spaces}
        drives = files.drives.items()
        found += [Detached(kind="Space", name=key, id=drive.uuid) for key, drive in drives if key not in spaces]
    return tuple(sorted(found, key=lambda item: (item.kind, item.name)))


def members_of(old: int | None, picture: MailPicture | None) -> int | None:
    """How many people are in the tenant, without the canary."""
    if picture is None or picture.intent.members is None:
        return old
    return sum(not picture.intent.is_canary(member.username) for member in picture.intent.members)


def planned_of(step: Step) -> PlannedStep:
    """One step of a plan that is not applied."""
    return PlannedStep(key=step.id, verb=step.verb.value, object=step.name, fields=step.fields, reason=step.reason)


def preview_of(reports: Reports, intent: TenantIntent) -> PreviewStatus:
    """What a purge would destroy; None where a system did not answer."""
    identity, mail, files = reports.sign_in.picture, reports.mail.picture, reports.files.picture
    accounts = [found for domain in mail.mail.owned(mail.intent).values() for found in domain.accounts] if mail else []
    used = sum(account.used_disk_quota for account in accounts)
    used += sum(drive.quota.used or 0 for drive in files.drives.values()) if files else 0
    return PreviewStatus(
        users=sum(not intent.is_canary(user.username) for user in identity.identity.users) if identity else None,
        mailboxes=_mailboxes(mail) if mail else None,
        spaces=len(files.drives) if files else None,
        bytes=used if mail and files else None,
        left=left(intent, identity.identity) if identity else (),
    )
