"""A suspension over time: when it began, what was closed, how long mail is held, what was proven (design 6). Pure.

A lock is a desired state like any other. What is kept here is only what observing can not tell: which spaces were open
before, and what an account of the tenant was answered before the doors closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus, Tenant
from dezky_operator.integrations.steps import Plan, Step, System, Verb

HOLD_FOR = timedelta(hours=72)
"""How long mail is held unless the spec says otherwise."""
LONGEST_HOLD = timedelta(hours=96)
"""Senders give up after four or five days: mail held longer would be lost."""
SYSTEMS = (System.AUTHENTIK, System.STALWART, System.OCIS)


class Hold:
    """The words of `status.suspension.hold`."""

    LOADING = "Loading"
    HELD = "Held"
    ENDED = "Ended"


class Result:
    """The words of a receipt's result."""

    REFUSED = "Refused"
    OPEN = "Open"
    INCONCLUSIVE = "Inconclusive"


def begun(tenant: Tenant, now: datetime) -> SuspensionStatus:
    """The suspension of a Tenant: the recorded one, with what its spec says now, or a new one that begins now."""
    old = tenant.status.suspension or SuspensionStatus(since=text_of(now), source="Spec")
    spec = tenant.spec.suspension
    policy = spec.mail_policy if spec else "Accept"
    until = time_of(old.since) + min(_hours(spec.hold_for if spec else None), LONGEST_HOLD)
    return msgspec.structs.replace(
        old,
        source=old.source or "Spec",
        reason=spec.reason if spec else None,
        mail_policy=policy,
        hold_until=text_of(until) if policy == "Hold" else None,
    )


def holding(suspension: SuspensionStatus, now: datetime) -> bool:
    """Whether mail is held now; afterwards it is accepted, suspended or not."""
    return suspension.hold_until is not None and now < time_of(suspension.hold_until)


def hold_active(hold: str | None) -> bool | None:
    """Whether the mail server is known to have loaded a hold; None when it is not known."""
    return {None: False, Hold.ENDED: False, Hold.HELD: True}.get(hold)


def hold_ends_in(suspension: SuspensionStatus | None, now: datetime) -> float | None:
    """Seconds until held mail is accepted; None when none is held."""
    if suspension is None or suspension.hold_until is None or not holding(suspension, now):
        return None
    return (time_of(suspension.hold_until) - now).total_seconds()


def closing(plan: Plan) -> tuple[str, ...]:
    """The ids of the spaces that a plan of OCIS closes."""
    return tuple(str(step.target) for step in plan.steps if _closes(step))


def _closes(step: Step) -> bool:
    return (step.system, step.kind, step.verb) == (System.OCIS, "drive", Verb.DISABLE)


def with_drives(suspension: SuspensionStatus, ids: Iterable[str]) -> SuspensionStatus:
    """The suspension that also closed these spaces."""
    both = tuple(dict.fromkeys((*suspension.disabled_drive_ids, *ids)))
    return msgspec.structs.replace(suspension, disabled_drive_ids=both)


def settled(
    suspension: SuspensionStatus, *, locked: bool, held: bool | None, receipts: Iterable[ReceiptStatus], now: datetime
) -> SuspensionStatus:
    """The suspension after a reconcile. ``held``: whether mail is held as far as the mail server was seen to."""
    known = {receipt.system: receipt for receipt in (*suspension.receipts, *receipts)}
    hold = suspension.hold if held is None else _hold_word(suspension, held=held)
    return msgspec.structs.replace(
        suspension,
        locked_at=suspension.locked_at or (text_of(now) if locked else None),
        hold=hold,
        receipts=tuple(known[system] for system in SYSTEMS if system in known),
    )


def _hold_word(suspension: SuspensionStatus, *, held: bool) -> str | None:
    if held:
        return Hold.HELD
    return Hold.ENDED if suspension.hold is not None else None


def unproven(system: System, at: str, why: str) -> ReceiptStatus:
    """The receipt of a system that nothing could be proven for."""
    return ReceiptStatus(system=system.value, at=at, result=Result.INCONCLUSIVE, after=why)


def _hours(text: str | None) -> timedelta:
    """A duration such as ``72h``, which is all that the schema lets through."""
    return timedelta(hours=int(text.removesuffix("h"))) if text else HOLD_FOR


def text_of(moment: datetime) -> str:
    """A time as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(text: str) -> datetime:
    """A time as the API server writes it, understood."""
    return datetime.fromisoformat(text)
