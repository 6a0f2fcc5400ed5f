"""From what was found to the conditions a person reads. Pure: the same findings give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dezky_operator.config import Settings
from dezky_operator.crd.conditions import Finding, Reason, Truth, Type
from dezky_operator.crd.tenant import DnsStatus, SuspensionStatus
from dezky_operator.integrations.dns.records import RecordState
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
    Unrecorded,
    WriteRefused,
)
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Step, System
from dezky_operator.tenant.converge import Report
from dezky_operator.tenant.parts import MailPicture
from dezky_operator.tenant.reports import Reports
from dezky_operator.tenant.suspension import Result

REASONS: tuple[tuple[type[IntegrationError], Reason, Truth], ...] = (
    (AuthFailed, Reason.AUTH_FAILED, Truth.FALSE),
    (NoPermission, Reason.NO_PERMISSION, Truth.FALSE),
    (IdentityDown, Reason.IDENTITY_DOWN, Truth.UNKNOWN),
    (Unreachable, Reason.UNREACHABLE, Truth.UNKNOWN),
    (RateLimited, Reason.RATE_LIMITED, Truth.UNKNOWN),
    (WriteRefused, Reason.STOPPING, Truth.UNKNOWN),
    (Unrecorded, Reason.AUDIT_UNAVAILABLE, Truth.UNKNOWN),
    (AlreadyExists, Reason.FOREIGN_OBJECT, Truth.FALSE),
    (Rejected, Reason.REJECTED, Truth.FALSE),
    (NotFound, Reason.REJECTED, Truth.FALSE),
)
"""What an error says about a system: not as declared, or not known. The first that fits counts."""
NEEDS_A_PERSON = frozenset(
    {
        *(Reason.AUTH_FAILED, Reason.NO_PERMISSION, Reason.FOREIGN_OBJECT, Reason.DOMAIN_CONFLICT, Reason.REJECTED),
        *(Reason.INVALID_SPEC, Reason.RESERVED_NAME, Reason.TOMBSTONE_EXISTS, Reason.OPERATOR_LOCKED_OUT),
        *(Reason.DOMAIN_NOT_VERIFIED, Reason.PURGE_BLOCKED, Reason.GROUP_MISSING),
    }
)
CONFLICTS = frozenset({Reason.FOREIGN_OBJECT, Reason.DOMAIN_CONFLICT, Reason.TOMBSTONE_EXISTS})
SYSTEM_CONDITIONS = (
    (System.AUTHENTIK, Type.IDENTITY_READY, "Sign-in"),
    (System.STALWART, Type.MAIL_READY, "Mail"),
    (System.OCIS, Type.FILES_READY, "Files"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What of a reconcile is not in the reports.

    ``now`` in RFC 3339; ``withheld``: why nothing was applied; ``suspension``: what is kept of one that runs or is
    being undone.
    """

    settings: Settings
    intent: TenantIntent
    now: str
    dns_values_may_change: bool = True
    withheld: Reason | None = None
    suspension: SuspensionStatus | None = None


