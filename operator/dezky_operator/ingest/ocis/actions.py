"""What OCIS's actions mean in the log (facts/ocis.md 4.2): 35 of them, 33 of which change something. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from dezky_operator.audit.event import LARGEST_INT, Datum, Outcome
from dezky_operator.ingest.ocis.schema import Record

LINK = "link"
_FEATURE = re.compile(r"[A-Za-z]{1,64}")
_UNCOMMON = re.compile(r"[a-z0-9_]{1,64}")
_SHOWN = ("description", "spaceAlias")
"""Of a space's other properties, those that people set."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """What a record tells beside who and when. Empty texts are absent."""

    kind: str
    id: str
    name: str = ""
    before: str = ""
    after: str = ""
    data: dict[str, Datum] = {}
    outcome: Outcome = Outcome.SUCCESS


class Action(NamedTuple):
    """How a record with this action is read, and whether the action changes anything."""

    told: Callable[[Record], Told]
    changes: bool = True


def _share(record: Record) -> Told:
    """A share or link made or changed. Before 8.2 the share's id is empty."""
    after = _party(record.share_type, record.share_with)
    data: dict[str, Datum] = _given(
        expires=record.expiration_date,
        permissions=record.permissions,
        share_id=record.share_id,
        share_type=record.share_type,
        token=record.share_token,
    )
    if record.share_type == LINK:
        data["password"] = record.share_pass
    return Told(_shared_kind(record), record.file_id or record.share_id, after=after, data=data)


def _share_end(record: Record) -> Told:
    """A share or link removed, accepted or declined."""
    before = _party(record.share_type, record.share_with)
    data = _given(share_id=record.share_id, share_type=record.share_type)
    return Told(_shared_kind(record), record.file_id or record.share_id, before=before, data=data)


def _share_received(record: Record) -> Told:
    """A share accepted, declined or otherwise received."""
    data = _given(share_id=record.share_id, share_type=record.share_type)
    return Told(_shared_kind(record), record.file_id or record.share_id, data=data)


def _link_visit(record: Record) -> Told:
    """Several of them for one visit; a wrong password is one that failed."""
    data = _given(share_id=record.share_id, token=record.share_token)
    outcome = Outcome.SUCCESS if record.success else Outcome.FAILURE
    return Told(LINK, record.file_id or record.share_id, data=data, outcome=outcome)


def _folder(record: Record) -> Told:
    return Told("folder", record.file_id, name=record.path)


def _file(record: Record) -> Told:
    """A file, or a folder where it is deleted or moved: OCIS does not tell them apart there."""
    return Told("file", record.file_id, name=record.path)


def _moved(record: Record) -> Told:
    return Told("file", record.file_id, name=record.path, before=record.old_path, after=record.path)


def _version(record: Record) -> Told:
    return Told("file", record.file_id, name=record.path, data=_given(version=record.key))


def _space(record: Record) -> Told:
    name = record.name or record.new_name
    return Told("space", record.space_id, name=name, data=_given(space_type=record.type))


def _space_changed(record: Record) -> Told:
    """The field of the quota is always 0; the real one stands only in the message, after the name."""
    opaque = record.opaque or {}
    data: dict[str, Datum] = {}
    _, _, rest = record.message.partition(f". name: '{record.name}', quota: '")
    digits = rest.partition("'")[0]
    if digits.isascii() and digits.isdigit() and len(digits) < len(str(LARGEST_INT)):
        data["quota"] = int(digits)
    shown = {name: opaque[name] for name in _SHOWN if opaque.get(name)}
    return Told("space", record.space_id, name=record.name, after=_json(shown), data=data)


def _member_in(record: Record) -> Told:
    return Told("space", record.space_id, after=_grantee(record))


def _member_out(record: Record) -> Told:
    return Told("space", record.space_id, before=_grantee(record))


