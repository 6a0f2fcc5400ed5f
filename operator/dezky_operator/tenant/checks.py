"""Reasons not to work on a Tenant at all, as a chain of small pure checks. The first that objects counts."""

from __future__ import annotations

from collections.abc import Callable

from dezky_operator.config import Settings
from dezky_operator.crd.conditions import Reason
from dezky_operator.crd.tenant import Tenant, quantity

Objection = tuple[Reason, str]
BOOTSTRAP_NAMES = frozenset({"dezky-tenants", "dezky-platform-admins", "dezky-ocis", "dezky-mail", "dezky-portal"})
"""Objects that `dezky-operator bootstrap` made in Authentik. No tenant may ever have one of these names for its own."""


def objection(tenant: Tenant, settings: Settings) -> Objection | None:
    """Why this Tenant can not be worked on; None when it can."""
    checks: tuple[Callable[[Tenant, Settings], Objection | None], ...] = (_names, _plan, _quotas)
    return next((found for check in checks if (found := check(tenant, settings))), None)


def _names(tenant: Tenant, _: Settings) -> Objection | None:
    """The CRD refuses these names; this holds where an older CRD let one in."""
    names = {f"dezky-{tenant.name}", f"dezky-{tenant.name}-users", f"dezky-{tenant.name}-admins"}
    taken = sorted(names & BOOTSTRAP_NAMES)
    if not taken:
        return None
    return (
        Reason.RESERVED_NAME,
        f"Tenant {tenant.name} would own {taken[0]}, which belongs to the platform. Apply it under another name.",
    )


def _plan(tenant: Tenant, settings: Settings) -> Objection | None:
    if not settings.plans or tenant.spec.plan in settings.plans:
        return None
    known = ", ".join(settings.plans)
    return Reason.INVALID_SPEC, f"spec.plan is {tenant.spec.plan}; expected one of {known} (setting plans)."


def _quotas(tenant: Tenant, _: Settings) -> Objection | None:
    sizes = [
        tenant.spec.files.quota,
        tenant.spec.mail.mailbox_quota,
        *(space.quota for space in tenant.spec.files.spaces),
    ]
    for size in sizes:
        try:
            quantity(size)
        except ValueError as error:
            return Reason.INVALID_SPEC, f"In the spec {error}; use M, G, T, Mi, Gi or Ti, or 0 for no limit."
    return None
