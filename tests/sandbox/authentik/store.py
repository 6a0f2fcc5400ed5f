"""The state of the stand-in: objects by kind and key, with indexes on unique fields, and what follows from them."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.sandbox.authentik.kinds import KINDS, Record, client_secret


class Store:
    """Everything Authentik would keep in its database."""

    def __init__(self, bootstrap_token: str) -> None:
        self.objects: dict[str, dict[str, Record]] = {name: {} for name in KINDS}
        self.unique: dict[tuple[str, str], dict[Any, str]] = defaultdict(dict)
        self.members: dict[str, set[int]] = defaultdict(set)
        self.passwords: dict[int, str] = {}
        self.token_keys: dict[str, str] = {}
        self.global_permissions: dict[str, set[str]] = defaultdict(set)
        self.object_permissions: set[tuple[int, str, str]] = set()
        self.events: list[Record] = []
        self.sessions: dict[str, Record] = {}
        self.grants: dict[str, Record] = {}
        self._numbers: dict[str, int] = defaultdict(int)
        self._fresh(bootstrap_token)

    # -- objects ----------------------------------------------------------------

    def insert(self, kind: str, fields: Record) -> Record:
        """A new object with its key; the caller checked it."""
        form = KINDS[kind]
        self._numbers[kind] += 1
        record = {**form.defaults, **fields}
        if form.key not in record:
            record[form.key] = form.new_key(self._numbers[kind])
        record.setdefault("pk", str(uuid.uuid4()))
        self._complete(kind, record)
        self.objects[kind][str(record[form.key])] = record
        self._index(kind, record)
        if kind == "user":
            self._join(record, record.pop("groups"))
        if kind == "group":
            self._set_members(record["pk"], set(record.pop("users")))
        return record

    def update(self, kind: str, record: Record, fields: Record) -> None:
        """Change an object in place."""
        self._unindex(kind, record)
        fields = dict(fields)
        if kind == "user" and "groups" in fields:
            self._leave_all(record)
            self._join(record, fields.pop("groups"))
        if kind == "group" and "users" in fields:
            self._set_members(record["pk"], set(fields.pop("users")))
        record.update(fields)
        self._index(kind, record)
        if kind == "user" and fields.get("is_active") is False:
            self.end_everything(record["pk"])

    def remove(self, kind: str, record: Record) -> None:
        """Delete an object and what the database cascades to."""
        self._unindex(kind, record)
        self.objects[kind].pop(str(record[KINDS[kind].key]))
        pk = record["pk"]
        if kind == "user":
            self._leave_all(record)
            self.end_everything(pk)
            # gdpr_compliance: the events of a user go with the user (facts/authentik.md 0.10).
            self.events = [event for event in self.events if event["user"].get("pk") != pk]
        if kind == "group":
            self._set_members(pk, set())
            self.members.pop(pk, None)
            self._drop_bindings("group", pk)
            for group in self.objects["group"].values():
                group["parents"] = [parent for parent in group["parents"] if parent != pk]
        if kind == "application":
            self._drop_bindings("target", pk)
        if kind == "oauth2provider":
            for application in self.objects["application"].values():
                if application["provider"] == pk:
                    self.update("application", application, {"provider": None})

    def get(self, kind: str, key: object) -> Record | None:
        """An object by its key."""
        return self.objects[kind].get(str(key))

    def find(self, kind: str, field: str, value: object) -> Record | None:
        """An object by a unique field."""
        key = self.unique[kind, field].get(value)
        return self.objects[kind].get(key) if key is not None else None

    # -- derived ---------------------------------------------------------------------

    def groups_of(self, user: Record) -> list[str]:
        """The pks of the groups a user is in directly, oldest group first."""
        return list(user.get("_groups", ()))

    def all_groups_of(self, user: Record) -> set[str]:
        """Those groups and their ancestors: membership is inherited by parents (facts/authentik.md 11.2)."""
        found: set[str] = set()
        waiting = self.groups_of(user)
        while waiting:
            pk = waiting.pop()
            group = self.get("group", pk)
            if pk not in found and group is not None:
                found.add(pk)
                waiting += group["parents"]
        return found

    def is_superuser(self, user: Record) -> bool:
        """Superuser by any group or its ancestors."""
        groups = [self.get("group", pk) for pk in self.all_groups_of(user)]
        return any(bool(group["is_superuser"]) for group in groups if group is not None)

    def application_of(self, provider: Record) -> Record | None:
        """The application a provider is assigned to."""
        return self.find("application", "provider", provider["pk"])

    def bindings_of(self, application: Record) -> Iterator[Record]:
        """The enabled bindings of an application."""
        for binding in self.objects["policybinding"].values():
            if binding["target"] == application["pk"] and binding["enabled"]:
                yield binding

    def may_use(self, user: Record, application: Record) -> bool:
        """Whether the policy engine lets the user in; an application without bindings is open to everybody."""
        groups = self.all_groups_of(user)
        results = [self._passes(binding, user, groups) for binding in self.bindings_of(application)]
        if not results:
            return True
        return all(results) if application["policy_engine_mode"] == "all" else any(results)

    def end_everything(self, pk: int) -> None:
        """Sessions, access and refresh tokens and codes of a user: gone for good (facts/authentik.md 3.10)."""
        self.sessions = {key: found for key, found in self.sessions.items() if found["user"] != pk}
        self.grants = {key: found for key, found in self.grants.items() if found["user"] != pk}

    def event(self, action: str, user: Record, context: Record) -> None:
        """Every write makes one, also one that changes nothing."""
        self.events.append(
            {
                "pk": str(uuid.uuid4()),
                "user": {"pk": user["pk"], "username": user["username"], "email": user["email"]},
                "action": action,
                "app": "authentik.audit.middleware",
                "context": context,
                "client_ip": "127.0.0.1",
                "created": time.time(),
            }
        )

    # -- inside -----------------------------------------------------------------------

    def _passes(self, binding: Record, user: Record, groups: set[str]) -> bool:
        if binding["policy"]:
            policy = self.get("expressionpolicy", binding["policy"])
            result = policy is not None and policy["expression"].strip() != "return False"
        elif binding["group"]:
            result = binding["group"] in groups
        else:
            result = binding["user"] == user["pk"]
        return bool(result) != bool(binding["negate"])

    def _complete(self, kind: str, record: Record) -> None:
        if kind == "user":
            record["uuid"] = str(uuid.uuid4())
        if kind == "oauth2provider":
            record.setdefault("client_id", str(uuid.uuid4()))
            record.setdefault("client_secret", client_secret())

    def _join(self, user: Record, groups: list[str]) -> None:
        user["_groups"] = {}
        for pk in groups:
            self.join(user, pk)

    def join(self, user: Record, group: str) -> None:
        """Make a user a direct member."""
        user.setdefault("_groups", {})[group] = True
        self.members[group].add(user["pk"])

    def leave(self, user: Record, group: str) -> None:
        """End a direct membership."""
        user.get("_groups", {}).pop(group, None)
        self.members[group].discard(user["pk"])

    def _set_members(self, group: str, users: set[int]) -> None:
        for pk in self.members[group] - users:
            self.leave(self.objects["user"][str(pk)], group)
        for pk in users:
            self.join(self.objects["user"][str(pk)], group)

    def _leave_all(self, user: Record) -> None:
        for pk in self.groups_of(user):
            self.leave(user, pk)

    def _drop_bindings(self, field: str, value: object) -> None:
        bindings = self.objects["policybinding"]
        for key in [key for key, binding in bindings.items() if binding[field] == value]:
            del bindings[key]

    def _index(self, kind: str, record: Record) -> None:
        for field in KINDS[kind].unique:
            if record.get(field) is not None:
                self.unique[kind, field][record[field]] = str(record[KINDS[kind].key])

    def _unindex(self, kind: str, record: Record) -> None:
        for field in KINDS[kind].unique:
            self.unique[kind, field].pop(record.get(field), None)

    def _fresh(self, bootstrap_token: str) -> None:
        """What a new server has: the administrator, default flows, built-in mappings, a self-signed key, a brand."""
        admins = self.insert("group", {"name": "authentik Admins", "is_superuser": True})
        admin = {"username": "akadmin", "name": "authentik Default Admin", "groups": [admins["pk"]]}
        self.admin = self.insert("user", {**admin, "email": "root@example.com"})
        self.insert(
            "token",
            {"identifier": "authentik-bootstrap-token", "intent": "api", "user": self.admin["pk"], "expiring": False},
        )
        self.token_keys["authentik-bootstrap-token"] = bootstrap_token
        for slug, designation in (
            ("default-authentication-flow", "authentication"),
            ("default-invalidation-flow", "invalidation"),
            ("default-provider-authorization-implicit-consent", "authorization"),
            ("default-provider-authorization-explicit-consent", "authorization"),
            ("default-provider-invalidation-flow", "invalidation"),
        ):
            self.insert("flow", {"name": slug, "slug": slug, "title": slug, "designation": designation})
        for stage in (
            "default-password-change-prompt",
            "default-password-change-write",
            "default-authentication-login",
        ):
            self.insert("stage", {"name": stage})
        for scope in ("openid", "email", "profile", "offline_access", "entitlements"):
            managed = f"goauthentik.io/providers/oauth2/scope-{scope}"
            name = f"authentik default OAuth Mapping: OpenID '{scope}'"
            self.insert(
                "scopemapping", {"name": name, "scope_name": scope, "expression": "return {}", "managed": managed}
            )
        self.insert("certificatekeypair", {"name": "authentik Self-signed Certificate", "managed": None})
        flows = self.objects["flow"]
        self.insert(
            "brand",
            {
                "domain": "authentik-default",
                "default": True,
                "flow_authentication": flows["default-authentication-flow"]["pk"],
                "flow_invalidation": flows["default-invalidation-flow"]["pk"],
            },
        )
