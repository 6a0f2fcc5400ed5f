"""The typed view of AuditSource and its schema say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
import yaml

from dezky_operator.crd.auditsource import (
    AuditSourceSpec,
    AuditSourceStatus,
    InvalidSource,
    SourceCounts,
    State,
    parse,
)

ROOT = Path(__file__).resolve().parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "auditsource.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def same(struct: type[msgspec.Struct], schema: dict[str, Any]) -> None:
    """The fields of both, also of every struct inside."""
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    assert names.keys() == schema["properties"].keys(), struct.__name__
    hints = get_type_hints(struct)
    for encoded, field in names.items():
        inner = [one for one in (hints[field], *get_args(hints[field])) if _is_struct(one)]
        found = schema["properties"][encoded]
        if inner and found["type"] == "object":
            same(inner[0], found)
        elif inner:
            assert set(inner[0].__struct_encode_fields__) == found["items"]["properties"].keys()


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@pytest.mark.parametrize(("struct", "part"), [(AuditSourceSpec, "spec"), (AuditSourceStatus, "status")])
def test_every_field_is_in_both(struct: type[msgspec.Struct], part: str) -> None:
    same(struct, SCHEMA["properties"][part])


def test_every_field_is_described() -> None:
    def walk(schema: dict[str, Any], path: str) -> list[str]:
        found = [] if schema.get("description") or path in {"", ".metadata"} else [path]
        for name, inner in schema.get("properties", {}).items():
            found += walk(inner, f"{path}.{name}")
        return found + (walk(schema["items"], f"{path}[]") if "items" in schema else [])

    assert walk(SCHEMA, "") == []


def test_every_state_is_named_in_the_description() -> None:
    told = SCHEMA["properties"]["status"]["properties"]["state"]["description"]
    assert all(state.value in told for state in State)


def test_the_samples_are_understood() -> None:
    documents = yaml.safe_load_all((ROOT / "manifests/samples/audit/sources.yaml").read_text())
    sources = [parse({**raw, "metadata": {**raw["metadata"], "uid": "u"}}) for raw in documents]
    assert [source.spec.type for source in sources] == ["authentik", "stalwart", "ocis"]


def test_an_object_that_can_not_be_understood_is_named() -> None:
    with pytest.raises(InvalidSource, match=r"AuditSource x: .*intervalSeconds"):
        parse({"metadata": {"name": "x", "uid": "u"}, "spec": {"type": "ocis", "intervalSeconds": "often"}})


def test_counts_are_written_also_when_they_are_zero() -> None:
    assert msgspec.to_builtins(SourceCounts())["stored"] == 0
