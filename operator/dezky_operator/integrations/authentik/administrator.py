"""The tenant's first administrator, as steps: made and let in until the first sign-in, then people's business. Pure.

A user who is not the tenant's own was somebody before: one who signed in long ago is let in too, until status tells
that it was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import Desired
from dezky_operator.integrations.authentik.graph import ADMIN, ADMINS_GROUP, USERS_GROUP, Found, authentik_step
from dezky_operator.integrations.authentik.model import USER_TENANT, User, owns_user, path_of
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import Admin, TenantIntent
from dezky_operator.integrations.steps import Obstacle, Step, System, Verb, step_key

GROUPS = tuple(step_key(System.AUTHENTIK, "membership", role) for role in ("users", "admins"))


def administrator(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Iterator[Found]:
    """The user, the memberships and, when it is due, the link to sign in with."""
    want, found = desired.admin, observed.admin
    if want is None:
        return
    if found is not None and (refusal := _untouchable(found, baseline)):
        if not _settled(intent, found):
            yield Obstacle(system=System.AUTHENTIK, reason="ForeignObject", message=refusal)
        return
    for step in _steps(intent, want, found, observed):
        yield replace(step, asked=intent.recovery_link_asked)


def _steps(intent: TenantIntent, want: Admin, found: User | None, observed: Observed) -> Iterator[Step]:
    settled = _settled(intent, found)
    if found is None and settled:
        return  # deleted by somebody who knew her as the administrator
    if found is None:
        yield _new_user(intent, want)
    if intent.recovery_link_asked or not settled:
        yield from _memberships(want.username, found, observed)
    if intent.recovery_link_due and (found is None or owns_user(intent, found)):
        yield authentik_step(
            "recovery-link",
            "admin",
            Verb.CREATE,
            name=want.username,
            target=str(found.pk) if found else ADMIN,
            reason="The first administrator signs in with it and sets a password.",
            # Groups first: a link used at once must lead into the tenant.
            after=GROUPS,
        )


def _settled(intent: TenantIntent, found: User | None) -> bool:
    """Whether the administrator has been in, so that leaving is meant."""
    own_sign_in = found is not None and owns_user(intent, found) and found.last_login is not None
    return intent.admin_signed_in or own_sign_in


def _new_user(intent: TenantIntent, want: Admin) -> Step:
    return authentik_step(
        "user",
        "admin",
        Verb.CREATE,
        name=want.username,
        reason="The first administrator.",
        body={
            "username": want.username,
            "email": want.email,
            "name": want.name,
            "path": path_of(intent),
            "attributes": {"dezky": {"tenant": intent.slug}, USER_TENANT: str(intent.tenant_id)},
            "is_active": True,
        },
    )


def _untouchable(user: User, baseline: Baseline) -> str | None:
    """Why the operator never touches this user; None when it may be joined to the tenant's groups."""
    kept_out = "It is not touched: give the tenant another administrator."
    if user.is_superuser:
        return f"Authentik's user {user.username} is a superuser. {kept_out}"
    if user.type == "internal_service_account":
        return f"Authentik's user {user.username} is an internal service account. {kept_out}"
    if baseline.platform_admins in (user.groups or ()):
        return f"Authentik's user {user.username} is an administrator of the platform. {kept_out}"
    return None


def _memberships(username: str, user: User | None, observed: Observed) -> Iterator[Step]:
    for role, group, ref in (
        ("users", observed.users_group, USERS_GROUP),
        ("admins", observed.admins_group, ADMINS_GROUP),
    ):
        if user is not None and group is not None and group.pk in (user.groups or ()):
            continue
        yield authentik_step(
            "membership",
            role,
            Verb.GRANT,
            name=username,
            target=group.pk if group else ref,
            body={"pk": str(user.pk) if user else ADMIN},
            reason=f"The first administrator belongs to the tenant's {role}.",
        )
