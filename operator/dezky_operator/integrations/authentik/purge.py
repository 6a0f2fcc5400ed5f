"""What is removed when a tenant is purged: only what carries its mark, in an order a crash can not harm. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dezky_operator.integrations.authentik.graph import (
    ADMINS_GROUP,
    APPLICATION,
    PROVIDER,
    Found,
    authentik_step,
    gathered,
)
from dezky_operator.integrations.authentik.lock import reactivations
from dezky_operator.integrations.authentik.model import Group, User, is_platforms_own, owns_user
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Obstacle, Plan, Step, System, Verb


def purge(intent: TenantIntent, observed: Observed) -> Plan:
    """Everything of the tenant that is still there, or the obstacle that holds all of it back."""
    return gathered(_purge(intent, observed))


def left(intent: TenantIntent, observed: Observed) -> tuple[str, ...]:
    """User names of members that a purge takes out of the tenant and does not destroy."""
    return tuple(sorted(user.username for user in observed.people if not _destroyable(intent, user)))


def _purge(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Users first (their events were ingested), then application, provider, groups from the child up, brand."""
    if blocked := _shared_users(intent, observed):
        yield blocked
        return
    own = [user for user in observed.users if _destroyable(intent, user)]
    keys = []
    for user in own:
        step = authentik_step(
            "user", str(user.pk), Verb.DELETE, name=user.username, target=str(user.pk), reason="Purged."
        )
        keys.append(step.id)
        yield step
    for found in _let_go(intent, observed):
        keys += [found.id] if isinstance(found, Step) else []
        yield found
    before = tuple(keys)
    application, provider = observed.application, observed.provider
    if application and application.meta_publisher == intent.mark:
        yield _removal("application", "main", application.slug, application.slug, before)
    if (
        provider
        and provider.client_id == intent.application
        and _removable(provider.assigned_application_slug, intent, observed)
    ):
        yield _removal("provider", "main", provider.name, str(provider.pk), (*before, APPLICATION.step))
    service = observed.service_user
    if service and service.path == f"goauthentik.io/apps/{intent.application}":
        # It outlives the provider that Authentik made it for, also over a crash between the two (facts/authentik.md 6).
        yield _removal("user", str(service.pk), service.username, str(service.pk), (PROVIDER.step,))
    if observed.brand and observed.brand.mark == f"{intent.mark}:brand":
        yield _removal("brand", "main", observed.brand.domain, observed.brand.brand_uuid, before)
    if observed.admins_group and observed.admins_group.mark == f"{intent.mark}:admins":
        yield _removal("group", "admins", intent.admins_group, observed.admins_group.pk, (*before, APPLICATION.step))
    if observed.users_group and observed.users_group.mark == f"{intent.mark}:users":
        after = (*before, APPLICATION.step, ADMINS_GROUP.step)
        yield _removal("group", "users", intent.users_group, observed.users_group.pk, after)


def _let_go(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Who is not the tenant's own leaves it as he came: active again where it was our suspension that stopped him."""
    destroyed = {user.pk for user in observed.users if _destroyable(intent, user)}
    kept = replace(observed, marked=tuple(user for user in observed.marked if user.pk not in destroyed))
    yield from reactivations(intent, kept)


def _destroyable(intent: TenantIntent, user: User) -> bool:
    """Made for this tenant, and not become somebody that only a person may remove. Others just lose the groups."""
    return owns_user(intent, user) and not is_platforms_own(user)


def _removable(assigned: str | None, intent: TenantIntent, observed: Observed) -> bool:
    """A provider goes when our own application holds it, or none does."""
    ours = observed.application is not None and observed.application.meta_publisher == intent.mark
    return assigned is None or (assigned == intent.application and ours)


def _removal(kind: str, key: str, name: str, target: str, after: tuple[str, ...]) -> Step:
    return authentik_step(kind, key, Verb.DELETE, name=name, target=target, reason="Purged.", after=after)


def _shared_users(intent: TenantIntent, observed: Observed) -> Obstacle | None:
    """Users of ours who are also another tenant's people: destroying them would take something from that tenant."""
    others = {group.pk for group in observed.others_groups if _another_tenant(group, intent)}
    own = [user for user in observed.users if _destroyable(intent, user)]
    shared = sorted(user.username for user in own if others.intersection(user.groups or ()))
    if not shared:
        return None
    return Obstacle(
        system=System.AUTHENTIK,
        reason="PurgeBlocked",
        message=f"These users also belong to another tenant and would be destroyed: {', '.join(shared)}. "
        "Take them out of the other tenant's group, or move them out of the path of this tenant.",
    )


def _another_tenant(group: Group, intent: TenantIntent) -> bool:
    mark = str(group.mark or "")
    return mark.startswith("dezky:") and not mark.startswith(f"{intent.mark}:")
