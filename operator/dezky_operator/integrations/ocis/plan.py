"""The difference between what OCIS has and what it must have, as steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dezky_operator.integrations.intent import Adoption, Space, TenantIntent
from dezky_operator.integrations.ocis.desired import Desired
from dezky_operator.integrations.ocis.model import EDITOR, MANAGER, Drive
from dezky_operator.integrations.ocis.observe import Observed
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Value, Verb

Found = Step | Obstacle
GROUP = Ref(System.OCIS, "group", "users")


def plan(intent: TenantIntent, operator: str, desired: Desired, observed: Observed) -> Plan:
    """Everything still to do, in a fixed order. ``operator`` is the id of the operator's own user."""
    found = list(_purge(observed) if not desired.exists else _keep(intent, operator, desired, observed))
    return Plan(
        tuple(item for item in found if isinstance(item, Step)),
        tuple(item for item in found if isinstance(item, Obstacle)),
    )


def _step(kind: str, key: str, verb: Verb, *, name: str, reason: str, **more: Any) -> Step:
    return Step(system=System.OCIS, kind=kind, key=key, verb=verb, name=name, reason=reason, **more)


def _keep(intent: TenantIntent, operator: str, desired: Desired, observed: Observed) -> Iterator[Found]:
    if observed.group is None:
        reason = "People join it at their first sign-in, by the groups in their token."
        body: dict[str, Value] = {"displayName": intent.users_group}
        yield _step("group", "users", Verb.CREATE, name=intent.users_group, reason=reason, body=body)
    for space in desired.spaces:
        yield from _space(intent, operator, space, observed)
    for key in desired.detached:
        if (drive := observed.drives.get(key)) and not drive.disabled:
            reason = "No longer in spec.files.spaces; it is kept, closed."
            yield _step("drive", key, Verb.DISABLE, name=drive.name, target=drive.uuid, reason=reason)
    for key in desired.removed:
        if drive := observed.drives.get(key):
            yield from _removal(key, drive, "Detached, and its removal was confirmed.")


def _space(intent: TenantIntent, operator: str, space: Space, observed: Observed) -> Iterator[Found]:
    drive = observed.drives.get(space.key)
    group: str | Ref = observed.group.id if observed.group else GROUP
    if drive is None:
        body: dict[str, Value] = {
            "id": str(space.id),
            "name": space.name,
            "driveType": "project",
            "driveAlias": space.alias,
            "quota": {"total": space.quota},
        }
        yield _step("drive", space.key, Verb.CREATE, name=space.name, reason="The tenant's files.", body=body)
        yield _grant(space, Ref(System.OCIS, "drive", space.key), group)
        return
    if foreign := _foreign(intent, space, drive):
        yield foreign
        return
    if drive.disabled:
        # What it holds, grants included, can only be seen once it is open again: the next round looks.
        reason = "The tenant is active."
        yield _step("drive", space.key, Verb.ENABLE, name=drive.name, target=drive.uuid, reason=reason)
        return
    yield from _fields(space, drive)
    yield from _grants(operator, space, drive, group)


def _foreign(intent: TenantIntent, space: Space, drive: Drive) -> Obstacle | None:
    """Whoever can make spaces can choose their ids: type and alias tell whether this one is ours."""
    ours = drive.drive_type == "project" and drive.drive_alias.startswith(f"project/dezky-{intent.slug}")
    if ours or (intent.adoption is not Adoption.NEVER and drive.drive_type == "project"):
        return None
    return Obstacle(
        system=System.OCIS,
        reason="ForeignObject",
        message=f"OCIS's space {space.id} exists as {drive.drive_type} {drive.drive_alias}, expected project {space.alias}. "
        "It is not touched. Restore its alias, or set spec.adoption: IfUnowned to take it.",
    )


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
    grants = {permission.id: permission for permission in drive.root.permissions}
    own = grants.get(f"u:{operator}")
    ours = grants.get(f"g:{group}") if isinstance(group, str) else None
    needed = ours is None or EDITOR not in ours.roles
    locked_out = own is None or MANAGER not in own.roles
    if needed and locked_out:
        yield Obstacle(
            system=System.OCIS,
            reason="OperatorLockedOut",
            message=f"The operator is no manager of the space {drive.name} any more, so it can not let the tenant's group "
            "in. Make its user a manager of the space again.",
        )
    elif needed:
        yield _grant(space, drive.uuid, group)
    if locked_out:
        return
    for permission in sorted(grants):
        if MANAGER in grants[permission].roles and permission not in {f"u:{operator}", f"g:{group}"}:
            yield _step(
                "grant",
                f"{space.key}/{permission}",
                Verb.REVOKE,
                name=drive.name,
                target=drive.uuid,
                body={"permission": permission},
                reason="Only the operator manages a tenant's space; another manager could open it to anybody.",
            )


def _grant(space: Space, drive: str | Ref, group: str | Ref) -> Step:
    return _step(
        "grant",
        space.key,
        Verb.GRANT,
        name=space.name,
        target=drive,
        body={"group": group, "role": EDITOR},
        reason="The tenant's people may read and write.",
    )


def _purge(observed: Observed) -> Iterator[Found]:
    """Spaces first: a group that goes before its grants leaves them behind without a name."""
    before: list[str] = []
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


def _removal(key: str, drive: Drive, reason: str) -> Iterator[Step]:
    """An open space can not be purged (facts/ocis.md 2.2)."""
    after: tuple[str, ...] = ()
    if not drive.disabled:
        closing = _step("drive", f"{key}/close", Verb.DISABLE, name=drive.name, target=drive.uuid, reason=reason)
        after = (closing.id,)
        yield closing
    yield _step("drive", key, Verb.DELETE, name=drive.name, target=drive.uuid, reason=reason, after=after)
