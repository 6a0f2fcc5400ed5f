"""Conditions: what is so, and why, in words that scripts and people can rely on. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Type(StrEnum):
    """What a condition is about. Reconciling and Stalled are there only while something is not normal."""

    READY = "Ready"
    SYNCED = "Synced"
    IDENTITY_READY = "IdentityReady"
    MAIL_READY = "MailReady"
    FILES_READY = "FilesReady"
    DNS_READY = "DnsReady"
    SUSPENDED = "Suspended"
    CONFLICT = "Conflict"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Reason(StrEnum):
    """Why. A fixed set: dashboards and alerts match on it."""

    ACTIVE = "Active"
    IN_SYNC = "InSync"
    AS_DECLARED = "AsDeclared"
    PROVISIONING = "Provisioning"
    NOT_SUSPENDED = "NotSuspended"
    SUSPENDED = "Suspended"
    LOCKED = "Locked"
    LOCKING = "Locking"
    RESUMING = "Resuming"
    PROOF_INCOMPLETE = "ProofIncomplete"
    STILL_OPEN = "StillOpen"
    NO_CONFLICT = "NoConflict"
    DELETING = "Deleting"
    WAITING_FOR_AUDIT = "WaitingForAudit"
    PURGE_BLOCKED = "PurgeBlocked"
    PURGE_NOT_CONFIRMED = "PurgeNotConfirmed"
    PAUSED = "Paused"
    PLAN_ONLY = "PlanOnly"
    DRIFT = "Drift"
    NOT_CONVERGING = "NotConverging"
    INVALID_SPEC = "InvalidSpec"
    RESERVED_NAME = "ReservedName"
    TOMBSTONE_EXISTS = "TombstoneExists"
    FOREIGN_OBJECT = "ForeignObject"
    GROUP_MISSING = "GroupMissing"
    DOMAIN_CONFLICT = "DomainConflict"
    DOMAIN_NOT_VERIFIED = "DomainNotVerified"
    AUTH_FAILED = "AuthFailed"
    NO_PERMISSION = "NoPermission"
    NOT_BOOTSTRAPPED = "NotBootstrapped"
    IDENTITY_DOWN = "IdentityDown"
    UNREACHABLE = "Unreachable"
    RATE_LIMITED = "RateLimited"
    REJECTED = "Rejected"
    STOPPING = "Stopping"
    AUDIT_UNAVAILABLE = "AuditUnavailable"
    OPERATOR_LOCKED_OUT = "OperatorLockedOut"
    RECORDS_PUBLISHED = "RecordsPublished"
    RECORD_MISSING = "RecordMissing"
    DNS_UNKNOWN = "DnsUnknown"


class Truth(StrEnum):
    """Whether it is so."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One entry of `status.conditions`. ``last_transition_time`` in RFC 3339, UTC."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A condition as it was found now, before it is known whether that is new."""

    type: Type
    status: Truth
    reason: Reason
    message: str


def merged(old: Iterable[Condition], found: Iterable[Finding], *, generation: int, now: str) -> tuple[Condition, ...]:
    """The new conditions. Only a changed status gets a new time, so the same findings twice give the same bytes."""
    before = {condition.type: condition for condition in old}
    return tuple(_merge(before.get(finding.type), finding, generation, now) for finding in found)


def _merge(before: Condition | None, finding: Finding, generation: int, now: str) -> Condition:
    unchanged = before is not None and before.status == finding.status
    return Condition(
        type=finding.type.value,
        status=finding.status.value,
        reason=finding.reason.value,
        message=finding.message,
        last_transition_time=before.last_transition_time if before and unchanged else now,
        observed_generation=generation,
    )
