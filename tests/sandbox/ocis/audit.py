"""The audit file as OCIS's audit service writes it, with all that it leaves out (facts/ocis.md 4.2 to 4.4).

``User`` says nothing, or the owner of the space; the message alone names who acted. Several records have no time. What
is not audited writes no line: sign-ins, reads of the API, the change of a member's role.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.sandbox.ocis.store import MANAGER, STORAGE, Link, Space, User


def line(action: str, message: str, *, at: str = "", user: str = "", **more: Any) -> bytes:
    """One record with its LF; the fields that nothing ever fills are there and empty."""
    fields = {
        "RemoteAddr": "",
        "User": user,
        "URL": "",
        "Method": "",
        "UserAgent": "",
        "Time": at,
        "App": "admin_audit",
        "Message": message,
        "Action": action,
        "CLI": False,
        "Level": 1,
        **more,
    }
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&":  # as Go escapes them
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text.encode() + b"\n"


class AuditFile:
    """Appends what happened. Without a path the audit service is not there, which is how OCIS comes.

    The file is opened for each record, and a record is lost when that fails: OCIS says so in its own log only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.failed = 0

    def record(self, action: str, message: str, *, timed: bool = True, user: str = "", **more: Any) -> None:
        """One line, in one write."""
        if self.path is None:
            return
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if timed else ""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        except OSError:
            self.failed += 1
            return
        try:
            os.write(descriptor, line(action, message, at=at, user=user, **more))
        finally:
            os.close(descriptor)

    # -- spaces ------------------------------------------------------------------------------------

    def space_created(self, actor: User, space: Space) -> None:
        """The space and its personal sister alike."""
        message = f"user '{actor.id}' created a space '{space.id}' with name '{space.name}' (storage: '{STORAGE}')"
        root = f"{STORAGE}${space.id}!{space.id}"
        self.record(
            "space_created", message, SpaceID=_key(space), Owner="", RootItem=root, Name=space.name, Type=space.kind
        )

    def space_patched(self, actor: User, space: Space, *, renamed: bool) -> None:
        """A rename hides a change of the quota in the same request; the quota's own field is always 0."""
        where = f"(storage: '{STORAGE}')"
        if renamed:
            message = f"user '{actor.id}' renamed space '{space.id}' to '{space.name}' {where}"
            self.record("space_renamed", message, SpaceID=_key(space), NewName=space.name)
            return
        opaque = {"description": space.description, "spaceAlias": space.alias, "etag": '"1"'}
        opaque["grants"] = json.dumps({key.partition(":")[2]: {"stat": True} for key in space.grants})
        shown = " ".join(f"{key}:{value}" for key, value in opaque.items())
        message = (
            f"user '{actor.id}' updated space '{space.id}'. name: '{space.name}', quota: '{space.quota}', "
            f"opaque: 'map[{shown}]' {where}"
        )
        self.record("space_updated", message, SpaceID=_key(space), Name=space.name, Opaque=opaque, QuotaMaxBytes=0)

    def space_switched(self, actor: User, space: Space, action: str) -> None:
        """``space_disabled``, ``space_enabled`` or ``space_deleted``."""
        verb = {"space_disabled": "disabled", "space_enabled": "(re-) enabled", "space_deleted": "deleted"}[action]
        self.record(
            action, f"user '{actor.id}' {verb} the space '{space.id}' (storage: '{STORAGE}')", SpaceID=_key(space)
        )

    def member(self, actor: User, space: Space, grant: str, action: str) -> None:
        """``space_shared``, which has no time, or ``space_unshared``."""
        kind, _, key = grant.partition(":")
        who = {"GranteeUserID": key if kind == "u" else "", "GranteeGroupID": key if kind == "g" else ""}
        verb, name = ("shared", "user" if kind == "u" else "group")
        if action == "space_unshared":
            verb = "unshared"
        message = f"user '{actor.id}' {verb} the space '{space.id}' with '{name}:{key}' (storage: '{STORAGE}')"
        self.record(action, message, timed=action != "space_shared", SpaceID=_key(space), **who)

    # -- links ---------------------------------------------------------------------------------------

    def link_created(self, actor: User, link: Link, share_id: str, until: str) -> None:
        """The token is in plain sight."""
        node = link.item.partition("!")[2]
        self.record(
            "file_shared",
            f"user '{actor.id}' created a public link to file '{node}' with id '{share_id}'",
            user=actor.id,
            FileID=node,
            Owner=actor.id,
            Path="",
            ShareID="",
            ItemType="",
            ExpirationDate=until,
            SharePass=bool(link.password),
            Permissions="get_path:true initiate_file_download:true list_container:true stat:true",
            ShareType="link",
            ShareWith="",
            ShareOwner=actor.id,
            ShareToken=link.token,
        )

    def link_accessed(self, link: Link, *, success: bool) -> None:
        """Who came is not known: ``User`` is who shared. Two records for one visit."""
        sharer = link.sharer
        for _ in range(2 if success else 1):
            self.record(
                "public_link_accessed",
                f"link with token '{link.token}' was accessed. Success: {'true' if success else 'false'}",
                user=sharer if success else "",
                FileID=link.item.partition("!")[2] if success else "",
                Owner=sharer if success else "",
                Path="",
                ShareID="",
                ShareToken=link.token,
                Success=success,
                ItemType="",
            )

    # -- files ------------------------------------------------------------------------------------------

    def file(self, actor: User, space: Space, path: str, action: str) -> None:
        """``User`` is the first who may read all: the operator's own user for every upload of a tenant."""
        verb, what = {
            "container_create": ("created", "folder"),
            "file_create": ("created", "file"),
            "file_read": ("read", "file"),
            "file_delete": ("trashed", "file"),
        }[action]
        owner = next((key[2:] for key, role in space.grants.items() if role == MANAGER and key.startswith("u:")), "")
        key = f"{STORAGE}${space.id}!{space.id}/{path}"
        user = owner if action == "file_create" else ""
        self.record(
            action, f"user '{actor.id}' {verb} {what} '{key}'", user=user, Path=f"./{path}", Owner=owner, FileID=key
        )

    # -- users and groups, without a time -------------------------------------------------------------------

    def user(self, actor: User, user: User, action: str) -> None:
        """``user_created`` or ``user_deleted``."""
        verb = "created" if action == "user_created" else "deleted"
        self.record(action, f"user '{actor.id}' {verb} the user '{user.id}'", timed=False, UserID=user.id)

    def group(self, actor: User, group: str, action: str) -> None:
        """``group_created`` or ``group_deleted``."""
        verb = "created" if action == "group_created" else "deleted"
        self.record(action, f"user '{actor.id}' {verb} group '{group}'", timed=False, GroupID=group)

    def group_member_added(self, actor: User, group: str, user: User) -> None:
        """The message names the two the wrong way round."""
        message = f"user '{actor.id}' added user '{group}' was added to group '{user.id}'"
        self.record("group_member_added", message, timed=False, GroupID=group, UserID=user.id)


def _key(space: Space) -> str:
    return f"{STORAGE}${space.id}"
