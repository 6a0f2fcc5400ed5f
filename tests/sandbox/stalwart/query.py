"""Queries: filters over indexes, and the paging that loses rows (facts/stalwart.md 2.2, 11.0.1, 11.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.sandbox.stalwart.errors import MethodError
from tests.sandbox.stalwart.ids import decode, is_id
from tests.sandbox.stalwart.kinds import KINDS
from tests.sandbox.stalwart.objects import SECONDARY, Objects, words

Record = dict[str, Any]
RESULTS = 5000
SORTED_BY = frozenset({"name", "domainId"})


@dataclass(frozen=True)
class Page:
    """What of a result is wanted. Raises MethodError for arguments of a wrong type."""

    limit: int | None
    position: int | None
    anchor: str | None
    offset: int | None
    total: bool
    sort: str
    ascending: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Page:
        """The page that a query's arguments ask for; without a sort, the highest id first."""
        for name in ("limit", "position", "anchorOffset"):
            value = arguments.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise MethodError("invalidArguments", f"{name} must be a number")
        limit = arguments.get("limit")
        if limit is not None and limit < 0:
            raise MethodError("invalidArguments", "limit must not be negative")
        sort = arguments.get("sort") or [{"property": "id", "isAscending": False}]
        return cls(
            limit=None if limit is None else min(limit, RESULTS),
            position=arguments.get("position"),
            anchor=arguments.get("anchor"),
            offset=arguments.get("anchorOffset"),
            total=bool(arguments.get("calculateTotal")),
            sort=str(sort[0].get("property")),
            ascending=bool(sort[0].get("isAscending", True)),
        )

    @property
    def is_cut_early(self) -> bool:
        """Whether the page is cut from the ids in ascending order, before they are sorted: that is what loses rows."""
        plain = self.sort == "id" and not self.total and not self.offset
        return plain and (self.position is None or self.position > 0)


def query(objects: Objects, kind: str, arguments: Mapping[str, Any], account: str) -> Record:
    """The answer to a query, without the account. Raises MethodError."""
    page = Page.of(arguments)
    ids = _matching(objects, kind, _conditions(arguments.get("filter")), account)
    answer: Record = {"queryState": "n", "canCalculateChanges": True}
    if page.is_cut_early:
        return {**answer, **_cut_early(ids, page, filtered=bool(arguments.get("filter")))}
    return {**answer, **_cut(_sorted(objects, kind, ids, page), page)}


# -- pages ----------------------------------------------------------------------------------


def _cut_early(ids: list[str], page: Page, *, filtered: bool) -> Record:
    """The lowest ids after the anchor or position; turned round afterwards when the order is descending."""
    start = page.position or 0
    if page.anchor is not None:
        start = _behind(ids, page.anchor, filtered=filtered)
    limit = RESULTS if page.limit is None else max(1, page.limit)  # a limit of 0 is noticed after the first row
    found = ids[start : start + limit]
    return {"position": 0, "ids": found if page.ascending else found[::-1]}


def _behind(ids: list[str], anchor: str, *, filtered: bool) -> int:
    """Where the ids behind an anchor begin. In a filtered list the anchor itself must be met first."""
    if filtered:
        return ids.index(anchor) + 1 if anchor in ids else len(ids)
    number = decode(anchor) if is_id(anchor) else 0
    return sum(decode(found) <= number for found in ids)


def _cut(ids: list[str], page: Page) -> Record:
    """The page as RFC 8620 5.5 has it, but for a limit of 0, which is none."""
    limit = RESULTS if page.limit is None else page.limit
    most = min(limit, len(ids)) or len(ids)
    start = page.position or 0
    if page.anchor is not None:
        if page.anchor not in ids:
            raise MethodError("anchorNotFound", "The anchor is not in the results.")
        start = max(0, ids.index(page.anchor) + (page.offset or 0))
    elif start < 0:
        start = max(0, len(ids) + start)
    answer: Record = {"position": start if start <= len(ids) else 0, "ids": ids[start : start + most]}
    if page.total:
        answer["total"] = len(ids)
    if len(ids) > limit:
        answer["limit"] = limit
    return answer


def _sorted(objects: Objects, kind: str, ids: list[str], page: Page) -> list[str]:
    if page.sort == "id":
        return ids if page.ascending else ids[::-1]
    if page.sort not in SORTED_BY & KINDS[kind].indexed:
        raise MethodError("unsupportedSort", f"Property {page.sort} is not supported for sorting")
    return sorted(ids, key=lambda key: str(objects.by_type[kind][key][page.sort]), reverse=not page.ascending)


# -- filters --------------------------------------------------------------------------------


def _conditions(given: Any) -> list[tuple[str, Any]]:
    """All conditions, which must all hold."""
    if given is None:
        return []
    if not isinstance(given, dict):
        raise MethodError("invalidArguments", "filter must be an object")
    if "operator" not in given:
        return list(given.items())
    if given["operator"] != "AND":
        raise MethodError("unsupportedFilter", "Only AND is supported in filters")
    return [condition for inner in given.get("conditions", ()) for condition in _conditions(inner)]


def _matching(objects: Objects, kind: str, conditions: list[tuple[str, Any]], account: str) -> list[str]:
    """The ids that pass, lowest first."""
    if kind in SECONDARY:
        return sorted((key["id"] for key in objects.keys_of(kind, account)), key=decode)
    found: set[str] | None = None
    for field, value in conditions:
        hits = _hits(objects, kind, field, value)
        found = hits if found is None else found & hits
        if not found:
            break
    return sorted(objects.by_type[kind] if found is None else found, key=decode)


def _hits(objects: Objects, kind: str, field: str, value: Any) -> set[str]:
    usable = field in KINDS[kind].indexed and isinstance(value, str)
    if not usable or (field in {"domainId", "memberGroupIds"} and not is_id(value)):
        raise MethodError("unsupportedFilter", f"Filter on property {field} is not supported or invalid")
    records = objects.by_type[kind]
    if field == "domainId":
        return set(objects.under[kind, value])
    if kind == "Domain" and field in {"name", "aliases"}:
        return _domain(objects, field, value)
    if kind == "Role":
        return _by_words([set(objects.words[word]) for word in words(value)])
    if field == "text":
        texts = {key: set(words(_text(kind, one))) for key, one in records.items()}
        return _by_words([{key for key, found in texts.items() if word in found} for word in words(value)])
    if field == "memberGroupIds":
        return {key for key, one in records.items() if value in one.get(field, ())}
    return {key for key, one in records.items() if one.get(field) == value}


def _domain(objects: Objects, field: str, value: str) -> set[str]:
    """Case-sensitive, and names and aliases are two indexes."""
    key = objects.names.get(value)
    if key is None:
        return set()
    is_name = objects.by_type["Domain"][key]["name"] == value
    return {key} if is_name == (field == "name") else set()


def _by_words(hits: list[set[str]]) -> set[str]:
    """All words must be there; but while none of the first words was met, the next one starts anew."""
    found: set[str] = set()
    for one in hits:
        if not found:
            found = one
            continue
        found = found & one
        if not found:
            break
    return found


def _text(kind: str, record: Record) -> str:
    parts = [record.get("name", ""), record.get("description") or ""]
    if kind == "Account":
        parts += [alias["name"] for alias in record["aliases"].values()]
    if kind == "MailingList":  # nothing of its domain: measured, against facts/stalwart.md 11.4
        parts += [alias["name"] for alias in record["aliases"].values()] + list(record["recipients"])
    return " ".join(parts)
