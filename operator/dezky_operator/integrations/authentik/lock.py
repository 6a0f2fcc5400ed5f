"""Locking a tenant out of Authentik, and undoing exactly that (design 6 and 12, facts/authentik.md 4 and 11). Pure.

The order of a lock, each kind after the one before: deny binding on, refresh grant off, group out of `dezky-tenants`;
sessions ended; people deactivated with our mark. An unlock goes the other way round: the deny binding goes off last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import users_attributes
from dezky_operator.integrations.authentik.graph import Found, authentik_step
from dezky_operator.integrations.authentik.model import (
    SIGNED_OUT,
    SUSPENDED_BY,
    Group,
    User,
    is_platforms_own,
    suspended_by,
)
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Obstacle, Plan, Step, System, Verb, step_key

DENY = step_key(System.AUTHENTIK, "binding", "deny")
GRANTS = step_key(System.AUTHENTIK, "provider", "main")
PARENTS = step_key(System.AUTHENTIK, "group", "users")
SESSIONS = step_key(System.AUTHENTIK, "session", "members")
SWITCHES = (DENY, GRANTS, PARENTS)
"""What closes the doors, in order; nobody's session ends before that, or the person would just come back in."""
LOCK_FIELDS = {
    "provider": frozenset({"grant_types", "client_type", "client_id"}),
    "application": frozenset({"policy_engine_mode", "provider", "meta_publisher"}),
    "group": frozenset({"parents", "attributes", "is_superuser"}),
}
"""The fields that can open a lock, or that tell whose the object is. A binding is nothing but a lock."""


def only_locks(plan: Plan) -> Plan:
    """``plan`` cut down to what a lock needs; other edits apply on resume. Nothing is made that was not there."""
    steps = [step for found in plan.steps if (step := _only_lock(found))]
    known = {step.id for step in steps}
    return Plan(tuple(step for step in steps if step.needs <= known), plan.obstacles)


def _only_lock(step: Step) -> Step | None:
    fields = LOCK_FIELDS.get(step.kind, frozenset())
    if step.kind == "binding":
        return replace(step, privileged=False)
    if step.verb is not Verb.UPDATE or not fields.intersection(step.fields):
        return None
    kept = tuple(name for name in step.fields if name in fields)
    return replace(step, fields=kept, body={name: step.body[name] for name in kept}, privileged=False)


def doors_in_order(plan: Plan) -> Plan:
    """The steps of a lock, each door after the one before. What is made anew is never open, so it waits for none."""
    before = {SWITCHES[number]: SWITCHES[:number] for number in range(len(SWITCHES))}
    steps = (
        replace(step, after=(*step.after, *before.get(step.id, ()))) if step.verb is Verb.UPDATE else step
        for step in plan.steps
    )
    return Plan(tuple(steps), plan.obstacles)


def deactivations(intent: TenantIntent, baseline: Baseline, observed: Observed, *, doors: bool) -> Iterator[Step]:
    """End the sessions of the tenant's people, then deactivate those who are nobody else's.

    ``doors``: they are closed by the same plan, or were before; otherwise nobody counts as signed out yet.
    """
    people = [user for user in observed.people if lockable(user, baseline)]
    ending = [user for user in people if user.is_active and not observed.works_elsewhere(user, intent)]
    group = observed.users_group
    ours = group is not None and group.mark == f"{intent.mark}:users"
    closing = doors and group is not None and ours and SIGNED_OUT not in group.attributes
    ended = sorted(user.pk for user in (people if closing else ending))
    if ended:
        yield _lock(
            "session",
            "members",
            Verb.REVOKE,
            name=f"sessions of {intent.slug}",
            body={"users": ended},
            reason="Who is signed in now is signed out.",
            after=SWITCHES,
        )
    if group is not None and closing:
        yield _signed_out(intent, group)
    for user in ending:
        yield _lock(
            "user",
            str(user.pk),
            Verb.DISABLE,
            name=user.username,
            target=str(user.pk),
            body={SUSPENDED_BY: str(intent.tenant_id)},
            fields=("is_active",),
            reason="Only this ends the tokens of the shared applications.",
            after=(*SWITCHES, SESSIONS),
        )


def _signed_out(intent: TenantIntent, group: Group) -> Step:
    """Remember that it was done: people who also work for another tenant keep the sessions they begin from now on."""
    return _lock(
        "group",
        "signed-out",
        Verb.UPDATE,
        name=group.name,
        target=group.pk,
        body={"attributes": {**group.attributes, **users_attributes(intent, "users"), SIGNED_OUT: "true"}},
        fields=("attributes",),
        reason="Everybody is signed out once.",
        after=(*SWITCHES, SESSIONS),
    )


def _lock(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    return authentik_step(kind, key, verb, name=name, reason=reason, privileged=False, **more)


def reactivations(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Undo our own deactivations: of everybody when the tenant is open again, else of who works for another one."""
    for user in observed.marked:
        if suspended_by(user) != str(intent.tenant_id):
            continue
        if intent.locked and not observed.works_elsewhere(user, intent):
            continue
        if is_platforms_own(user):
            yield _left_inactive(user)
            continue
        yield authentik_step(
            "user",
            str(user.pk),
            Verb.ENABLE,
            name=user.username,
            target=str(user.pk),
            body={SUSPENDED_BY: str(intent.tenant_id)},
            fields=("is_active",),
            reason="Was deactivated by the suspension.",
        )


def _left_inactive(user: User) -> Obstacle:
    return Obstacle(
        system=System.AUTHENTIK,
        reason="ForeignObject",
        message=f"Authentik's user {user.username} was deactivated by the suspension and has become the platform's own "
        "since, which is not touched. Activate it there, and remove suspendedBy from its attribute dezky.",
        blocking=False,
    )


def lockable(user: User, baseline: Baseline) -> bool:
    """Whether a suspension may deactivate this member. The platform's own people and accounts are never touched."""
    platform = baseline.platform_admins is not None and baseline.platform_admins in (user.groups or ())
    return not is_platforms_own(user) and not platform


def deny_last(found: Iterable[Found]) -> Iterator[Found]:
    """The steps of an unlock: where the deny binding goes off, it waits for every other step."""
    steps = list(found)
    others = tuple(item.id for item in steps if isinstance(item, Step) and item.id != DENY)
    for item in steps:
        turned = isinstance(item, Step) and item.id == DENY and item.verb is Verb.UPDATE
        yield replace(item, after=(*item.after, *others)) if isinstance(item, Step) and turned else item
