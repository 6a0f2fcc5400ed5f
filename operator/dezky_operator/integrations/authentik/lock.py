"""Locking a tenant out of Authentik, and undoing exactly that (design 6 and 12, facts/authentik.md 4 and 11). Pure.

The order of a lock, each kind after the one before: deny binding on, refresh grant off, group out of `dezky-tenants`;
sessions ended; people deactivated with our mark. An unlock goes the other way round: the deny binding goes off last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import Desired
from dezky_operator.integrations.authentik.graph import Found, authentik_step
from dezky_operator.integrations.authentik.model import User, suspended_by
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Step, System, Verb, step_key

DENY = step_key(System.AUTHENTIK, "binding", "deny")
GRANTS = step_key(System.AUTHENTIK, "provider", "main")
PARENTS = step_key(System.AUTHENTIK, "group", "users")
SESSIONS = step_key(System.AUTHENTIK, "session", "members")
SWITCHES = (DENY, GRANTS, PARENTS)
"""What closes the doors; nobody's session ends before they are closed, or the person would just come back in."""
LOCK_FIELDS = {
    "provider": frozenset({"grant_types", "client_type", "client_id"}),
    "application": frozenset({"policy_engine_mode", "provider", "meta_publisher"}),
    "group": frozenset({"parents", "attributes", "is_superuser"}),
}
"""The fields that can open a lock, or that tell whose the object is. A binding is nothing but a lock."""


def only_locks(step: Step) -> Step | None:
    """``step`` cut down to what a lock needs, None when that is nothing: other edits apply on resume."""
    fields = LOCK_FIELDS.get(step.kind, frozenset())
    if step.kind == "binding":
        return replace(step, privileged=False)
    if step.verb is not Verb.UPDATE or not fields.intersection(step.fields):
        return None
    kept = tuple(name for name in step.fields if name in fields)
    return replace(step, fields=kept, body={name: step.body[name] for name in kept}, privileged=False)


def deactivations(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Iterator[Step]:
    """End the sessions of the tenant's people, then deactivate those who are nobody else's."""
    people = [user for user in observed.people if lockable(user, baseline)]
    ending = [user for user in people if user.is_active and not observed.works_elsewhere(user, intent)]
    closing = _closing(desired, observed)
    ended = sorted(user.pk for user in (people if closing else ending))
    if ended:
        yield authentik_step(
            "session",
            "members",
            Verb.REVOKE,
            name=f"sessions of {intent.slug}",
            body={"users": ended},
            reason="Who is signed in now is signed out.",
            after=SWITCHES,
            privileged=False,
        )
    for user in ending:
        yield authentik_step(
            "user",
            str(user.pk),
            Verb.DISABLE,
            name=user.username,
            target=str(user.pk),
            body={"suspendedBy": str(intent.tenant_id)},
            fields=("is_active",),
            reason="Only this ends the tokens of the shared applications.",
            after=(*SWITCHES, SESSIONS),
            privileged=False,
        )


def reactivations(intent: TenantIntent, observed: Observed) -> Iterator[Step]:
    """Undo our own deactivations: of everybody when the tenant is open again, else of who works for another one."""
    for user in observed.marked:
        if suspended_by(user) != str(intent.tenant_id):
            continue
        if intent.locked and not observed.works_elsewhere(user, intent):
            continue
        yield authentik_step(
            "user",
            str(user.pk),
            Verb.ENABLE,
            name=user.username,
            target=str(user.pk),
            body={"suspendedBy": str(intent.tenant_id)},
            fields=("is_active",),
            reason="Was deactivated by the suspension.",
        )


def lockable(user: User, baseline: Baseline) -> bool:
    """Whether a suspension may deactivate this member. The platform's own people and accounts are never touched."""
    platform = baseline.platform_admins is not None and baseline.platform_admins in (user.groups or ())
    return not user.is_superuser and user.type != "internal_service_account" and not platform


def deny_last(found: Iterable[Found]) -> Iterator[Found]:
    """The steps of an unlock: where the deny binding goes off, it waits for every other step."""
    steps = list(found)
    others = tuple(item.id for item in steps if isinstance(item, Step) and item.id != DENY)
    for item in steps:
        turned = isinstance(item, Step) and item.id == DENY and item.verb is Verb.UPDATE
        yield replace(item, after=(*item.after, *others)) if isinstance(item, Step) and turned else item


def _closing(desired: Desired, observed: Observed) -> bool:
    """Whether this plan is the one that closes the doors: then also people who stay active are signed out once."""
    deny_on = any(found.policy is not None and found.enabled for found in observed.bindings)
    return desired.denied and not deny_on
