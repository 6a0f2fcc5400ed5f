"""The difference between what Authentik has and what it must have, as steps. Pure.

One small function per object; each answers with the steps and obstacles of that object alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from dezky_operator.integrations.authentik.administrator import administrator
from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.brand import brand
from dezky_operator.integrations.authentik.desired import (
    ACCESS_VALIDITY,
    DENY_ORDER,
    REFRESH_VALIDITY,
    USERS_ORDER,
    Desired,
    users_attributes,
)
from dezky_operator.integrations.authentik.duplicates import surplus_brands
from dezky_operator.integrations.authentik.graph import (
    APPLICATION_PK,
    PROVIDER,
    USERS_GROUP,
    Found,
    authentik_step,
    foreign,
    gathered,
    update,
)
from dezky_operator.integrations.authentik.lock import (
    deactivations,
    deny_last,
    doors_in_order,
    only_locks,
    reactivations,
)
from dezky_operator.integrations.authentik.model import SIGNED_OUT, Binding, Group
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.authentik.purge import purge
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import owner_of
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, System, Value, Verb


def plan(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order."""
    if not desired.exists:
        return purge(intent, observed)
    kept = _keep(intent, baseline, desired, observed)
    if intent.locks_only:
        kept = only_locks(kept)
    if intent.locked:
        stopped = deactivations(intent, baseline, observed, doors=not kept.obstacles)
        people = (*reactivations(intent, observed), *stopped)
        return doors_in_order(kept) + gathered(people)
    return gathered(deny_last((*reactivations(intent, observed), *kept.steps, *kept.obstacles)))


