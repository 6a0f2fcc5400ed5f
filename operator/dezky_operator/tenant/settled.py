"""Which Tenants are as declared and need nothing of their own: the sweep over the fleet looks at them. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from dezky_operator.config import Settings
from dezky_operator.crd.conditions import Reason, Truth, Type
from dezky_operator.crd.tenant import (
    ANNOTATION_CONFIRM_DETACH,
    ANNOTATION_PAUSED,
    ANNOTATION_PLAN_ONLY,
    ANNOTATION_RECONCILE,
    ANNOTATION_RENEW_LINK,
    ANNOTATION_RESYNC,
    Tenant,
)
from dezky_operator.tenant.suspension import hold_ends_in

SOONEST = 10.0
"""Seconds between two looks that `dezky.eu/resync-seconds` can not get below."""


def is_reached(tenant: Tenant) -> bool:
    """Whether the spec was reached, and nothing but drift that is only reported was found since."""
    status, generation = tenant.status, tenant.metadata.generation
    ready = status.condition(Type.READY)
    phase = "Suspended" if tenant.suspended else "Active"
    return (
        (status.applied_generation, status.observed_generation) == (generation, generation)
        and ready is not None
        and (ready.status == Truth.TRUE or ready.reason == Reason.DRIFT)
        and status.phase == phase
        and tenant.suspended == (status.suspension is not None)
    )


def is_settled(tenant: Tenant) -> bool:
    """Whether nothing about it waits for a reconcile of its own. A plan that is only reported waits for a person."""
    synced = tenant.status.condition(Type.SYNCED)
    annotated = (ANNOTATION_PAUSED, ANNOTATION_PLAN_ONLY)
    return (
        is_reached(tenant)
        and not tenant.metadata.deletion_timestamp
        and not any(map(tenant.annotation, annotated))
        and tenant.annotation(ANNOTATION_RECONCILE) == tenant.status.last_handled_reconcile_at
        and synced is not None
        and (synced.status == Truth.TRUE or synced.reason == Reason.DRIFT)
    )


def may_rest(tenant: Tenant, finalizer: str) -> bool:
    """Whether a process that has just begun may leave it to its first sweep.

    What a person asked for while no operator ran, and no status tells of, is looked at at once.
    """
    confirmed = {name.strip() for name in (tenant.annotation(ANNOTATION_CONFIRM_DETACH) or "").split(",")}
    return (
        is_settled(tenant)
        and finalizer in tenant.metadata.finalizers
        and not tenant.annotation(ANNOTATION_RENEW_LINK)
        and not confirmed & {found.name for found in tenant.status.detached}
    )


def full_look(tenant: Tenant, settings: Settings) -> float:
    """Seconds between two looks at what no sweep sees: DNS, the tenant's Secret, used room, its application.

    `dezky.eu/resync-seconds` on the object comes before the setting; a value that is no number is passed over.
    """
    try:
        own = float(tenant.annotation(ANNOTATION_RESYNC) or "nan")
    except ValueError:
        own = math.nan
    return max(own, SOONEST) if math.isfinite(own) else settings.reconcile.full_look_seconds


def first_look(tenant: Tenant, settings: Settings, now: datetime, jitter: float) -> float:
    """Seconds until a Tenant found settled at the start is looked at: spread over the whole time between two looks."""
    waits = [full_look(tenant, settings) * jitter]
    dns = tenant.status.condition(Type.DNS_READY)
    if dns is None or dns.status != Truth.TRUE:
        waits.append(settings.dns.recheck_seconds * (0.9 + 0.2 * jitter))
    held = hold_ends_in(tenant.status.suspension, now)
    if held is not None:
        waits.append(held)
    return min(waits)
