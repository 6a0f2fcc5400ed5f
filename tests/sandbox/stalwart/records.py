"""New records from bodies, and changed records from patches (facts/stalwart.md 2.2, 11.2)."""

from __future__ import annotations

from typing import Any

from tests.sandbox.stalwart.errors import SetError, bad_patch
from tests.sandbox.stalwart.kinds import KINDS, Kind
from tests.sandbox.stalwart.shapes import Shape, copied

Record = dict[str, Any]


def created(name: str, body: Record) -> Record:
    """The record of a create: what is given, and defaults for the rest. Raises SetError."""
    kind = KINDS[name]
    record: Record = copied(kind.defaults)
    if "@type" in body:
        record["@type"] = _type(kind, body["@type"])
    for key in kind.type_of.get(record.get("@type", ""), ()):
        record.pop(key, None)
    for key, value in body.items():
        if key != "@type":
            record[key] = _shape(kind, record, key, unknown=bad_patch("Invalid key for object", "")).whole(value, key)
    return record


def patched(name: str, record: Record, patch: Record) -> Record:
    """The record after a patch of properties and JSON pointers; the one that came in stays. Raises SetError."""
    kind = KINDS[name]
    changed: Record = copied(record)
    for pointer, value in patch.items():
        if pointer == "@type":
            if value != record.get("@type"):
                raise SetError("invalidProperties", properties=["@type"], description="Cannot change the type.")
            continue
        key, *path = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/"))
        shape = _shape(kind, record, key, unknown=bad_patch("Invalid property", pointer))
        if key in kind.fixed:
            raise bad_patch("Cannot modify read-only property", key)
        changed[key] = shape.inside(changed.get(key), path, value, pointer) if path else shape.whole(value, pointer)
    return changed


def required(name: str, record: Record) -> None:
    """Raise unless everything that must be there is, with numbers in their limits."""
    missing: list[Record] = [
        {"type": "Required", "property": key} for key in KINDS[name].required if not record.get(key)
    ]
    if name == "MtaInboundThrottle":
        limits = [key for key in ("count", "period") if record["rate"][key] < 1]
        missing += [{"type": "MinValue", "property": key, "required": 1} for key in limits]
    if missing:
        raise SetError("validationFailed", validationErrors=missing)


def _type(kind: Kind, wanted: Any) -> str:
    if wanted not in kind.type_of:
        raise bad_patch("Invalid value for property.", "@type")
    return str(wanted)


def _shape(kind: Kind, record: Record, key: str, *, unknown: SetError) -> Shape:
    if key in kind.computed:
        raise bad_patch("Cannot modify server set property", key)
    if key not in kind.shapes or key in kind.type_of.get(record.get("@type", ""), ()):
        raise unknown
    return kind.shapes[key]
