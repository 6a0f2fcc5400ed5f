"""The Tenant's schema and its typed view say the same, in both directions."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dezky_operator.crd.conditions import Condition, Truth, Type
from dezky_operator.crd.tenant import InvalidTenant, Tenant, TenantSpec, TenantStatus, parse, quantity

CRD = yaml.safe_load((Path(__file__).resolve().parents[2] / "crds" / "tenant.yaml").read_text())
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
Schema = dict[str, Any]
SCALARS: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
OLD: dict[str, dict[str, Any]] = {
    "metadata": {"name": "old", "uid": "u-1"},
    "spec": {"displayName": "Old", "domains": ["old.test"]},
}


def walk(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every schema below and including ``schema``, by path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")


def differences(schema: Schema, view: type, path: str) -> Iterator[str]:
    """Where the schema of an object and its struct differ."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(view)}
    properties = schema.get("properties", {})
    yield from (f"{path}.{name}: only in the schema" for name in properties.keys() - fields.keys())
    yield from (f"{path}.{name}: only in {view.__name__}" for name in fields.keys() - properties.keys())
    for name in properties.keys() & fields.keys():
        field, inner, here = fields[name], properties[name], f"{path}.{name}"
        if field.required and name not in schema.get("required", []):
            yield f"{here}: may be absent by the schema, but {view.__name__} can not be read without it"
        if not field.required and name in schema.get("required", []):
            yield f"{here}: required by the schema, but has a default in {view.__name__}"
        yield from _type_differences(inner, field.type, here)
        yield from _default_differences(inner, field, here)


def _type_differences(schema: Schema, annotation: Any, path: str) -> Iterator[str]:
    annotation = _bare(annotation)
    if schema["type"] == "object":
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            yield from differences(schema, annotation, path)
        else:
            yield f"{path}: an object in the schema, {annotation} in the view"
    elif schema["type"] == "array":
        arguments = typing.get_args(annotation)
        if typing.get_origin(annotation) is tuple and arguments[1:] == (...,):
            yield from _type_differences(schema["items"], arguments[0], f"{path}[]")
        else:
            yield f"{path}: a list in the schema, {annotation} in the view"
    elif annotation is not SCALARS[schema["type"]]:
        yield f"{path}: {schema['type']} in the schema, {annotation} in the view"


def _default_differences(schema: Schema, field: Any, path: str) -> Iterator[str]:
    if field.required:
        return
    found = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if schema["type"] == "object" and schema.get("default") == {}:
        if found != type(found)():
            yield f"{path}: empty by the schema, {found} in the view"
    elif found != schema.get("default", () if schema["type"] == "array" else None):
        yield f"{path}: default {schema.get('default')!r} in the schema, {found!r} in the view"


