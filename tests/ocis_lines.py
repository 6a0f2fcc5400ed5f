"""Lines as OCIS writes them (facts/ocis.md 4.2): `record("file_create", FileID="s$a!n")`, and one of every action."""

from __future__ import annotations

import json
from typing import Any

from tests.sandbox.ocis.audit import line

ALICE = "4c510ada-c86b-4815-8820-42cdf82c3d51"
BOB = "932b4540-8d16-481e-8ef4-588e4b6b151c"
GROUP = "f7fbf8c8-139b-4376-b307-cf0a8c2d0d9c"
SPACE = "0b0f2a5e-7d0c-5f4e-9a51-3f2f1f1c0a11"
STORAGE = "a0ca6a90-a365-4782-871e-d44447bbc668"
NODE = "7f1a2b3c-0000-4000-8000-0123456789ab"
TIME = "2026-11-24T03:59:58Z"
TOKEN = "qMvTzKpWxYbNdRs"
INVITE = "6b9d2f3e-aaaa-4bbb-8ccc-1234567890ab"

_WHERE = f"(storage: '{STORAGE}')"
_SPACE_ID = f"{STORAGE}${SPACE}"
_FILE_ID = f"{STORAGE}${SPACE}!{SPACE}/plan.txt"
_SHARE_ID = f"{STORAGE}:{SPACE}:5a5a5a5a-1111-4111-8111-000000000001"


def record(
    action: str, message: str = f"user '{ALICE}' did it", *, at: str = TIME, user: str = "", **more: Any
) -> bytes:
    """One line without its LF."""
    return line(action, message, at=at, user=user, **more)[:-1]


def numbered(number: int) -> bytes:
    """A record that differs from all others, with its LF."""
    node = f"{STORAGE}${SPACE}!node-{number}"
    message = f"user '{ALICE}' created file '{node}'"
    return line("file_create", message, at=TIME, user=BOB, Path=f"./{number}.txt", Owner=BOB, FileID=node)


def _sharing(**more: Any) -> dict[str, Any]:
    return {"FileID": NODE, "Owner": ALICE, "Path": "", "ShareID": "", **more}


def _shared(**more: Any) -> dict[str, Any]:
    plain = {
        "ItemType": "",
        "ExpirationDate": "",
        "SharePass": False,
        "Permissions": "initiate_file_download:true stat:true",
        "ShareType": "user",
        "ShareWith": BOB,
        "ShareOwner": ALICE,
        "ShareToken": "",
    }
    return _sharing(**(plain | more))


def _updated(action: str, field: str) -> bytes:
    message = f"user '{ALICE}' updated field '{field}' of share '{_SHARE_ID}'"
    return record(action, message, user=ALICE, **_shared(ShareID=_SHARE_ID))


def _received(action: str, verb: str) -> bytes:
    fields = _sharing(ShareID=_SHARE_ID, ItemType="", ShareType="user", ShareWith=BOB)
    message = f"user '{BOB}' {verb} share '{_SHARE_ID}' from user '{ALICE}'" if verb else ""
    return record(action, message, user=BOB, **fields)


def _file(action: str, what: str, **more: Any) -> bytes:
    message = f"user '{ALICE}' {what.format(_FILE_ID)}"
    return record(action, message, user=BOB, Path="./plan.txt", Owner=BOB, FileID=_FILE_ID, **more)


def _space(action: str, what: str, **more: Any) -> bytes:
    return record(action, f"user '{ALICE}' {what.format(SPACE)} {_WHERE}", SpaceID=_SPACE_ID, **more)


def _member(action: str, verb: str, at: str) -> bytes:
    message = f"user '{ALICE}' {verb} the space '{SPACE}' with 'user:{BOB}' {_WHERE}"
    return record(action, message, at=at, SpaceID=_SPACE_ID, GranteeUserID=BOB, GranteeGroupID="")


def _group_member(action: str, what: str) -> bytes:
    message = f"user '{ALICE}' added user '{GROUP}' {what} group '{BOB}'"  # the wrong way round, as OCIS does
    return record(action, message, at="", GroupID=GROUP, UserID=BOB)


_OPAQUE = {
    "description": "all of us",
    "spaceAlias": "project/dezky-acme",
    "etag": '"1"',
    "grants": json.dumps({ALICE: {"stat": True}, BOB: {"stat": True}}),
}