def _keep(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Plan:
    """The tenant's objects as they must be in this phase."""
    chained = (
        *_groups(intent, baseline, desired, observed),
        *_provider(intent, desired, observed),
        *_application(intent, desired, observed),
    )
    refusals = [found for found in chained if isinstance(found, Obstacle)]
    if refusals:
        # Groups, provider and application hang on each other: a single one that is somebody else's would be tied to
        # ours, its people let into the tenant or the tenant's people let into what is theirs.
        return gathered(refusals)
    bindings = tuple(_bindings(baseline, desired, observed))
    if intent.locks_only:
        return gathered((*chained, *bindings))  # what is in the way of another edit is not in the way of a lock
    hanging: Iterable[Found] = chain(
        bindings,
        brand(intent, baseline, desired, observed),
        surplus_brands(intent, observed),
        administrator(intent, baseline, desired, observed),
    )
    return gathered((*chained, *hanging))


# -- groups -------------------------------------------------------------------


def _groups(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Iterator[Found]:
    shared = {baseline.tenants_group}
    parents, unwanted = (shared, set()) if desired.under_tenants else (set(), shared)
    yield from _group(
        intent, "users", intent.users_group, observed.users_group, parents, "Everybody in the tenant.", unwanted
    )
    users = observed.users_group.pk if observed.users_group else USERS_GROUP
    yield from _group(
        intent, "admins", intent.admins_group, observed.admins_group, {users}, "The tenant's administrators.", unwanted
    )


def _group(
    intent: TenantIntent,
    role: str,
    name: str,
    found: Group | None,
    parents: set[Any],
    reason: str,
    unwanted: set[str] | frozenset[str] = frozenset(),
) -> Iterator[Found]:
    attributes = users_attributes(intent, role)
    if found is None:
        # Made while nobody may come in, there is nobody to sign out.
        signed_out = {SIGNED_OUT: "true"} if intent.locked and role == "users" else {}
        body: dict[str, Value] = {"name": name, "parents": list(parents), "attributes": attributes | signed_out}
        yield authentik_step("group", role, Verb.CREATE, name=name, reason=reason, body=body)
        return
    owner = owner_of(found.mark, f"{intent.mark}:{role}", intent)
    if not owner.takeable(intent.adoption):
        yield _earlier_tenant(found, intent) or foreign(f"group {name}", owner, intent)
        return
    changes: dict[str, Value] = {}
    wanted_parents = [*(parent for parent in found.parents or () if parent not in unwanted), *_missing(parents, found)]
    if wanted_parents != list(found.parents or ()):
        changes["parents"] = wanted_parents  # parents that somebody else gave it are kept
    kept = {key: value for key, value in found.attributes.items() if key != SIGNED_OUT or intent.locked}
    if kept | attributes != found.attributes:
        changes["attributes"] = kept | attributes
    if found.is_superuser:
        changes["is_superuser"] = False
    if changes:
        yield update("group", role, name, found.pk, changes)


def _missing(parents: set[Any], found: Group) -> list[Any]:
    return [parent for parent in parents if parent not in (found.parents or ())]


def _earlier_tenant(found: Group, intent: TenantIntent) -> Obstacle | None:
    """The group of an earlier tenant of this slug, whose record is lost: its mark is all that is left to tell."""
    installation = f"dezky:{intent.installation_id}:"
    if not (found.mark or "").startswith(installation):
        return None
    earlier = str(found.mark).removeprefix(installation).partition(":")[0]
    return Obstacle(
        system=System.AUTHENTIK,
        reason="TombstoneExists",
        message=f"Authentik's group {found.name} belongs to an earlier tenant {intent.slug} with tenantId {earlier}. "
        f"To restore it, annotate dezky.eu/restore={earlier}; for a new customer choose another name.",
    )


# -- provider and application ------------------------------------------------------


def _provider(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    name, want, found = intent.application, desired.provider, observed.provider
    wanted: dict[str, Any] = {
        "authorization_flow": want.authorization_flow,
        "invalidation_flow": want.invalidation_flow,
        "signing_key": want.signing_key,
        "property_mappings": sorted(want.property_mappings),
        "redirect_uris": [msgspec.to_builtins(uri) for uri in want.redirect_uris],
        "grant_types": sorted(want.grant_types),
        "client_id": intent.application,
        "client_type": "confidential",
        "sub_mode": "user_uuid",
        "issuer_mode": "per_provider",
        "access_token_validity": ACCESS_VALIDITY,
        "refresh_token_validity": REFRESH_VALIDITY,
    }
    if found is None:
        reason = "The tenant's own OAuth2 client."
        yield authentik_step("provider", "main", Verb.CREATE, name=name, reason=reason, body={"name": name, **wanted})
        return
    # A provider has nowhere to put a mark: it is ours when our application uses it, or when none does and both of its
    # names are ours, which is what a crash between the two leaves behind.
    ours = found.assigned_application_slug in {None, intent.application} and found.client_id == intent.application
    if not ours:
        yield Obstacle(
            system=System.AUTHENTIK,
            reason="ForeignObject",
            message=f"Authentik's provider {name} exists and is not this tenant's (client {found.client_id}, "
            f"application {found.assigned_application_slug}). It is not touched. "
            "Rename it, or choose another name for the tenant.",
        )
        return
    actual = msgspec.to_builtins(found)
    changes = {key: value for key, value in wanted.items() if not _same(value, actual[key])}
    if changes:
        yield update("provider", "main", name, str(found.pk), changes)


def _same(wanted: object, actual: object) -> bool:
    """Lists of a provider are sets: their order means nothing and may change by itself."""
    if isinstance(wanted, list) and isinstance(actual, list | tuple):
        return sorted(map(_sortable, wanted)) == sorted(map(_sortable, actual))
    return wanted == actual


def _sortable(value: object) -> str:
    return repr(sorted(value.items())) if isinstance(value, dict) else repr(value)


def _application(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    slug, found = intent.application, observed.application
    wanted = application_fields(intent, desired, observed.provider.pk if observed.provider else PROVIDER)
    if found is None:
        reason = "What the tenant's people sign in to."
        yield authentik_step(
            "application", "main", Verb.CREATE, name=slug, reason=reason, body={"slug": slug, **wanted}
        )
        return
    owner = owner_of(found.meta_publisher or None, intent.mark, intent)
    if not owner.takeable(intent.adoption):
        yield foreign(f"application {slug}", owner, intent)
        return
    actual = msgspec.to_builtins(found)
    changes = {key: value for key, value in wanted.items() if actual[key] != value}
    if changes:
        yield update("application", "main", slug, slug, changes)


def application_fields(intent: TenantIntent, desired: Desired, provider: int | Ref) -> dict[str, Value]:
    """What the tenant's application must be, beside its slug."""
    return {
        "name": intent.display_name,
        "provider": provider,
        "policy_engine_mode": "all",
        "group": "Dezky",
        "meta_launch_url": desired.launch_url,
        "meta_publisher": intent.mark,
    }


def _bindings(baseline: Baseline, desired: Desired, observed: Observed) -> Iterator[Found]:
    """Exactly two: the tenant's group gets in, and the deny policy that a suspension turns on."""
    target: str | Ref = observed.application.pk if observed.application else APPLICATION_PK
    group: str | Ref = observed.users_group.pk if observed.users_group else USERS_GROUP
    users = [found for found in observed.bindings if found.group is not None and found.group == group]
    denies = [found for found in observed.bindings if found.policy == baseline.deny_policy]
    allow = {"target": target, "group": group, "order": USERS_ORDER, "enabled": True, "negate": False,
             "failure_result": False}  # fmt: skip
    deny = {
        "target": target,
        "policy": baseline.deny_policy,
        "order": DENY_ORDER,
        "enabled": desired.denied,
        "negate": False,
        # A policy that fails to run must not let people in.
        "failure_result": False,
    }
    yield from _binding("users", users, allow, "Only the tenant's group gets in.")
    yield from _binding("deny", denies, deny, "Locks everybody out while it is on.")


def _binding(key: str, found: list[Binding], wanted: Mapping[str, Value], reason: str) -> Iterator[Found]:
    name = f"binding {key}"
    if not found:
        yield authentik_step("binding", key, Verb.CREATE, name=name, reason=reason, body=dict(wanted))
        return
    first, *surplus = found
    differing = [
        field for field in ("order", "enabled", "negate", "failure_result") if getattr(first, field) != wanted[field]
    ]
    if differing:
        yield authentik_step(
            "binding", key, Verb.UPDATE, name=name, reason=reason, target=first.pk, body=dict(wanted),
            fields=tuple(differing),
        )  # fmt: skip
    for number, extra in enumerate(surplus, start=2):
        yield authentik_step(
            "binding",
            f"{key}-{number}",
            Verb.DELETE,
            name=name,
            target=extra.pk,
            reason="A second one of the same kind.",
        )
