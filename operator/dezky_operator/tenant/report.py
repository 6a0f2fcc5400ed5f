"""From what was found to the status a person reads. Pure: the same findings give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dezky_operator.crd.conditions import Condition, Finding, Reason, Truth, Type, merged
from dezky_operator.crd.tenant import (
    ANNOTATION_RECONCILE,
    InvalidTenant,
    PerSystem,
    PreviewStatus,
    SecretRefStatus,
    Tenant,
    TenantStatus,
)
from dezky_operator.integrations.steps import System
from dezky_operator.tenant.converge import Report
from dezky_operator.tenant.credentials import secret_name
from dezky_operator.tenant.findings import (
    CONFLICTS,
    NEEDS_A_PERSON,
    Circumstances,
    findings_of,
    reason_of,
    withheld_finding,
)
from dezky_operator.tenant.intent import ESTABLISHED
from dezky_operator.tenant.picture import (
    detached_of,
    dns_of,
    files_of,
    identity_of,
    launcher_of,
    mail_of,
    members_of,
    planned_of,
)
from dezky_operator.tenant.reports import Reports


def status_of(tenant: Tenant, reports: Reports, around: Circumstances) -> TenantStatus:
    """The status after a reconcile of a living Tenant."""
    old = tenant.status
    dns = dns_of(old.dns, reports.mail.picture, values_may_change=around.dns_values_may_change)
    shown = reports.steps if around.withheld else ()
    return msgspec.structs.replace(
        old,
        observed_generation=tenant.metadata.generation,
        last_handled_reconcile_at=tenant.annotation(ANNOTATION_RECONCILE),
        tenant_id=str(around.intent.tenant_id),
        phase=_phase(old.phase, reports, around),
        conditions=merged(
            old.conditions,
            findings_of(reports, dns, around),
            generation=tenant.metadata.generation,
            now=around.now,
        ),
        provisioning_status=_words(reports, around),
        provisioning_errors=_errors(reports),
        identity=identity_of(old.identity, reports.sign_in.picture, around.intent)
        if not around.withheld
        else old.identity,
        mail=mail_of(old.mail, reports.mail.picture),
        files=files_of(old.files, reports.files.picture, around.intent),
        launcher=launcher_of(tenant, around.settings),
        dns=dns,
        detached=detached_of(old.detached, reports, around.intent),
        members=members_of(old.members, reports.mail.picture),
        secret_ref=SecretRefStatus(namespace=around.settings.secrets_namespace, name=secret_name(tenant.name)),
        applied_generation=tenant.metadata.generation
        if reports.ready and not around.withheld
        else old.applied_generation,
        suspension=around.suspension,
        preview=None,
        plan=tuple(map(planned_of, shown)),
    )


# -- words per system ------------------------------------------------------------------------


def previewed(tenant: Tenant, reports: Reports, preview: PreviewStatus | None, *, now: str) -> TenantStatus:
    """The status of a Tenant whose plan is only shown: what it is now does not change by looking."""
    old, generation = tenant.status, tenant.metadata.generation
    error = next((found.error for found in reports.all if found.error is not None), None)
    if error is not None:
        finding = Finding(type=Type.SYNCED, status=Truth.UNKNOWN, reason=reason_of(error)[0], message=str(error))
    elif reports.steps:
        finding = withheld_finding(reports.steps, Reason.PLAN_ONLY)
    else:
        message = "Nothing would be done; dezky.eu/plan-only keeps it from being done."
        finding = Finding(type=Type.SYNCED, status=Truth.TRUE, reason=Reason.PLAN_ONLY, message=message)
    findings = [finding]
    if old.applied_generation != generation:
        message = "The spec is not applied while dezky.eu/plan-only is set."
        findings.insert(0, Finding(type=Type.READY, status=Truth.FALSE, reason=Reason.PLAN_ONLY, message=message))
    fresh = merged(old.conditions, findings, generation=generation, now=now)
    names = {condition.type for condition in fresh}
    return msgspec.structs.replace(
        old,
        observed_generation=generation,
        last_handled_reconcile_at=tenant.annotation(ANNOTATION_RECONCILE),
        phase=old.phase or "Pending",
        conditions=(*fresh, *(kept for kept in old.conditions if kept.type not in names)),
        preview=preview,
        plan=tuple(map(planned_of, reports.steps)),
    )


def _phase(old: str | None, reports: Reports, around: Circumstances) -> str:
    if around.withheld is None and around.suspension is not None and (reports.ready or old in ESTABLISHED):
        return "Suspended"  # from the first lock to the last one undone; the condition Suspended tells how far it is
    if reports.ready or old in ESTABLISHED:
        return "Active" if around.withheld is None else old or "Active"  # worked once; Ready tells how it is now
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
