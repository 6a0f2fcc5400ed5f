"""The actions of OCIS's audit log (facts/ocis.md 4.2). Pure."""

from __future__ import annotations

READS = frozenset({"file_read", "public_link_accessed"})
"""What changes nothing."""
SHARES = frozenset(
    {
        *("file_shared", "file_unshared", "share_permission_updated", "share_name_updated", "share_password_updated"),
        *("share_expiration_updated", "share_updated", "share_accepted", "share_declined", "share_state_changed"),
        "public_link_accessed",
    }
)
FILES = frozenset(
    {
        *("container_create", "file_create", "file_read", "file_delete", "file_trash_delete"),
        *("file_rename", "file_trash_restore", "file_version_restore"),
    }
)
SPACES = frozenset(
    {
        *("space_created", "space_renamed", "space_updated", "space_disabled", "space_enabled", "space_deleted"),
        *("space_shared", "space_unshared"),
    }
)
USERS = frozenset({"user_created", "user_deleted", "user_feature_changed"})
GROUPS = frozenset({"group_created", "group_deleted", "group_member_added", "group_member_removed"})
INVITES = frozenset({"science_mesh_invite_token_generated"})
KNOWN = SHARES | FILES | SPACES | USERS | GROUPS | INVITES
"""All 35."""
MUTATIONS = KNOWN - READS
"""What is let into the log where no allow list says otherwise; a name nobody knows is let in, too."""


def resource_of(action: str) -> str:
    """The kind of object an action is about; empty where it is not known."""
    kinds = (
        ("share", SHARES),
        ("file", FILES),
        ("space", SPACES),
        ("user", USERS),
        ("group", GROUPS),
        ("invite", INVITES),
    )
    return next((kind for kind, actions in kinds if action in actions), "")
