"""What a body must be to be taken: duplicates and bad references are 400, never 409 (facts/authentik.md 0.11, 3)."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

from tests.sandbox.authentik.grants import seconds
from tests.sandbox.authentik.kinds import Kind, Record
from tests.sandbox.authentik.rights import Caller, Refused, Rights
from tests.sandbox.authentik.store import Store

SLUG = re.compile(r"[A-Za-z0-9_-]+\Z")
RESERVED = {"authorize", "token", "device", "userinfo", "introspect", "revoke"}
DURATIONS = ("access_code_validity", "access_token_validity", "refresh_token_validity", "refresh_token_threshold")
TYPES = {"internal", "external", "service_account", "internal_service_account"}
Errors = dict[str, Any]


class Checks:
    """Turns a body into the fields to write, or refuses it."""

    def __init__(self, store: Store, rights: Rights) -> None:
        self.store, self.rights = store, rights

    def checked(self, kind: Kind, body: Record, record: Record | None, caller: Caller, *, partial: bool) -> Record:
        """The fields to write. ``record`` is None for a new object."""
        fields = {key: value for key, value in body.items() if key not in kind.read_only}
        if not partial:
            fields = {**{name: [] for name in kind.wiped}, **fields}
        errors = self._presence(kind, fields, partial=partial)
        errors |= self._references(kind, fields)
        errors |= self._unique(kind, fields, record)
        rule = getattr(self, f"_{kind.name}", None)
        if not errors and rule is not None:
            errors = rule(fields, record, caller)
        if errors:
            raise Refused(400, errors)
        return fields

    def _presence(self, kind: Kind, fields: Record, *, partial: bool) -> Errors:
        errors: Errors = {}
        for name in kind.required:
            if name not in fields and not partial:
                errors[name] = ["This field is required."]
            elif name in fields and fields[name] is None:
                errors[name] = ["This field may not be null."]
            elif fields.get(name) == "":
                errors[name] = ["This field may not be blank."]
        if "attributes" in fields and not isinstance(fields["attributes"], dict):
            errors["attributes"] = ["Value must be a dictionary, and not have any duplicate keys."]
        return errors

    def _references(self, kind: Kind, fields: Record) -> Errors:
        errors: Errors = {}
        for name, other in kind.references.items():
            if fields.get(name) is None:
                continue
            wanted = fields[name] if isinstance(fields[name], list) else [fields[name]]
            found = [(pk, self.store.by_pk(other, pk)) for pk in wanted]
            missing = [pk for pk, record in found if record is None]
            if missing:
                errors[name] = [f'Invalid pk "{missing[0]}" - object does not exist.']
                continue
            pks = [record["pk"] for _, record in found if record is not None]
            fields[name] = pks if isinstance(fields[name], list) else pks[0]
        return errors

    def _unique(self, kind: Kind, fields: Record, record: Record | None) -> Errors:
        errors: Errors = {}
        for name in kind.unique:
            value = fields.get(name)
            other = self.store.find(kind.name, name, value) if isinstance(value, str | int) else None
            if other is not None and other is not record:
                text = f"{kind.label} with this {name} already exists."
                errors[name] = ["This field must be unique." if kind.name in {"user", "brand"} else text]
        return errors

    # -- one rule for each kind that has some ------------------------------------------

    def _group(self, fields: Record, record: Record | None, caller: Caller) -> Errors:
        if record is not None and record["pk"] in fields.get("parents", ()):
            return {"parents": ["Cannot set group as parent of itself."]}
        wanted, known = fields.get("is_superuser", False), bool(record and record["is_superuser"])
        right = f"authentik_core.{'enable' if wanted else 'disable'}_group_superuser"
        if "is_superuser" in fields and wanted != known and not self.rights.has(caller, right, record):
            return {"is_superuser": [f"User does not have permission to set superuser status to {wanted}."]}
        return {}

    def _user(self, fields: Record, _: Record | None, __: Caller) -> Errors:
        path = fields.get("path")
        if path is not None and not all(path.split("/")):
            return {"path": ["No empty segments in user path allowed."]}
        if len(fields.get("username", "")) > 150:
            return {"username": ["Ensure this field has no more than 150 characters."]}
        if fields.get("type", "internal") not in TYPES:
            return {"type": [f'"{fields["type"]}" is not a valid choice.']}
        return {}

    def _application(self, fields: Record, _: Record | None, __: Caller) -> Errors:
        slug = fields.get("slug")
        if slug is not None and not SLUG.match(slug):
            return {"slug": ["Enter a valid “slug” consisting of letters, numbers, underscores or hyphens."]}
        if slug in RESERVED:
            return {"slug": [f"The slug '{slug}' is reserved and cannot be used for applications."]}
        return {}

    def _oauth2provider(self, fields: Record, _: Record | None, __: Caller) -> Errors:
        if fields.get("grant_types") == []:  # left out it is empty all the same, and nothing works (0.3)
            return {"grant_types": ["This list may not be empty."]}
        if "redirect_uris" in fields:
            uris = fields["redirect_uris"]
            if not isinstance(uris, list):
                return {"redirect_uris": [f'Expected a list of items but got type "{type(uris).__name__}".']}
            for uri in uris:
                if not isinstance(uri, dict):
                    return {"redirect_uris": [f"Invalid data. Expected a dictionary, but got {type(uri).__name__}."]}
                if not uri.get("url") or uri.get("matching_mode") not in {"strict", "regex"}:
                    return {"redirect_uris": [{"matching_mode": ["This field is required."]}]}
            fields["redirect_uris"] = [{"redirect_uri_type": "authorization", **uri} for uri in uris]
        for name in DURATIONS:
            try:
                seconds(fields.get(name, "seconds=0"))
            except ValueError as error:
                return {name: [f"{error} is not in the correct format of 'hours=3;minutes=1'."]}
        return {}

    def _policybinding(self, fields: Record, record: Record | None, _: Caller) -> Errors:
        ends = [fields.get(name) for name in ("policy", "group", "user")]
        if sum(end is not None for end in ends) != 1:
            return {"non_field_errors": ["One of 'policy', 'group' or 'user' must be set."]}
        if fields.get("policy") is None:
            return {}  # only bindings to a policy are unique: a group's can be doubled (0.7)
        same = ("policy", "target", "order")
        for other in self.store.having("policybinding", "target", fields["target"]):
            if other is not record and all(other[name] == fields.get(name) for name in same):
                return {"non_field_errors": ["The fields policy, target, order must make a unique set."]}
        return {}

    def _expressionpolicy(self, fields: Record, _: Record | None, __: Caller) -> Errors:
        return _syntax(fields)

    def _scopemapping(self, fields: Record, _: Record | None, __: Caller) -> Errors:
        return _syntax(fields)

    def _token(self, fields: Record, record: Record | None, caller: Caller) -> Errors:
        """Only superusers make tokens for others: anybody else gets one of his own (11.6)."""
        if record is None and (not caller.superuser or fields.get("user") is None):
            fields["user"] = caller.user["pk"]
        if fields.get("intent", "api") == "api":
            fields.pop("expires", None)
        return {}


def _syntax(fields: Record) -> Errors:
    """Only parsed, never run."""
    try:
        ast.parse("def expression():\n" + textwrap.indent(fields.get("expression", "pass"), "    "))
    except SyntaxError as error:
        return {"expression": [f"Syntax Error: {error.msg}"]}
    return {}