def _user(record: Record) -> Told:
    """A user, with what was changed: names of the features for everybody, their values for those who may see them."""
    features = record.features or []
    names = [feature.name for feature in features if _FEATURE.fullmatch(feature.name)]
    before = {feature.name: feature.old_value for feature in features if feature.old_value}
    after = {feature.name: feature.value for feature in features if feature.value}
    data = _given(features=",".join(names))
    return Told("user", record.user_id, before=_json(before), after=_json(after), data=data)


def _group(record: Record) -> Told:
    return Told("group", record.group_id)


def _group_in(record: Record) -> Told:
    """The message of this one and of the next names the two ids the wrong way round; the fields are right."""
    return Told("group", record.group_id, after=_party("user", record.user_id))


def _group_out(record: Record) -> Told:
    return Told("group", record.group_id, before=_party("user", record.user_id))


def _invitation(record: Record) -> Told:
    return Told("invitation", record.token, name=record.recipient_mail)


def _uncommon(record: Record) -> Told:
    """An action of a later version, so nobody can say how it ended."""
    key = record.file_id or record.space_id or record.user_id or record.group_id or record.share_id
    return Told("", key, name=record.path or record.name, outcome=Outcome.UNKNOWN)


ACTIONS = {
    "file_shared": Action(_share),
    "share_permission_updated": Action(_share),
    "share_name_updated": Action(_share),
    "share_password_updated": Action(_share),
    "share_expiration_updated": Action(_share),
    "share_updated": Action(_share),
    "file_unshared": Action(_share_end),
    "share_accepted": Action(_share_received),
    "share_declined": Action(_share_received),
    "share_state_changed": Action(_share_received),
    "public_link_accessed": Action(_link_visit, changes=False),
    "container_create": Action(_folder),
    "file_create": Action(_file),
    "file_read": Action(_file, changes=False),
    "file_delete": Action(_file),
    "file_trash_delete": Action(_file),
    "file_rename": Action(_moved),
    "file_trash_restore": Action(_moved),
    "file_version_restore": Action(_version),
    "space_created": Action(_space),
    "space_renamed": Action(_space),
    "space_updated": Action(_space_changed),
    "space_disabled": Action(_space),
    "space_enabled": Action(_space),
    "space_deleted": Action(_space),
    "space_shared": Action(_member_in),
    "space_unshared": Action(_member_out),
    "user_created": Action(_user),
    "user_deleted": Action(_user),
    "user_feature_changed": Action(_user),
    "group_created": Action(_group),
    "group_deleted": Action(_group),
    "group_member_added": Action(_group_in),
    "group_member_removed": Action(_group_out),
    "science_mesh_invite_token_generated": Action(_invitation),
}
"""By OCIS's own name of the action."""
MUTATIONS = frozenset(name for name, action in ACTIONS.items() if action.changes)
"""What is kept when nobody says otherwise."""
UNCOMMON = Action(_uncommon)
"""Of an action that is not among them."""


def action_of(record: Record) -> str:
    """The action's name. Before 8.2 it is empty where a share was changed or received (owncloud/ocis#12423)."""
    if record.action:
        return record.action
    if " updated field '" in record.message:
        return "share_updated"
    return "share_state_changed" if record.share_id else ""


def logged_as(name: str) -> str:
    """The action as the log calls it; a name that OCIS could not have given is not kept outside of the text."""
    return f"ocis.{name}" if name in ACTIONS or _UNCOMMON.fullmatch(name) else "ocis.unknown"


def _shared_kind(record: Record) -> str:
    return LINK if record.share_type == LINK else "share"


def _party(kind: str, key: str) -> str:
    return f"{kind}:{key}" if key else ""


def _grantee(record: Record) -> str:
    return _party("user", record.grantee_user_id) or _party("group", record.grantee_group_id)


def _given(**data: str) -> dict[str, Datum]:
    return {key: value for key, value in data.items() if value}


def _json(values: dict[str, str]) -> str:
    return msgspec.json.encode(values, order="sorted").decode() if values else ""