def _bare(annotation: Any) -> Any:
    """The type without its ``| None``."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        (annotation,) = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    return annotation


@pytest.mark.parametrize(("part", "view"), [("spec", TenantSpec), ("status", TenantStatus)])
def test_schema_and_view_hold_the_same_fields_types_and_defaults(part: str, view: type) -> None:
    assert list(differences(ROOT["properties"][part], view, part)) == []


def test_the_object_itself_has_the_same_parts() -> None:
    parts = {field.encode_name for field in msgspec.structs.fields(Tenant)}
    assert parts == set(ROOT["properties"]) - {"apiVersion", "kind"}


def test_the_comparison_finds_every_kind_of_difference() -> None:
    schema: Schema = {
        "type": "object",
        "required": ["message", "status"],
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "boolean"},
            "reason": {"type": "object", "properties": {}},
            "message": {"type": "array", "items": {"type": "string"}},
            "observedGeneration": {"type": "integer", "default": 3},
            "more": {"type": "string"},
        },
    }
    found = "\n".join(differences(schema, Condition, "c"))
    for sentence in (
        "c.more: only in the schema",
        "c.lastTransitionTime: only in Condition",
        "c.type: may be absent by the schema",
        "c.status: boolean in the schema",
        "c.reason: an object in the schema",
        "c.message: a list in the schema",
        "c.observedGeneration: default 3 in the schema",
    ):
        assert sentence in found


def test_every_field_has_a_description_that_is_a_sentence() -> None:
    missing = [
        path
        for part in ("spec", "status")
        for path, schema in walk(ROOT["properties"][part], part)
        if not str(schema.get("description", "")).endswith(".")
    ]
    assert missing == []


def test_no_field_takes_what_the_schema_does_not_know() -> None:
    """C018: the schema is structural; nothing undeclared is ever kept."""
    assert CRD["spec"].get("preserveUnknownFields", False) is False
    for path, schema in walk(ROOT, "tenant"):
        assert "x-kubernetes-preserve-unknown-fields" not in schema, path
        assert "additionalProperties" not in schema, path


def test_everything_in_the_spec_is_bounded_so_that_rules_stay_cheap() -> None:
    for path, schema in walk(ROOT["properties"]["spec"], "spec"):
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if schema["type"] == "string":
            assert "maxLength" in schema or "enum" in schema, path
        if schema["type"] == "integer":
            assert "minimum" in schema, path
            assert "maximum" in schema, path


def test_every_rule_has_a_sentence_of_its_own() -> None:
    rules = [rule for _, schema in walk(ROOT, "") for rule in schema.get("x-kubernetes-validations", [])]
    for rule in rules:
        assert rule["message"].endswith("."), rule["rule"]
        assert len(rule["message"]) > 20, rule["rule"]
    assert len({rule["message"] for rule in rules}) == len(rules)


def test_the_conditions_the_operator_sets_are_those_the_schema_names() -> None:
    condition = ROOT["properties"]["status"]["properties"]["conditions"]["items"]["properties"]
    text = condition["type"]["description"]
    assert set(text.rstrip(".").replace(" or ", ", ").split(", ")) == {kind.value for kind in Type}
    assert set(condition["status"]["enum"]) == {truth.value for truth in Truth}


def test_columns_and_selectable_fields_lead_to_fields_of_the_schema() -> None:
    paths = {path.replace("[]", "") for path, _ in walk(ROOT, "")}
    columns = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"]]
    for path in [*columns, *(field["jsonPath"] for field in VERSION["selectableFields"])]:
        before, _, after = path.partition("[")
        assert before + after.partition("]")[2] in paths | {".metadata.creationTimestamp"}, path


def test_an_old_minimal_object_is_read_with_every_default() -> None:
    """C024: an object from before most fields existed, its status with nothing in it."""
    statuses: tuple[dict[str, Any], ...] = (
        {},
        {"observedGeneration": -1},
        {"provisioningStatus": {}},
        {"conditions": []},
    )
    for status in statuses:
        found = parse({**OLD, "status": status})
        assert found.spec.files.quota == "50Gi"
        assert found.spec.deletion_policy == "SoftDelete"
        assert found.spec.retention_days == 30
        assert found.status.provisioning_errors is None
    assert parse(OLD).status == TenantStatus()


def test_a_newer_object_is_read_without_the_fields_it_has_more() -> None:
    newer = {**OLD, "spec": {**OLD["spec"], "region": "eu-north"}, "status": {"shard": 7}}
    assert parse(newer).spec == parse(OLD).spec


def test_what_is_read_is_written_back_the_same() -> None:
    status = {
        "observedGeneration": 4,
        "identity": {"issuerURL": "https://id.test/"},
        "files": {"spaces": [{"name": "main", "webURL": "https://files.test/", "quotaUsed": 1}]},
        "launcher": {"logoURL": "https://acme.test/logo.svg"},
    }
    assert msgspec.json.decode(msgspec.json.encode(parse({**OLD, "status": status}).status)) == status


def test_what_can_not_be_read_names_the_object_and_the_field() -> None:
    broken = {"metadata": {**OLD["metadata"], "generation": 3}, "spec": {"displayName": "Old", "domains": [7]}}
    where = r"Tenant old .*Expected `str`, got `int` - at `\$\.spec\.domains\[0\]`"
    with pytest.raises(InvalidTenant, match=where) as told:
        parse(broken)
    assert (told.value.name, told.value.generation) == ("old", 3)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1M", 10**6), ("500Mi", 500 * 2**20), ("50Gi", 50 * 2**30), ("2T", 2 * 10**12)]
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert quantity(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "5 Gi", "5gb", "-5Gi", "5.5Gi", "5Gi\n"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        quantity(text)
