"""Changes of a spec as events, whoever made them: people, GitOps, the API. Pure.

An event's id is the object's uid and generation, so the same version, listed again after a restart, is the same event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dezky_operator.audit.event import Datum, Event
from dezky_operator.ingest.own.acts import Actor, Whose, act


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an object as the API server has it.

    Attributes:
        kind: in lower case: ``tenant``.
        phase: the phase in its status, empty before the first.
        changed_by: who changed the spec last, as the API server stamped it; empty where it does not.
    """

    kind: str
    name: str
    uid: str
    generation: int
    spec: Mapping[str, Any]
    phase: str = ""
    deleted: bool = False
    changed_by: str = ""


def spec_changed(before: Version | None, now: Version, whose: Whose, *, time: str) -> Event | None:
    """The change that ``now`` is; None when its spec is the one seen ``before``.

    A deletion raises the generation too and changes no spec: it is an event of its own, and the API server does not
    tell who asked for it.
    """
    if now.deleted:
        return None if before is not None and before.deleted else _deleted(now, whose, time)
    if before is not None and before.uid == now.uid and before.generation == now.generation:
        return None
    earlier = before.spec if before is not None and before.uid == now.uid else None
    data: dict[str, Datum] = {"generation": now.generation}
    if fields := _fields(earlier, now.spec):
        data["fields"] = fields
    if not now.changed_by:
        data["actor_unknown"] = True
    values = {"after": _text(now.spec), "before": _text(earlier) if earlier is not None else ""}
    who = msgspec.structs.replace(whose, actor=Actor(now.changed_by))
    return _event(_verb(earlier, now), now, who, time, f"{now.uid}:{now.generation}", data, values)


def _deleted(now: Version, whose: Whose, time: str) -> Event:
    who = msgspec.structs.replace(whose, actor=Actor())
    values = {"before": _text(now.spec)}
    return _event("deleted", now, who, time, f"{now.uid}:deleted", {"actor_unknown": True}, values)


def _event(
    verb: str, now: Version, whose: Whose, time: str, ext: str, data: Mapping[str, Datum], values: Mapping[str, str]
) -> Event:
    return act(
        f"{now.kind}.{verb}",
        ext=ext,
        now=time,
        whose=whose,
        resource=now.kind,
        data=data,
        values={"resource.name": now.name, "resource.id": now.uid, **values},
    )


def _verb(earlier: Mapping[str, Any] | None, now: Version) -> str:
    """What the change is to a person. Of an object whose earlier version nobody saw its status tells."""
    suspended = bool(now.spec.get("suspended"))
    if earlier is None and now.generation == 1:
        return "created"
    was = bool(earlier.get("suspended")) if earlier is not None else now.phase == "Suspended"
    if suspended != was:
        return "suspended" if suspended else "resumed"
    return "updated"


def _fields(earlier: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """The names of the spec's own fields that differ; they come from the schema and name nobody."""
    if earlier is None:
        return ""
    return ",".join(sorted(key for key in earlier.keys() | now.keys() if earlier.get(key) != now.get(key)))


def _text(spec: Mapping[str, Any]) -> str:
    return msgspec.json.encode(spec, order="sorted").decode()