EVERY = {
    "file_shared": record("file_shared", f"user '{ALICE}' shared file '{NODE}' with '{BOB}'", user=ALICE, **_shared()),
    "share_permission_updated": _updated("share_permission_updated", "permissions"),
    "share_name_updated": _updated("share_name_updated", "displayname"),
    "share_password_updated": _updated("share_password_updated", "password"),
    "share_expiration_updated": _updated("share_expiration_updated", "expiration"),
    "share_updated": _updated("share_updated", "hidden"),
    "file_unshared": record(
        "file_unshared",
        f"share id:'{_SHARE_ID}' uid:'' item-id:'' was removed",
        **_sharing(FileID="", Owner="", ShareID=_SHARE_ID, ItemType="", ShareType="", ShareWith=""),
    ),
    "share_accepted": _received("share_accepted", "accepted"),
    "share_declined": _received("share_declined", "declined"),
    "share_state_changed": _received("share_state_changed", ""),
    "public_link_accessed": record(
        "public_link_accessed",
        f"link with token '{TOKEN}' was accessed. Success: true",
        user=ALICE,
        **_sharing(ShareToken=TOKEN, Success=True, ItemType=""),
    ),
    "container_create": _file("container_create", "created folder '{}'"),
    "file_create": _file("file_create", "created file '{}'"),
    "file_read": _file("file_read", "read file '{}'"),
    "file_delete": _file("file_delete", "trashed file '{}'"),
    "file_trash_delete": _file("file_trash_delete", "removed file '{}' from trashbin"),
    "file_rename": _file("file_rename", "moved file '{}' from './old.txt' to './plan.txt'", OldPath="./old.txt"),
    "file_trash_restore": _file(
        "file_trash_restore", "restored file '{}' from trashbin to './plan.txt'", OldPath="./old.txt"
    ),
    "file_version_restore": _file("file_version_restore", "restored file '{}' in version 'v.REV.1'", Key="v.REV.1"),
    "space_created": _space(
        "space_created",
        "created a space '{}' with name 'Acme'",
        Owner=ALICE,
        RootItem=f"{_SPACE_ID}!{SPACE}",
        Name="Acme",
        Type="project",
    ),
    "space_renamed": _space("space_renamed", "renamed space '{}' to 'Acme Ltd'", NewName="Acme Ltd"),
    "space_updated": _space(
        "space_updated",
        "updated space '{}'. name: 'Acme', quota: '5000000000', opaque: 'map[description:all of us]'",
        Name="Acme",
        Opaque=_OPAQUE,
        QuotaMaxBytes=0,
    ),
    "space_disabled": _space("space_disabled", "disabled the space '{}'"),
    "space_enabled": _space("space_enabled", "(re-) enabled the space '{}'"),
    "space_deleted": _space("space_deleted", "deleted the space '{}'"),
    "space_shared": _member("space_shared", "shared", ""),
    "space_unshared": _member("space_unshared", "unshared", TIME),
    "user_created": record("user_created", f"user '{ALICE}' created the user '{BOB}'", at="", UserID=BOB),
    "user_deleted": record("user_deleted", f"user '{ALICE}' deleted the user '{BOB}'", at="", UserID=BOB),
    "user_feature_changed": record(
        "user_feature_changed",
        f"user '{ALICE}' changed user {BOB}'s features:accountEnabled=false ",
        UserID=BOB,
        Features=[{"Name": "accountEnabled", "Value": "false", "OldValue": "true"}],
    ),
    "group_created": record("group_created", f"user '{ALICE}' created group '{GROUP}'", at="", GroupID=GROUP),
    "group_deleted": record("group_deleted", f"user '{ALICE}' deleted group '{GROUP}'", at="", GroupID=GROUP),
    "group_member_added": _group_member("group_member_added", "was added to"),
    "group_member_removed": _group_member("group_member_removed", "was removed from"),
    "science_mesh_invite_token_generated": record(
        "science_mesh_invite_token_generated",
        f"user '{ALICE}' generated a ScienceMesh invite with token '{INVITE}'",
        user=ALICE,
        RecipientMail="guest@other.test",
        Token=INVITE,
        Description="come in",
        Expiration=1795492800,
        InviteLink=f"https://files.test/accept?token={INVITE}&providerDomain=files.test",
    ),
}
"""By action: all 35, as OCIS writes them."""

LINK_CREATED = record(
    "file_shared",
    f"user '{ALICE}' created a public link to file '{NODE}' with id 'b8f3e1b2-0000-4000-8000-000000000002'",
    user=ALICE,
    **_shared(ShareType="link", ShareWith="", SharePass=True, ExpirationDate="2026-12-24T00:00:00Z", ShareToken=TOKEN),
)
LINK_REMOVED = record(
    "file_unshared",
    f"user '{ALICE}' removed public link with id:'{TOKEN}'",
    user=ALICE,
    **_sharing(FileID="", ShareID=TOKEN, ItemType="", ShareType="link", ShareWith=""),
)
"""OCIS puts the token where it does not know the link's id."""