def findings_of(reports: Reports, dns: tuple[DnsStatus, ...], around: Circumstances) -> tuple[Finding, ...]:
    """Every condition of a Tenant that was reconciled."""
    systems = [
        _system(kind, label, report, around)
        for (_, kind, label), report in zip(SYSTEM_CONDITIONS, reports.all, strict=True)
    ]
    worst = next((found for found in systems if found.status is not Truth.TRUE), None)
    return (
        _ready(worst, around),
        _synced(reports, worst, around),
        *systems,
        _dns_ready(dns, reports.mail.picture),
        _suspended(reports, around),
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
        reason = around.withheld or (Reason.NOT_CONVERGING if report.exhausted else Reason.PROVISIONING)
        told = "are not applied" if around.withheld else "are still to do"
        if report.exhausted:
            step = report.plan.steps[0]
            told = f"are left after every round, the first {step.verb} {step.id}; somebody else changes it back"
        return Finding(type=kind, status=Truth.FALSE, reason=reason, message=f"{label}: {count} steps {told}.")
    return Finding(type=kind, status=Truth.TRUE, reason=Reason.AS_DECLARED, message=f"{label} is as declared.")


def reason_of(error: IntegrationError) -> tuple[Reason, Truth]:
    """What an error says about its system."""
    for kind, reason, truth in REASONS:
        if isinstance(error, kind):
            return reason, truth
    return Reason.REJECTED, Truth.FALSE


def _ready(worst: Finding | None, around: Circumstances) -> Finding:
    if worst is not None:
        return Finding(type=Type.READY, status=Truth.FALSE, reason=worst.reason, message=worst.message)
    if around.intent.locked:
        message = "The tenant is locked in sign-in, mail and files, as declared."
        return Finding(type=Type.READY, status=Truth.TRUE, reason=Reason.SUSPENDED, message=message)
    message = "Sign-in, mail and files are as declared."
    return Finding(type=Type.READY, status=Truth.TRUE, reason=Reason.ACTIVE, message=message)


def _synced(reports: Reports, worst: Finding | None, around: Circumstances) -> Finding:
    if around.withheld is not None and reports.steps:
        steps = reports.steps
        return withheld_finding(steps, around.withheld)
    if worst is None:
        return Finding(type=Type.SYNCED, status=Truth.TRUE, reason=Reason.IN_SYNC, message="Nothing is left to do.")
    return Finding(type=Type.SYNCED, status=Truth.FALSE, reason=worst.reason, message=worst.message)


def withheld_finding(steps: tuple[Step, ...], reason: Reason) -> Finding:
    """What is not applied, and where it can be read."""
    message = f"{len(steps)} steps are not applied, the first {steps[0].verb} {steps[0].id}; see status.plan."
    return Finding(type=Type.SYNCED, status=Truth.FALSE, reason=reason, message=message)


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


def _suspended(reports: Reports, around: Circumstances) -> Finding:
    """True only with a receipt for each system: a lock nobody tried is a hope."""
    suspension = around.suspension
    if suspension is None:
        message = "The tenant is not suspended."
        return Finding(type=Type.SUSPENDED, status=Truth.FALSE, reason=Reason.NOT_SUSPENDED, message=message)
    if not around.intent.locked:
        message = "The tenant is being opened again; what is left to do stands in the other conditions."
        return Finding(type=Type.SUSPENDED, status=Truth.UNKNOWN, reason=Reason.RESUMING, message=message)
    if not reports.ready:
        waiting = " and ".join(report.system for report in reports.all if not report.ready)
        message = f"Not locked yet: {waiting}. It goes on by itself where nothing else is said."
        return Finding(type=Type.SUSPENDED, status=Truth.FALSE, reason=Reason.LOCKING, message=message)
    return _proven(suspension)


def _proven(suspension: SuspensionStatus) -> Finding:
    by_result: dict[str, list[str]] = {}
    for receipt in suspension.receipts:
        by_result.setdefault(receipt.result, []).append(receipt.system)
    if still_open := by_result.get(Result.OPEN):
        message = (
            f"An account of the tenant still gets in at {' and '.join(still_open)} although every lock is in place. "
            "Look at status.suspension.receipts, and end its access there by hand."
        )
        return Finding(type=Type.SUSPENDED, status=Truth.FALSE, reason=Reason.STILL_OPEN, message=message)
    if unproven := by_result.get(Result.INCONCLUSIVE):
        message = (
            f"Every lock is in place, but nothing is proven for {' and '.join(unproven)}; see status.suspension."
            "receipts. Resume and suspend again for a proof."
        )
        return Finding(type=Type.SUSPENDED, status=Truth.UNKNOWN, reason=Reason.PROOF_INCOMPLETE, message=message)
    message = "Locked in all three systems, and proven from outside; see status.suspension.receipts."
    return Finding(type=Type.SUSPENDED, status=Truth.TRUE, reason=Reason.LOCKED, message=message)


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
