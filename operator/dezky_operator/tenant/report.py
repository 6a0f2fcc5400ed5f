"""From what was found to the status a person reads. Pure: the same findings give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dezky_operator.config import Settings
from dezky_operator.crd.conditions import Condition, Finding, Reason, Truth, Type, merged
from dezky_operator.crd.tenant import (
    ANNOTATION_RECONCILE,
    Detached,
    DkimStatus,
    DnsStatus,
    DomainStatus,
    FilesStatus,
    IdentityStatus,
    InvalidTenant,
    LauncherStatus,
    MailStatus,
    PerSystem,
    PlannedStep,
    SecretRefStatus,
    SpaceStatus,
    Tenant,
    TenantStatus,
    Tile,
)
from dezky_operator.integrations.dns.records import DnsRecord, RecordState
from dezky_operator.integrations.errors import (
    AlreadyExists,
    AuthFailed,
    IdentityDown,
    IntegrationError,
    NoPermission,
    NotFound,
    RateLimited,
    Rejected,
    Unreachable,
    WriteRefused,
)
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.model import Drive
from dezky_operator.integrations.ocis.observe import Observed as FilesObserved
from dezky_operator.integrations.stalwart.desired import without_mailbox
from dezky_operator.integrations.steps import Step, System
from dezky_operator.tenant.converge import Report
from dezky_operator.tenant.credentials import secret_name
from dezky_operator.tenant.parts import MailPicture, SignInPicture

REASONS: tuple[tuple[type[IntegrationError], Reason, Truth], ...] = (
    (AuthFailed, Reason.AUTH_FAILED, Truth.FALSE),
    (NoPermission, Reason.NO_PERMISSION, Truth.FALSE),
    (IdentityDown, Reason.IDENTITY_DOWN, Truth.UNKNOWN),
    (Unreachable, Reason.UNREACHABLE, Truth.UNKNOWN),
    (RateLimited, Reason.RATE_LIMITED, Truth.UNKNOWN),
    (WriteRefused, Reason.STOPPING, Truth.UNKNOWN),
    (AlreadyExists, Reason.FOREIGN_OBJECT, Truth.FALSE),
    (Rejected, Reason.REJECTED, Truth.FALSE),
    (NotFound, Reason.REJECTED, Truth.FALSE),
)
"""What an error says about a system: not as declared, or not known. The first that fits counts."""
NEEDS_A_PERSON = frozenset(
    {
        *(Reason.AUTH_FAILED, Reason.NO_PERMISSION, Reason.FOREIGN_OBJECT, Reason.DOMAIN_CONFLICT, Reason.REJECTED),
        *(Reason.INVALID_SPEC, Reason.RESERVED_NAME, Reason.TOMBSTONE_EXISTS, Reason.OPERATOR_LOCKED_OUT),
        *(Reason.DOMAIN_NOT_VERIFIED, Reason.PURGE_BLOCKED),
    }
)
CONFLICTS = frozenset({Reason.FOREIGN_OBJECT, Reason.DOMAIN_CONFLICT, Reason.TOMBSTONE_EXISTS})
USED_STEP = 0.05
"""The share of a space's room by which `quotaUsed` must move before it is written again."""
SYSTEM_CONDITIONS = (
    (System.AUTHENTIK, Type.IDENTITY_READY, "Sign-in"),
    (System.STALWART, Type.MAIL_READY, "Mail"),
    (System.OCIS, Type.FILES_READY, "Files"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """The three systems."""

    sign_in: Report[SignInPicture]
    mail: Report[MailPicture]
    files: Report[FilesObserved]

    @property
    def all(self) -> tuple[Report[Any], ...]:
        """In the order of the status."""
        return (self.sign_in, self.mail, self.files)

    @property
    def ready(self) -> bool:
        """All three are as declared."""
        return all(report.ready for report in self.all)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is left to do."""
        return tuple(step for report in self.all for step in report.plan.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What of a reconcile is not in the reports. ``now`` in RFC 3339; ``withheld``: why nothing was applied."""

    settings: Settings
    intent: TenantIntent
    now: str
    dns_values_may_change: bool = True
    withheld: Reason | None = None


def status_of(tenant: Tenant, reports: Reports, around: Circumstances) -> TenantStatus:
    """The status after a reconcile of a living Tenant."""
    old = tenant.status
    dns = _dns(old.dns, reports.mail.picture, values_may_change=around.dns_values_may_change)
    shown = reports.steps if around.withheld else ()
    return msgspec.structs.replace(
        old,
        observed_generation=tenant.metadata.generation,
        last_handled_reconcile_at=tenant.annotation(ANNOTATION_RECONCILE),
        tenant_id=str(around.intent.tenant_id),
        phase=_phase(old.phase, reports, around),
        conditions=merged(
            old.conditions,
            _findings(tenant, reports, dns, around),
            generation=tenant.metadata.generation,
            now=around.now,
        ),
        provisioning_status=_words(reports, around),
        provisioning_errors=_errors(reports),
        identity=_identity(old.identity, reports.sign_in.picture, around.intent)
        if not around.withheld
        else old.identity,
        mail=_mail(old.mail, reports.mail.picture),
        files=_files(old.files, reports.files.picture, around.intent),
        launcher=_launcher(tenant, around.settings),
        dns=dns,
        detached=_detached(old.detached, reports, around.intent),
        members=_members(old.members, reports.mail.picture),
        secret_ref=SecretRefStatus(namespace=around.settings.secrets_namespace, name=secret_name(tenant.name)),
        plan=tuple(map(_planned, shown)),
    )


# -- conditions ---------------------------------------------------------------------------


def _findings(
    tenant: Tenant, reports: Reports, dns: tuple[DnsStatus, ...], around: Circumstances
) -> tuple[Finding, ...]:
    systems = [
        _system(kind, label, report, around)
        for (_, kind, label), report in zip(SYSTEM_CONDITIONS, reports.all, strict=True)
    ]
    worst = next((found for found in systems if found.status is not Truth.TRUE), None)
    return (
        _ready(worst),
        _synced(reports, worst, around),
        *systems,
        _dns_ready(dns, reports.mail.picture),
        _suspended(tenant),
        _conflict(systems),
        *_abnormal(systems, around),
    )


def _system(kind: Type, label: str, report: Report[Any], around: Circumstances) -> Finding:
    if report.error is not None:
        reason, truth = reason_of(report.error)
        return Finding(type=kind, status=truth, reason=reason, message=str(report.error))
    for obstacle in report.obstacles:
        if obstacle.blocking:
            return Finding(type=kind, status=Truth.FALSE, reason=Reason(obstacle.reason), message=obstacle.message)
    if report.plan.steps:
        count = len(report.plan.steps)
        reason = around.withheld or Reason.PROVISIONING
        told = "are not applied" if around.withheld else "are still to do"
        return Finding(type=kind, status=Truth.FALSE, reason=reason, message=f"{label}: {count} steps {told}.")
    return Finding(type=kind, status=Truth.TRUE, reason=Reason.AS_DECLARED, message=f"{label} is as declared.")


def reason_of(error: IntegrationError) -> tuple[Reason, Truth]:
    """What an error says about its system."""
    for kind, reason, truth in REASONS:
        if isinstance(error, kind):
            return reason, truth
    return Reason.REJECTED, Truth.FALSE


def _ready(worst: Finding | None) -> Finding:
    if worst is None:
        return Finding(
            type=Type.READY, status=Truth.TRUE, reason=Reason.ACTIVE, message="Sign-in, mail and files are as declared."
        )
    return Finding(type=Type.READY, status=Truth.FALSE, reason=worst.reason, message=worst.message)


def _synced(reports: Reports, worst: Finding | None, around: Circumstances) -> Finding:
    if around.withheld is not None and reports.steps:
        steps = reports.steps
        message = f"{len(steps)} steps are not applied, the first {steps[0].verb} {steps[0].id}; see status.plan."
        return Finding(type=Type.SYNCED, status=Truth.FALSE, reason=around.withheld, message=message)
    if worst is None:
        return Finding(type=Type.SYNCED, status=Truth.TRUE, reason=Reason.IN_SYNC, message="Nothing is left to do.")
    return Finding(type=Type.SYNCED, status=Truth.FALSE, reason=worst.reason, message=worst.message)


def _dns_ready(dns: tuple[DnsStatus, ...], picture: MailPicture | None) -> Finding:
    if picture is None:
        message = "The records to publish are not known while Stalwart does not answer."
        return Finding(type=Type.DNS_READY, status=Truth.UNKNOWN, reason=Reason.DNS_UNKNOWN, message=message)
    wrong = [record for record in dns if record.state in {RecordState.MISSING, RecordState.DIFFERENT}]
    if wrong:
        first = wrong[0]
        rest = f" {len(wrong) - 1} more are in status.dns." if len(wrong) > 1 else ""
        state = "has another value" if first.state == RecordState.DIFFERENT else "is missing"
        message = f"{first.name} {first.type} {state}; publish {_short(first.value)}.{rest}"
        return Finding(type=Type.DNS_READY, status=Truth.FALSE, reason=Reason.RECORD_MISSING, message=message)
    if not dns or any(record.state == RecordState.UNKNOWN for record in dns):
        message = "DNS did not answer for every record." if dns else "No mail domain exists yet."
        return Finding(type=Type.DNS_READY, status=Truth.UNKNOWN, reason=Reason.DNS_UNKNOWN, message=message)
    message = f"All {len(dns)} records are published."
    return Finding(type=Type.DNS_READY, status=Truth.TRUE, reason=Reason.RECORDS_PUBLISHED, message=message)


def _short(value: str) -> str:
    """A DKIM key fills a screen; the whole value is in status.dns."""
    return f'"{value}"' if len(value) <= 80 else f'"{value[:60]}…" (whole value in status.dns)'


def _suspended(tenant: Tenant) -> Finding:
    if tenant.spec.suspended:
        message = "spec.suspended is set, but this version can not lock a tenant; nothing is locked."
        return Finding(type=Type.SUSPENDED, status=Truth.FALSE, reason=Reason.NOT_SUPPORTED, message=message)
    message = "The tenant is not suspended."
    return Finding(type=Type.SUSPENDED, status=Truth.FALSE, reason=Reason.NOT_SUSPENDED, message=message)


def _conflict(systems: Iterable[Finding]) -> Finding:
    for found in systems:
        if found.reason in CONFLICTS:
            return Finding(type=Type.CONFLICT, status=Truth.TRUE, reason=found.reason, message=found.message)
    message = "Nothing of somebody else's is in the way."
    return Finding(type=Type.CONFLICT, status=Truth.FALSE, reason=Reason.NO_CONFLICT, message=message)


def _abnormal(systems: Iterable[Finding], around: Circumstances) -> Iterable[Finding]:
    """Reconciling while the operator goes on by itself, Stalled while only a person can help (kstatus reads both)."""
    open_findings = [found for found in systems if found.status is not Truth.TRUE]
    if around.withheld is not None or not open_findings:
        return
    stalled = next((found for found in open_findings if found.reason in NEEDS_A_PERSON), None)
    kind, found = (Type.STALLED, stalled) if stalled else (Type.RECONCILING, open_findings[0])
    yield Finding(type=kind, status=Truth.TRUE, reason=found.reason, message=found.message)


# -- words per system ------------------------------------------------------------------------


def _phase(old: str | None, reports: Reports, around: Circumstances) -> str:
    if reports.ready or old == "Active":
        return "Active"  # a tenant that worked once stays one; Ready tells how it is now
    return "Pending" if around.withheld or all(report.picture is None for report in reports.all) else "Provisioning"


def _words(reports: Reports, around: Circumstances) -> PerSystem:
    words = {report.system: _word(report, around) for report in reports.all}
    return PerSystem(authentik=words[System.AUTHENTIK], stalwart=words[System.STALWART], ocis=words[System.OCIS])


def _word(report: Report[Any], around: Circumstances) -> str:
    if report.ready:
        return "Ready"
    if report.error is not None or any(found.blocking for found in report.obstacles):
        return "Failed"
    return "Pending" if around.withheld else "Provisioning"


def _errors(reports: Reports) -> PerSystem | None:
    texts = {report.system: _problem(report) for report in reports.all}
    if not any(texts.values()):
        return None
    return PerSystem(authentik=texts[System.AUTHENTIK], stalwart=texts[System.STALWART], ocis=texts[System.OCIS])


def _problem(report: Report[Any]) -> str | None:
    told = [str(report.error)] if report.error is not None else []
    told += [found.message for found in report.obstacles]
    return " ".join(told) or None


# -- what exists ---------------------------------------------------------------------------------


def _identity(old: IdentityStatus | None, picture: SignInPicture | None, intent: TenantIntent) -> IdentityStatus | None:
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
        admin_username=intent.admin.username if intent.admin and found.admin else None,
        admin_signed_in=found.admin.last_login is not None if found.admin else None,
    )


def _mail(old: MailStatus | None, picture: MailPicture | None) -> MailStatus | None:
    if picture is None:
        return old
    owned = picture.mail.owned(picture.intent)
    return MailStatus(
        role_id=picture.mail.role.id if picture.mail.role else None,
        mailboxes=sum(len(found.accounts) for found in owned.values()),
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


def _files(old: FilesStatus | None, picture: FilesObserved | None, intent: TenantIntent) -> FilesStatus | None:
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


def _launcher(tenant: Tenant, settings: Settings) -> LauncherStatus:
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


def _dns(old: tuple[DnsStatus, ...], picture: MailPicture | None, *, values_may_change: bool) -> tuple[DnsStatus, ...]:
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


def _detached(old: tuple[Detached, ...], reports: Reports, intent: TenantIntent) -> tuple[Detached, ...]:
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


def _members(old: int | None, picture: MailPicture | None) -> int | None:
    if picture is None or picture.intent.members is None:
        return old
    return len(picture.intent.members)


def _planned(step: Step) -> PlannedStep:
    return PlannedStep(key=step.id, verb=step.verb.value, object=step.name, fields=step.fields, reason=step.reason)


# -- when there is nothing to reconcile ------------------------------------------------------------


def told(tenant: Tenant, reason: Reason, message: str, *, now: str, phase: str | None = None) -> TenantStatus:
    """The status of a Tenant that is left alone, or whose deletion goes on, for one reason."""
    old = tenant.status
    kept = [
        found for found in old.conditions if found.type not in {Type.READY, Type.SYNCED, Type.STALLED, Type.RECONCILING}
    ]
    findings = [
        Finding(type=Type.READY, status=Truth.FALSE, reason=reason, message=message),
        Finding(type=Type.SYNCED, status=Truth.FALSE, reason=reason, message=message),
    ]
    if reason is not Reason.PAUSED:
        kind = Type.STALLED if reason in NEEDS_A_PERSON else Type.RECONCILING
        findings.append(Finding(type=kind, status=Truth.TRUE, reason=reason, message=message))
    if reason in CONFLICTS:
        kept = [found for found in kept if found.type != Type.CONFLICT]
        findings.append(Finding(type=Type.CONFLICT, status=Truth.TRUE, reason=reason, message=message))
    fresh = merged(old.conditions, findings, generation=tenant.metadata.generation, now=now)
    return msgspec.structs.replace(
        old,
        observed_generation=tenant.metadata.generation,
        last_handled_reconcile_at=tenant.annotation(ANNOTATION_RECONCILE),
        phase=phase or old.phase or "Pending",
        conditions=(*fresh[:2], *kept, *fresh[2:]),
    )


def paused(tenant: Tenant, *, now: str) -> TenantStatus:
    """The status of a paused Tenant: Ready stays what it was, only Synced says that nobody looks."""
    finding = Finding(
        type=Type.SYNCED,
        status=Truth.UNKNOWN,
        reason=Reason.PAUSED,
        message="dezky.eu/paused is set: nothing is read, changed or deleted until it is removed.",
    )
    fresh = merged(tenant.status.conditions, [finding], generation=tenant.metadata.generation, now=now)
    kept = [found for found in tenant.status.conditions if found.type != Type.SYNCED]
    return msgspec.structs.replace(
        tenant.status,
        observed_generation=tenant.metadata.generation,
        last_handled_reconcile_at=tenant.annotation(ANNOTATION_RECONCILE),
        conditions=(*kept[:1], *fresh, *kept[1:]),
    )


def invalid_status(raw: Mapping[str, Any], invalid: InvalidTenant, *, now: str) -> TenantStatus:
    """The status of an object that can not be understood; what it said before is not trusted."""
    try:
        old = msgspec.convert(raw, TenantStatus)
    except msgspec.ValidationError:
        old = TenantStatus()
    findings = [
        Finding(type=kind, status=truth, reason=Reason.INVALID_SPEC, message=str(invalid))
        for kind, truth in ((Type.READY, Truth.FALSE), (Type.SYNCED, Truth.FALSE), (Type.STALLED, Truth.TRUE))
    ]
    return msgspec.structs.replace(
        old,
        observed_generation=invalid.generation,
        conditions=merged(old.conditions, findings, generation=invalid.generation, now=now),
    )


def ready_condition(status: TenantStatus) -> Condition | None:
    """The condition to wait for."""
    return status.condition(Type.READY)
