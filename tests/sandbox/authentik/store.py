"""The state of the stand-in: objects by kind and key, with indexes, and what follows from them."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from tests.sandbox.authentik.fresh import furnish
from tests.sandbox.authentik.grants import Grants, seconds
from tests.sandbox.authentik.kinds import KINDS, Record, client_secret

HTTP_REQUEST: ContextVar[Record | None] = ContextVar("HTTP_REQUEST", default=None)
"""The request that is being answered: every event it causes carries its id (facts/authentik.md 2)."""
ANONYMOUS: Record = {"pk": 0, "username": "AnonymousUser", "email": ""}
"""Who is not signed in. Its number is that of a row no list shows."""
SECRETIVE = re.compile("api|token|key|secret|pass|signature", re.IGNORECASE)
MASK = "********************"
DEFAULT_SETTINGS = {
    "gdpr_compliance": True,
    "event_retention": "days=365",
    "default_token_duration": "minutes=30",
    "default_token_length": 60,
    "pagination_default_page_size": 20,
    "pagination_max_page_size": 100,
    "flags": {
        "core_default_app_access": True,
        "enterprise_audit_include_expanded_diff": False,
        "flows_continuous_login": False,
        "flows_refresh_others": False,
    },
}


class Store:
    """Everything Authentik would keep in its database."""

    def __init__(
        self,
        bootstrap_token: str,
        *,
        host_brand_domain: str = "authentik-default",
        clock: Callable[[], float] = time.time,
        akql: bool = True,
    ) -> None:
        self.clock = clock
        self.akql = akql
        self.objects: dict[str, dict[str, Record]] = {name: {} for name in KINDS}
        self.unique: dict[tuple[str, str], dict[Any, str]] = defaultdict(dict)
        self.members: dict[str, set[int]] = defaultdict(set)
        self.passwords: dict[int, str] = {}
        self.token_keys: dict[str, str] = {}
        self.token_of_key: dict[str, str] = {}
        self.global_permissions: dict[str, set[str]] = defaultdict(set)
        self.object_permissions: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.settings: Record = {**DEFAULT_SETTINGS}
        self.events: list[Record] = []
        self.sessions: dict[str, Record] = {}
        self.grants = Grants(clock)
        self._many: dict[tuple[str, str], dict[Any, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
        self._numbers: dict[str, int] = defaultdict(int)
        self._install_id = uuid.uuid4().hex
        self.admin = furnish(self, bootstrap_token, host_brand_domain)

    # -- objects ----------------------------------------------------------------

    def insert(self, kind: str, fields: Record) -> Record:
        """A new object with its key; the caller checked it."""
        form = KINDS[kind]
        self._numbers[kind] += 1
        record = {**form.defaults, **fields, "_number": self._numbers[kind]}
        if form.key not in record:
            record[form.key] = form.new_key(self._numbers[kind])
        record.setdefault("pk", record["brand_uuid"] if kind == "brand" else str(uuid.uuid4()))
        self._complete(kind, record)
        self.objects[kind][str(record[form.key])] = record
        self._index(kind, record)
        if kind == "user":
            self._join_all(record, record.pop("groups"))
        if kind == "group":
            self._set_members(record["pk"], set(record.pop("users")))
        return record

    def update(self, kind: str, record: Record, fields: Record, *, patch: bool = True) -> None:
        """Change an object in place. A deactivation ends a user's tokens; only by PATCH also the sessions (3.10)."""
        fields = dict(fields)
        if kind == "user" and "groups" in fields:
            self._leave_all(record)
            self._join_all(record, fields.pop("groups"))
        if kind == "group" and "users" in fields:
            self._set_members(record["pk"], set(fields.pop("users")))
        old_key = str(record[KINDS[kind].key])
        self._unindex(kind, record)
        record.update(fields)
        self._rekey(kind, record, old_key)
        self._index(kind, record)
        if kind == "user" and not record["is_active"]:
            self.grants.end_user(record["pk"])
            if patch:
                self.end_sessions(record["pk"])

    def remove(self, kind: str, record: Record) -> None:
        """Delete an object and what the database cascades to."""
        self._unindex(kind, record)
        self.objects[kind].pop(str(record[KINDS[kind].key]))
        cascades: dict[str, Callable[[Record], None]] = {
            "user": self._user_gone,
            "group": self._group_gone,
            "application": self._application_gone,
            "oauth2provider": self._provider_gone,
            "expressionpolicy": lambda policy: self._drop_bindings("policy", policy["pk"]),
            "certificatekeypair": self._key_pair_gone,
            "token": lambda token: self.set_key(token["identifier"], None),
        }
        if kind in cascades:
            cascades[kind](record)

    def get(self, kind: str, key: object) -> Record | None:
        """An object by its key."""
        return self.objects[kind].get(str(key))

    def find(self, kind: str, field: str, value: object) -> Record | None:
        """An object by a unique field."""
        key = self.unique[kind, field].get(value)
        return self.objects[kind].get(key) if key is not None else None

    def by_pk(self, kind: str, pk: object) -> Record | None:
        """An object by what other objects refer to it with."""
        if KINDS[kind].key in {"pk", "brand_uuid"}:
            return self.get(kind, pk)
        return self.find(kind, "pk", pk)

    def having(self, kind: str, field: str, value: object) -> list[Record]:
        """The objects with this value in an indexed field."""
        return [self.objects[kind][key] for key in self._many[kind, field].get(value, ())]

    # -- derived ---------------------------------------------------------------------

    def groups_of(self, user: Record) -> list[str]:
        """The pks of the groups a user is in directly, oldest membership first."""
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

    def uid(self, user: Record) -> str:
        """The hashed id of a user: the default ``sub``, the same for every provider (facts/authentik.md 6)."""
        return hashlib.sha256(f"{user['pk']}-{self._install_id}".encode()).hexdigest()

    def application_of(self, provider: Record) -> Record | None:
        """The application a provider is assigned to."""
        return self.find("application", "provider", provider["pk"])

    def bindings_of(self, application: Record) -> Iterator[Record]:
        """The enabled bindings of an application."""
        return (found for found in self.having("policybinding", "target", application["pk"]) if found["enabled"])

    def may_use(self, user: Record, application: Record) -> bool:
        """Whether the policy engine lets the user in; an application without bindings is open to everybody."""
        groups = self.all_groups_of(user)
        results = [self._passes(binding, user, groups) for binding in self.bindings_of(application)]
        if not results:
            return True
        return all(results) if application["policy_engine_mode"] == "all" else any(results)

    def end_sessions(self, pk: int) -> int:
        """A user's login sessions and the access tokens made in them; the number of rows that went."""
        rows = 0
        for cookie, session in [(key, found) for key, found in self.sessions.items() if found["user"] == pk]:
            del self.sessions[cookie]
            # A session is two rows, and the count that is told includes what hangs on them (facts/authentik.md 11.3).
            rows += 2 + self.grants.end_session(pk, session["cookie"])
        return rows

    def set_key(self, identifier: str, key: str | None) -> None:
        """The secret of a token; None when the token goes."""
        self.token_of_key.pop(self.token_keys.pop(identifier, ""), None)
        if key is not None:
            self.token_keys[identifier] = key
            self.token_of_key[key] = identifier

    # -- events ----------------------------------------------------------------------

    def event(self, action: str, user: Record, context: Record | None = None) -> None:
        """Note what happened."""
        now = self.clock()
        brand = next((found for found in self.objects["brand"].values() if found["default"]), None)
        context = dict(context or {})
        if request := HTTP_REQUEST.get():
            context["http_request"] = request
        who = {"pk": user["pk"], "username": user["username"], "email": user["email"]}
        if user is ANONYMOUS:
            who["is_anonymous"] = True
        self.events.append(
            {
                "pk": str(uuid.uuid4()),
                "user": who,
                "action": action,
                "app": "authentik.audit.middleware" if action.startswith("model_") else "authentik.events.signals",
                "context": masked(context),
                "client_ip": "127.0.0.1",
                "created": timestamp(now),
                "expires": timestamp(now + seconds(self.settings["event_retention"])),
                "brand": model("authentik_brands", "brand", brand["pk"], "Default brand") if brand else {},
            }
        )

    def changed(self, action: str, user: Record, kind: str, record: Record, *, times: int = 1) -> None:
        """A write to an object makes an event, also one that changes nothing (facts/authentik.md 5)."""
        name = record.get("username") or record.get("name") or record.get("identifier") or ""
        if kind == "brand":
            name = "Default brand" if record["default"] else f"Brand {record['domain']}"
        for _ in range(times):
            self.event(action, user, {"model": model(KINDS[kind].app, kind, record["pk"], name)})

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
        now = timestamp(self.clock())
        if kind == "user":
            record.setdefault("uuid", str(uuid.uuid4()))
            record |= {"date_joined": now, "last_updated": now, "password_change_date": now}
        if kind == "oauth2provider":
            record["client_id"] = record.get("client_id") or uuid.uuid4().hex
            record["client_secret"] = record.get("client_secret") or client_secret()
        if kind == "token" and record["expiring"] and not record["expires"]:
            life = seconds(self.settings["default_token_duration"])
            record["expires"] = timestamp(self.clock() + life)

    def _join_all(self, user: Record, groups: Iterable[str]) -> None:
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

    def _user_gone(self, user: Record) -> None:
        pk = user["pk"]
        self._leave_all(user)
        self.grants.end_user(pk)
        self.end_sessions(pk)
        self.passwords.pop(pk, None)
        self._drop_bindings("user", pk)
        for token in self.having("token", "user", pk):
            self.remove("token", token)
        if self.settings["gdpr_compliance"]:
            # The events of a user go with the user (facts/authentik.md 0.10).
            self.events = [event for event in self.events if event["user"].get("pk") != pk]

    def _group_gone(self, group: Record) -> None:
        pk = group["pk"]
        self._set_members(pk, set())
        self.members.pop(pk, None)
        self._drop_bindings("group", pk)
        for child in self.having("group", "parents", pk):
            self.update("group", child, {"parents": [parent for parent in child["parents"] if parent != pk]})

    def _application_gone(self, application: Record) -> None:
        """Its bindings go, its provider stays (facts/authentik.md 10)."""
        self._drop_bindings("target", application["pk"])
        for brand in self.objects["brand"].values():
            if brand["default_application"] == application["pk"]:
                brand["default_application"] = None

    def _provider_gone(self, provider: Record) -> None:
        self.grants.end_provider(provider["pk"])
        application = self.application_of(provider)
        if application is not None:
            self.update("application", application, {"provider": None})

    def _key_pair_gone(self, pair: Record) -> None:
        """Its providers silently fall back to HS256 (facts/billing-and-jwt.md B14)."""
        for provider in self.having("oauth2provider", "signing_key", pair["pk"]):
            self.update("oauth2provider", provider, {"signing_key": None})

    def _drop_bindings(self, field: str, value: object) -> None:
        for binding in self.having("policybinding", field, value):
            self.remove("policybinding", binding)

    def _rekey(self, kind: str, record: Record, old_key: str) -> None:
        key = str(record[KINDS[kind].key])
        if key != old_key:
            self.objects[kind][key] = self.objects[kind].pop(old_key)

    def _index(self, kind: str, record: Record) -> None:
        form = KINDS[kind]
        key = str(record[form.key])
        for field in (*form.unique, *form.lookup):
            if record.get(field) is not None:
                self.unique[kind, field][record[field]] = key
        for field in form.indexed:
            for value in _values(record.get(field)):
                self._many[kind, field][value][key] = None

    def _unindex(self, kind: str, record: Record) -> None:
        form = KINDS[kind]
        key = str(record[form.key])
        for field in (*form.unique, *form.lookup):
            self.unique[kind, field].pop(record.get(field), None)
        for field in form.indexed:
            for value in _values(record.get(field)):
                self._many[kind, field][value].pop(key, None)


def timestamp(at: float) -> str:
    """A point in time as Authentik writes it: microseconds, ``Z``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _values(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def model(app: str, name: str, pk: object, title: str) -> Record:
    """An object as events keep it: numbers stay numbers, UUIDs lose their dashes."""
    return {
        "pk": pk if isinstance(pk, int) else str(pk).replace("-", ""),
        "app": app,
        "name": title,
        "model_name": name,
    }


def masked(value: Any, key: str = "") -> Any:
    """What events keep: nothing under a name that looks like a secret's (facts/authentik.md 5)."""
    if isinstance(value, dict):
        return {name: masked(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [masked(part, key) for part in value]
    return MASK if SECRETIVE.search(key) and not key.startswith("auth_method") else value
