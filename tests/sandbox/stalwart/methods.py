"""The methods on Stalwart's objects: get, query and set, with the rights they need (facts/stalwart.md 2, 11)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.sandbox.stalwart.credentials import Credentials
from tests.sandbox.stalwart.errors import MethodError, SetError
from tests.sandbox.stalwart.events import Events
from tests.sandbox.stalwart.ids import decode, is_id
from tests.sandbox.stalwart.kinds import KINDS
from tests.sandbox.stalwart.objects import SECONDARY, SINGLETONS, Objects
from tests.sandbox.stalwart.query import query
from tests.sandbox.stalwart.references import resolved_ids
from tests.sandbox.stalwart.settings import Live
from tests.sandbox.stalwart.visitors import Visitor

Record = dict[str, Any]
OBJECTS = 500
ACTIONS = {"ReloadSettings", "ReloadBlockedIps", "InvalidateCaches", "InvalidateNegativeCaches"}
VERBS = ("create", "update", "destroy")


class Methods:
    """Answers one method call after the other."""

    def __init__(self, objects: Objects, live: Live, events: Events, loaded: Callable[[], None]) -> None:
        """``loaded`` is called after every reload of the settings."""
        self._objects, self._live, self._events, self._loaded = objects, live, events, loaded
        self._credentials = Credentials(objects)
        self._actions = 0

    def call(self, name: str, arguments: Record, visitor: Visitor, created: dict[str, str]) -> Record:
        """The answer to ``x:Kind/act``. Raises MethodError."""
        kind, _, act = name.removeprefix("x:").partition("/")
        known = kind in {*KINDS, *SINGLETONS, "Action"} and act in {"get", "query", "set"}
        caller = decode(visitor.id)
        if not name.startswith("x:") or not known:
            self._events.tell("jmap.unknown-method", details=name, accountId=caller, causedBy="error")
            raise MethodError("unknownMethod", name)
        self._may(kind, act, arguments, visitor)
        account = self._account(arguments, visitor)
        self._events.tell("jmap.method-call", id=name, accountId=caller, elapsed=1)
        if act == "get":
            answer = self._get(kind, arguments, account, created)
        elif act == "query":
            if kind in SINGLETONS or kind == "Action":
                raise MethodError("invalidArguments", f"{kind} cannot be queried")
            answer = query(self._objects, kind, arguments, account)
        else:
            answer = _Set(self, kind, arguments, visitor, account, created).run()
        return {"accountId": account, **answer}

    def _may(self, kind: str, act: str, arguments: Record, visitor: Visitor) -> None:
        """A missing right refuses the whole method."""
        verbs = [verb.title() for verb in VERBS if arguments.get(verb)] if act == "set" else [act.title()]
        if kind in SINGLETONS and act == "set":
            verbs = ["Update"]
        if all(f"sys{kind}{verb}" in visitor.rights for verb in verbs):
            return
        what = "create, update or destroy objects of this type" if act == "set" else "perform this action"
        raise MethodError("forbidden", f"You do not have enough permissions to {what}.")

    def _account(self, arguments: Record, visitor: Visitor) -> str:
        """Whose objects: one's own, unless one may impersonate, and then anybody's, existing or not."""
        account = arguments.get("accountId")
        if account is None:
            return visitor.id
        if not is_id(account):
            raise MethodError("invalidArguments", "accountId must be an id")
        if account != visitor.id and "impersonate" not in visitor.rights:
            raise MethodError("forbidden", f"You are not an owner of account {account}")
        return str(account)

    # -- get ------------------------------------------------------------------------------

    def _get(self, kind: str, arguments: Record, account: str, created: dict[str, str]) -> Record:
        wanted, ids = _texts(arguments, "properties"), _texts(arguments, "ids")
        records = self._records(kind, account)
        if ids is None:
            ids = sorted(records, key=decode)[:OBJECTS] if kind not in SINGLETONS else ["singleton"]
        if len(ids) > OBJECTS:
            raise MethodError("requestTooLarge", "Too many ids in one call.")
        ids = [created.get(key[1:], key) if key.startswith("#") else key for key in ids]
        if kind in SINGLETONS:
            shown = {"singleton": self._objects.singletons[kind]}
            return _found(shown, ids, lambda one: {k: v for k, v in one.items() if not wanted or k in {"id", *wanted}})
        return _found(records, ids, lambda one: self._objects.shown(kind, one, wanted))

    def _records(self, kind: str, account: str) -> dict[str, Record]:
        """Keys are seen account by account."""
        if kind in SECONDARY:
            return {one["id"]: one for one in self._objects.keys_of(kind, account)}
        return {} if kind == "Action" else self._objects.by_type[kind]

    # -- what a set does to one object ----------------------------------------------------------

    def create(self, kind: str, body: Record, visitor: Visitor, account: str) -> Record:
        """Make one; what the caller is told of it. Raises SetError."""
        if kind in SINGLETONS:
            raise SetError("singleton", description="Singletons cannot be created or destroyed.")
        if kind == "Action":
            return self._act(body, visitor)
        if kind in SECONDARY:
            return self._credentials.create(kind, account, body, visitor.grants)
        return {"id": self._objects.create(kind, body, visitor.grants)["id"]}

    def update(self, kind: str, key: str, patch: Record, visitor: Visitor, account: str) -> None:
        """Change one. Raises SetError."""
        if kind in SINGLETONS:
            if key != "singleton":
                raise SetError("notFound")
            self._objects.update_singleton(kind, patch)
        elif kind in SECONDARY:
            self._credentials.update(kind, account, key, patch)
        elif kind == "Action":
            raise SetError("forbidden", description="Actions cannot be updated")
        else:
            self._objects.update(kind, key, patch, visitor.grants)

    def destroy(self, kind: str, key: str, account: str) -> None:
        """Destroy one. Raises SetError."""
        if kind in SINGLETONS:
            raise SetError("singleton", description="Singletons cannot be created or destroyed.")
        if kind in SECONDARY:
            self._credentials.destroy(kind, account, key)
        elif kind == "Action":
            raise SetError("forbidden", description="Actions cannot be destroyed")
        else:
            self._objects.destroy(kind, key)

    def _act(self, body: Record, visitor: Visitor) -> Record:
        """Settings and bans are only stored until now."""
        kind = str(body.get("@type"))
        if kind not in ACTIONS:
            raise SetError("invalidPatch", description="Invalid value for property.", properties=["@type"])
        if f"action{kind}" not in visitor.rights:
            text = f"Insufficient permissions to perform action of type {kind}"
            raise SetError("forbidden", description=text)
        if kind == "ReloadSettings":
            self._live.reload()
            self._loaded()
        elif kind == "ReloadBlockedIps":
            self._live.reload_bans()
        self._actions += 1
        return {"id": f"a{'b' * (self._actions % 8)}"}


class _Set:
    """One set call: object after object, so that a failure leaves what was done before it."""

    def __init__(
        self, methods: Methods, kind: str, arguments: Record, visitor: Visitor, account: str, created: dict[str, str]
    ) -> None:
        self._methods, self._kind, self._visitor, self._account = methods, kind, visitor, account
        self._created = created
        self._answer: Record = {}
        self._create, self._update = _objects(arguments, "create"), _objects(arguments, "update")
        self._destroy = _texts(arguments, "destroy") or []
        if len(self._create) + len(self._update) + len(self._destroy) > OBJECTS:
            raise MethodError("requestTooLarge", "Too many objects in one call.")

    def run(self) -> Record:
        """Do it all; the answer names only what there was."""
        for label, body in self._create.items():
            self._one("created", "notCreated", label, partial(self._make, label, body))
        for key, patch in self._update.items():
            if self._names_something(key):
                self._one("updated", "notUpdated", key, partial(self._change, key, patch))
        for key in filter(self._names_something, self._destroy):
            try:
                self._methods.destroy(self._kind, key, self._account)
                self._answer.setdefault("destroyed", []).append(key)
            except SetError as error:
                self._answer.setdefault("notDestroyed", {})[key] = error.error
        return self._answer

    def _make(self, label: str, body: Record) -> Record:
        made = self._methods.create(self._kind, resolved_ids(body, self._created), self._visitor, self._account)
        self._created[label] = made["id"]
        return made

    def _change(self, key: str, patch: Record) -> None:
        if key in self._destroy:
            raise SetError("willDestroy", description="ID will be destroyed.")
        self._methods.update(self._kind, key, resolved_ids(patch, self._created), self._visitor, self._account)

    def _one(self, good: str, bad: str, key: str, act: Callable[[], Any]) -> None:
        try:
            self._answer.setdefault(good, {})[key] = act()
        except SetError as error:
            self._answer.setdefault(bad, {})[key] = error.error

    def _names_something(self, key: str) -> bool:
        """An id that can not be one is passed over without a word."""
        return key == "singleton" or is_id(key)


def _found(records: dict[str, Record], ids: list[str], show: Callable[[Record], Record]) -> Record:
    return {
        "list": [show(records[key]) for key in ids if key in records],
        "notFound": [key for key in ids if key not in records],
    }


def _texts(arguments: Record, name: str) -> list[str] | None:
    value = arguments.get(name)
    if value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return value
    raise MethodError("invalidArguments", f"{name} must be a list of texts")


def _objects(arguments: Record, name: str) -> dict[str, Record]:
    value = arguments.get(name)
    if value is None:
        return {}
    if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
        return value
    raise MethodError("invalidArguments", f"{name} must be a map of objects")
