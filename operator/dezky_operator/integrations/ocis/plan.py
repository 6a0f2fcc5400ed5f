"""The difference between what OCIS has and what it must have, as steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dezky_operator.integrations.intent import Space, TenantIntent
from dezky_operator.integrations.ocis.desired import OURS, Desired
from dezky_operator.integrations.ocis.model import EDITOR, MANAGER, PROJECT, Drive, Permission
from dezky_operator.integrations.ocis.observe import Observed, People
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb

Found = Step | Obstacle
GROUP = Ref(System.OCIS, "group", "users")


def plan(intent: TenantIntent, desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order."""
    if not desired.exists:
        found = list(_purge(intent, observed))
    elif intent.locked:
        found = list(_locks(intent, desired, observed))
    else:
        found = [*_keep(intent, desired, observed), *_reopened(observed)]
    return Plan(
        tuple(item for item in found if isinstance(item, Step)),
        tuple(item for item in found if isinstance(item, Obstacle)),
    )


def _step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    return Step(system=System.OCIS, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)


def _locks(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    """Every space of the tenant and of its people closed, links included (facts/ocis.md 3).

    A tenant that is suspended before it ever was provisioned gets its spaces first; the next round closes them.
    """
    if not intent.established:
        missing = tuple(space for space in desired.spaces if space.key not in observed.drives)
        yield from _made(intent, replace(desired, spaces=missing), observed)
    for key, drive in (*sorted(observed.drives.items()), *sorted(observed.personal.items())):
        if not drive.disabled:
            reason = "Nobody of the tenant gets in while it is locked."
            yield _step(
                "drive", f"{key}/close", Verb.DISABLE, name=drive.name, target=drive.uuid, reason=reason,
                privileged=False,
            )  # fmt: skip
    yield from _reopened(observed)
    # Whether what is not ours is closed is no lock of ours; a person has to look.
    wanted = set() if intent.established else {space.key for space in desired.spaces}
    yield from _foreign(intent, observed, wanted=wanted, blocking=set(observed.foreign))
    if observed.people is not People.KNOWN:
        yield _people_unknown(intent, observed.people)


def _people_unknown(intent: TenantIntent, people: People) -> Obstacle:
    if people is People.GROUP_MISSING:
        return Obstacle(
            system=System.OCIS,
            reason="GroupMissing",
            message=f"Authentik has no group {intent.users_group} of this tenant, so it is not known whose personal "
            "spaces to close; those closed before stay closed, as do the tenant's own. Make the group again, with "
            f'"dezky.eu/mark": "{intent.mark}:users" in its attributes and the tenant\'s people in it.',
        )
    return Obstacle(
        system=System.OCIS,
        reason="IdentityDown",
        message="Who the tenant's people are can not be known while Authentik does not answer, so their personal "
        "spaces are not closed yet. The tenant's own spaces are. It is tried again.",
    )


def _reopened(observed: Observed) -> Iterator[Step]:
    """The personal spaces that a suspension closed."""
    for key, drive in sorted(observed.closed.items()):
        if drive.disabled:
            reason = "Was closed by the suspension."
            yield _step("drive", f"{key}/open", Verb.ENABLE, name=drive.name, target=drive.uuid, reason=reason)


def _made(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    """The group of the tenant's people, and the spaces of the spec."""
    if observed.group is None:
        reason = "People join it at their first sign-in, by the groups in their token."
        body: dict[str, Value] = {"displayName": intent.users_group}
        yield _step("group", "users", Verb.CREATE, name=intent.users_group, reason=reason, body=body)
    for space in desired.spaces:
        yield from _space(intent, space, observed)


def _keep(intent: TenantIntent, desired: Desired, observed: Observed) -> Iterator[Found]:
    yield from _made(intent, desired, observed)
    for key in desired.detached:
        if (drive := observed.drives.get(key)) and not drive.disabled:
            reason = "No longer in spec.files.spaces; it is kept, closed."
            yield _step("drive", key, Verb.DISABLE, name=drive.name, target=drive.uuid, reason=reason)
    for key in desired.removed:
        if drive := observed.drives.get(key):
            for step in _removal(key, drive, "Detached, and its removal was confirmed."):
                yield replace(step, asked=True)
    wanted = {space.key for space in desired.spaces}
    yield from _foreign(intent, observed, wanted=wanted, blocking=wanted.union(desired.removed))


def _space(intent: TenantIntent, space: Space, observed: Observed) -> Iterator[Found]:
    drive = observed.drives.get(space.key)
    group: str | Ref = observed.group.id if observed.group else GROUP
    if drive is not None and drive.disabled and not (intent.reopens or drive.uuid in intent.disabled_drives):
        yield _closed_by_others(drive)
    elif drive is not None and drive.disabled:
        # What it holds, grants included, can only be seen once it is open again: the next round looks.
        reason = "The tenant is active."
        yield _step("drive", space.key, Verb.ENABLE, name=drive.name, target=drive.uuid, reason=reason)
    elif drive is not None:
        yield from _fields(space, drive)
        yield from _grants(observed.operator, space, drive, group)
    elif space.key not in observed.foreign:
        body: dict[str, Value] = {
            "id": str(space.id),
            "name": space.name,
            "driveType": PROJECT,
            "driveAlias": space.alias,
            "quota": {"total": space.quota},
        }
        yield _step("drive", space.key, Verb.CREATE, name=space.name, reason="The tenant's files.", body=body)
        yield _grant(space, Ref(System.OCIS, "drive", space.key), group)


def _foreign(intent: TenantIntent, observed: Observed, *, wanted: set[str], blocking: set[str]) -> Iterator[Obstacle]:
    """What has our id and is not ours. ``wanted``: keys that adoption could take; ``blocking``: those in the way."""
    for key, drive in sorted(observed.foreign.items()):
        yield Obstacle(
            system=System.OCIS,
            reason="ForeignObject",
            message=f"OCIS's space {drive.uuid} is {drive.drive_type} with alias {drive.drive_alias}, expected "
            f"{PROJECT} with alias {OURS}{intent.slug}. It is not touched. {_way_out(drive, wanted=key in wanted)}",
            blocking=key in blocking,
        )


def _way_out(drive: Drive, *, wanted: bool) -> str:
    if not wanted or drive.drive_type != PROJECT:
        return "Restore its alias, or remove it."
    adoption = "Force" if drive.drive_alias.startswith(OURS) else "IfUnowned"
    return f"Restore its alias or remove it, or set spec.adoption: {adoption} to take it."


def _fields(space: Space, drive: Drive) -> Iterator[Step]:
    """Name and alias in one request, the quota in another: so the audit log of OCIS shows both kinds of change."""
    changes: dict[str, Value] = {}
    if drive.name != space.name:
        changes["name"] = space.name
    if drive.drive_alias != space.alias:
        changes["driveAlias"] = space.alias
    reason = "Changed by another hand, or declared anew."
    if changes:
        yield _step(
            "drive", space.key, Verb.UPDATE, name=drive.name, target=drive.uuid, body=changes,
            fields=tuple(sorted(changes)), reason=reason,
        )  # fmt: skip
    if drive.quota.total != space.quota:
        body: dict[str, Value] = {"quota": {"total": space.quota}}
        yield _step(
            "quota", space.key, Verb.UPDATE, name=drive.name, target=drive.uuid, body=body, fields=("quota.total",),
            reason=reason,
        )  # fmt: skip


def _grants(operator: str, space: Space, drive: Drive, group: str | Ref) -> Iterator[Found]:
    """The group edits, nobody but the operator manages. Other people's lesser grants are the tenant's own business."""
    grants = {permission.id: permission for permission in drive.root.permissions}
    own, ours = grants.pop(f"u:{operator}", None), grants.pop(f"g:{group}", None)
    managers = [found.id for _, found in sorted(grants.items()) if MANAGER in found.roles]
    missing = ours is None or ours.roles != (EDITOR,)
    if own is None or MANAGER not in own.roles:
        yield _locked_out(drive, blocking=missing or bool(managers))
        return
    if missing:
        yield _grant(space, drive.uuid, group, ours)
    for permission in managers:
        yield _step(
            "grant",
            f"{space.key}/{permission}",
            Verb.REVOKE,
            name=drive.name,
            target=drive.uuid,
            body={"permission": permission},
            reason="Only the operator manages a tenant's space; another manager could open it to anybody.",
        )


def _closed_by_others(drive: Drive) -> Obstacle:
    """With driftPolicy ReportOnly, what somebody else closed stays closed, over a suspension too."""
    return Obstacle(
        system=System.OCIS,
        reason="Drift",
        message=f"The space {drive.name} was closed by another hand. Open it there, or set spec.driftPolicy: Correct.",
        blocking=False,
    )


def _locked_out(drive: Drive, *, blocking: bool) -> Obstacle:
    """Without its grant the operator still sets name and quota, disables and purges (facts/ocis.md 3)."""
    return Obstacle(
        system=System.OCIS,
        reason="OperatorLockedOut",
        message=f"The operator is no manager of the space {drive.name} any more, so it can not keep who gets in. "
        "Make its user a manager of the space again.",
        blocking=blocking,
    )


def _grant(space: Space, drive: str | Ref, group: str | Ref, found: Permission | None = None) -> Step:
    return _step(
        "grant",
        space.key,
        Verb.GRANT,
        name=space.name,
        target=drive,
        body={"group": group, "role": EDITOR},
        fields=("roles",) if found else (),
        reason="The tenant's people may read and write.",
    )


def _purge(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """Spaces first: a group that goes before its grants leaves them behind without a name (facts/ocis.md 2.4)."""
    before: list[str] = []
    for name, user in sorted(observed.users.items()):
        # The personal space goes with its user, at once.
        step = _step("user", name, Verb.DELETE, name=name, target=user.id, reason="Purged.")
        before.append(step.id)
        yield step
    for key, drive in sorted(observed.drives.items()):
        steps = list(_removal(key, drive, "Purged."))
        before += [step.id for step in steps]
        yield from steps
    if group := observed.group:
        yield _step(
            "group",
            "users",
            Verb.DELETE,
            name=group.display_name,
            target=group.id,
            reason="Purged.",
            after=tuple(before),
        )
    yield from _reopened(observed)
    # Its id is derived from the tenant's: most likely ours with another alias, so a person has to say.
    yield from _foreign(intent, observed, wanted=set(), blocking=set(observed.foreign))


def _removal(key: str, drive: Drive, reason: str) -> Iterator[Step]:
    """An open space can not be purged (facts/ocis.md 2.2)."""
    after: tuple[str, ...] = ()
    if not drive.disabled:
        closing = _step("drive", f"{key}/close", Verb.DISABLE, name=drive.name, target=drive.uuid, reason=reason)
        after = (closing.id,)
        yield closing
    yield _step("drive", key, Verb.DELETE, name=drive.name, target=drive.uuid, reason=reason, after=after)
