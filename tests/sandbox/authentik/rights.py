"""Who asks, and what they may: roles with global rights and rights on single objects (facts/authentik.md 3.9, 11.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.sandbox.authentik.kinds import KINDS, Kind, Record
from tests.sandbox.authentik.store import Store, timestamp

FORBIDDEN = {"detail": "You do not have permission to perform this action."}
SESSION = Kind(name="authenticatedsession", path="core/authenticated_sessions", app="authentik_core", label="Session")
EVENT = Kind(name="event", path="events/events", app="authentik_events", label="Event")
SPECIAL = (
    "authentik_core.add_user_to_group",
    "authentik_core.remove_user_from_group",
    "authentik_core.enable_group_superuser",
    "authentik_core.disable_group_superuser",
    "authentik_core.reset_user_password",
    "authentik_core.set_token_key",
    "authentik_core.view_token_key",
    "authentik_rbac.view_system_settings",
    "authentik_rbac.edit_system_settings",
)
ACTIONS = ("view", "add", "change", "delete")
PERMISSIONS = (*(kind.right(action) for kind in (*KINDS.values(), SESSION, EVENT) for action in ACTIONS), *SPECIAL)
"""Every permission; its number is its place, from 1."""


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the stand-in
    """An answer that is an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(frozen=True)
class Caller:
    """Who asks. ``roles`` come from the account and from its groups and their ancestors."""

    user: Record
    superuser: bool
    roles: frozenset[str]


class Rights:
    """Answers what a caller may do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def caller(self, header: str) -> Caller:
        """The account of a bearer token. A bad, missing or wrong kind of token is 403, never 401 (0.11)."""
        if not header:
            raise Refused(403, {"detail": "Authentication credentials were not provided."})
        user = self._of_token(header.removeprefix("Bearer "))
        if user is None or not user["is_active"]:
            raise Refused(403, {"detail": "Token invalid/expired"})
        return self.of(user)

    def of(self, user: Record) -> Caller:
        """An account with its roles."""
        groups = [self.store.get("group", pk) for pk in self.store.all_groups_of(user)]
        roles = {*user["roles"], *(role for group in groups if group for role in group["roles"])}
        return Caller(user, self.store.is_superuser(user), frozenset(roles))

    def _of_token(self, key: str) -> Record | None:
        token = self.store.get("token", self.store.token_of_key.get(key, ""))
        if token is not None and token["intent"] == "api":  # app passwords are no API tokens
            return self.store.get("user", token["user"]) if self._alive(token) else None
        grant = self.store.grants.find(key, "access")
        if grant is not None and "goauthentik.io/api" in grant.scope.split():
            return self.store.get("user", grant.user)
        return None

    def _alive(self, token: Record) -> bool:
        """An expired API token is not deleted: its key is changed (facts/authentik.md 2)."""
        if not token["expiring"] or token["expires"] > timestamp(self.store.clock()):
            return True
        self.store.set_key(token["identifier"], None)
        self.store.changed("secret_rotate", self.store.admin, "token", token)
        return False

    def has(self, caller: Caller, right: str, record: Record | None = None) -> bool:
        """Whether a caller has a right, on everything or on one object."""
        if caller.superuser or any(right in self.store.global_permissions.get(role, ()) for role in caller.roles):
            return True
        if record is None:
            return False
        held = self.store.object_permissions.get((right, str(record["pk"])), set())
        return not held.isdisjoint(caller.roles)

    def require(self, caller: Caller, right: str, record: Record | None = None) -> None:
        """Refuse with 403."""
        if not self.has(caller, right, record):
            raise Refused(403, FORBIDDEN)

    def visible(self, caller: Caller, kind: Kind, rows: list[Record]) -> list[Record]:
        """What a list shows: with rights on single objects only those, and 403 when that is nothing (11.4, 2)."""
        if self.has(caller, kind.right("view")):
            return rows
        rows = [row for row in rows if self.has(caller, kind.right("view"), row)]
        if not rows:
            raise Refused(403, FORBIDDEN)
        return rows

    def found(self, caller: Caller, kind: Kind, key: str) -> Record:
        """An object by its key; one that the caller may not see does not exist for him (11.4)."""
        record = self.store.get(kind.name, key)
        own = record is not None and kind.name == "token" and record["user"] == caller.user["pk"]
        if record is None or not (own or self.has(caller, kind.right("view"), record)):
            raise Refused(404, {"detail": f"No {kind.label} matches the given query."})
        return record

    def grant_initial(self, caller: Caller, record: Record) -> None:
        """InitialPermissions: the creator's roles say what the creator may do with the new object."""
        for role in caller.roles:
            for initial in self.store.having("initialpermissions", "role", role):
                for number in initial["permissions"]:
                    self.store.object_permissions[PERMISSIONS[number - 1], str(record["pk"])].add(role)
