"""Filters, order and pages. Unknown filters are ignored, so everything comes back (facts/authentik.md 0.1, 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.sandbox.authentik.kinds import Kind, Record
from tests.sandbox.authentik.rights import Caller, Refused
from tests.sandbox.authentik.store import Store

PAGE, LONGEST_PAGE = 20, 100
A_DAY = 86400
SEARCHED = ("name", "username", "email", "slug", "domain", "identifier", "scope_name", "meta_publisher")
Query = Any
"""A multidict of query parameters."""


class Lists:
    """Chooses the rows of a list."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._shown_applications: dict[tuple[int, int], tuple[float, list[Record]]] = {}

    def rows(self, kind: Kind, query: Query) -> list[Record]:
        """What passes the filters, in the order asked for."""
        found = self._candidates(kind, query)
        for field in kind.filters:
            if field in query:
                found = [record for record in found if _text(record.get(field)) == _folded(query[field], record, field)]
        special = {"user": self._users, "group": self._groups, "token": self._tokens}.get(kind.name)
        if special is not None:
            found = special(found, query)
        if "attributes" in query and "attributes" in kind.defaults:
            wanted = _wanted(query["attributes"])
            found = [record for record in found if all(_holds(record["attributes"], *item) for item in wanted.items())]
        if search := query.get("search"):
            found = [record for record in found if _mentions(record, search)]
        return ordered(found, query)

    def _candidates(self, kind: Kind, query: Query) -> list[Record]:
        """The narrowest set an index gives."""
        for field in kind.indexed:
            if field in query and field in kind.filters:
                return self.store.having(kind.name, field, query[field])
        for field in (*kind.unique, *kind.lookup):
            if field in query and field in kind.filters:
                found = self.store.find(kind.name, field, query[field])
                return [found] if found else []
        if kind.name == "user" and ("groups_by_pk" in query or "groups_by_name" in query):
            return self._members(query)
        return list(self.store.objects[kind.name].values())

    def _members(self, query: Query) -> list[Record]:
        pks = set(query.getall("groups_by_pk", []))
        for name in query.getall("groups_by_name", []):
            group = self.store.find("group", "name", name)
            pks |= {group["pk"]} if group else set()
        users = sorted({user for pk in pks for user in self.store.members.get(pk, ())})
        return [self.store.objects["user"][str(user)] for user in users]

    def _users(self, found: list[Record], query: Query) -> list[Record]:
        if "groups_by_pk" in query or "groups_by_name" in query:
            members = {user["pk"] for user in self._members(query)}
            found = [user for user in found if user["pk"] in members]
        if start := query.get("path_startswith"):  # since 2026.8 the subtree, not any prefix (facts/authentik.md 1)
            found = [user for user in found if user["path"] == start or user["path"].startswith(f"{start}/")]
        if "is_superuser" in query:
            wanted = query["is_superuser"].lower() == "true"
            found = [user for user in found if self.store.is_superuser(user) == wanted]
        return found

    def _groups(self, found: list[Record], query: Query) -> list[Record]:
        wanted = {int(pk) for pk in query.getall("members_by_pk", []) if pk.isdigit()}
        named = [self.store.find("user", "username", name) for name in query.getall("members_by_username", [])]
        wanted |= {user["pk"] for user in named if user}
        if "members_by_pk" in query or "members_by_username" in query:
            found = [group for group in found if not wanted.isdisjoint(self.store.members.get(group["pk"], ()))]
        return found

    def _tokens(self, found: list[Record], query: Query) -> list[Record]:
        if "user__username" not in query:
            return found
        user = self.store.find("user", "username", query["user__username"])
        return [token for token in found if user and token["user"] == user["pk"]]

    def applications(self, caller: Caller, rows: list[Record], query: Query) -> tuple[list[Record], Record]:
        """The list that lies (facts/authentik.md 0.5, 11.5).

        The count is of what there is; the rows are what the caller may open, kept for a day under a key that knows
        neither the filters nor later changes.
        """
        shown, pagination = page(rows, query)
        if caller.superuser and query.get("superuser_full_list", "").lower() == "true":
            return shown, pagination
        key, now = (caller.user["pk"], pagination["current"]), self.store.clock()
        kept = self._shown_applications.get(key)
        if "search" not in query and kept is not None and kept[0] > now and kept[1]:
            return kept[1], pagination
        open_ones = [row for row in shown if not row["meta_hide"] and self.store.may_use(caller.user, row)]
        if "search" not in query:
            self._shown_applications[key] = (now + A_DAY, [dict(row) for row in open_ones])
        return open_ones, pagination


def page(rows: list[Record], query: Query) -> tuple[list[Record], Record]:
    """One page and where it stands. ``next`` is a page number or 0; past the end is 404."""
    size = min(_positive(query.get("page_size"), PAGE), LONGEST_PAGE)
    number = int(query["page"]) if query.get("page", "1").isdigit() and "page" in query else 1
    total = max((len(rows) + size - 1) // size, 1)
    if not 1 <= number <= total:
        raise Refused(404, {"detail": "Invalid page."})
    shown = rows[(number - 1) * size : number * size]
    return shown, {
        "next": number + 1 if number < total else 0,
        "previous": number - 1,
        "count": len(rows),
        "current": number,
        "total_pages": total,
        "start_index": (number - 1) * size + 1 if shown else 0,
        "end_index": (number - 1) * size + len(shown),
    }


def document(rows: list[Record], pagination: Record, shown: Callable[[Record], Record]) -> Record:
    """The answer of a list."""
    return {"pagination": pagination, "results": [shown(row) for row in rows], "autocomplete": {}}


def ordered(rows: list[Record], query: Query, default: str = "") -> list[Record]:
    """By ``ordering=a,-b``; unknown fields are ignored."""
    for name in reversed(query.get("ordering", default).split(",")):
        field = name.removeprefix("-")
        if field and all(field in row for row in rows):
            rows = sorted(rows, key=lambda row: _sortable(row[field]), reverse=name.startswith("-"))
    return rows


def _positive(text: str | None, otherwise: int) -> int:
    return int(text) or otherwise if text is not None and text.isdigit() else otherwise


def _sortable(value: object) -> tuple[bool, float, str]:
    number = float(value) if isinstance(value, int | float) else 0.0
    return value is not None, number, "" if isinstance(value, int | float) else str(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folded(wanted: str, record: Record, field: str) -> str:
    return wanted.lower() if isinstance(record.get(field), bool) else wanted


def _wanted(text: str) -> Mapping[str, Any]:
    try:
        wanted = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(400, ["filter: failed to parse JSON"]) from error
    if not isinstance(wanted, dict):
        raise Refused(400, ["filter: value must be key:value mapping"])
    return wanted


def _holds(attributes: Record, key: str, value: object) -> bool:
    """``a__b`` goes into nested maps; keys with dots and slashes are plain keys."""
    found: Any = attributes
    for part in key.split("__"):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return bool(found == value)


def _mentions(record: Record, search: str) -> bool:
    text = " ".join(str(record[field]) for field in SEARCHED if record.get(field)).lower()
    return all(term in text for term in search.lower().split())
