"""One JMAP request: what is refused as a whole, and the answers to its calls in order (facts/stalwart.md 11.1)."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

from tests.sandbox.stalwart.answers import bad_request
from tests.sandbox.stalwart.errors import MethodError
from tests.sandbox.stalwart.methods import Methods
from tests.sandbox.stalwart.references import resolved_arguments
from tests.sandbox.stalwart.visitors import Visitor

CALLS = 16
STANDARD = ("core", "mail", "submission", "vacationresponse", "contacts", "calendars", "websocket", "sieve", "blob")
LARGEST = 10_000_000
"""Bytes of one request."""
CAPABILITIES = frozenset({"urn:stalwart:jmap", *(f"urn:ietf:params:jmap:{name}" for name in STANDARD)})
STATE = re.compile(r"n|[rs][a-z0-9]+")
Call = tuple[str, dict[str, Any], str]


def answer(raw: bytes, methods: Methods, visitor: Visitor) -> web.Response:
    """The answer to a request's body."""
    if len(raw) > LARGEST:
        return bad_request("limit", "The request is too large.", limit="maxSizeRequest")
    document = _parsed(raw)
    if document is None:
        # The real one repeats the whole body here, secrets included: that is why bodies are never logged.
        return bad_request("notRequest", raw.decode(errors="replace"))
    calls, created = document
    if len(calls) > CALLS:
        return bad_request("limit", "The request has too many calls.", limit="maxCallsInRequest")
    known = dict(created or {})
    responses: list[list[Any]] = []
    for name, arguments, tag in calls:
        responses.append(_answered(name, arguments, tag, methods, visitor, responses, known))
    body: dict[str, Any] = {"methodResponses": responses, "sessionState": "0"}
    return web.json_response(body if created is None else {**body, "createdIds": known})


def _answered(
    name: str,
    arguments: dict[str, Any],
    tag: str,
    methods: Methods,
    visitor: Visitor,
    responses: list[list[Any]],
    created: dict[str, str],
) -> list[Any]:
    try:
        if name == "Core/echo":
            return [name, arguments, tag]
        return [name, methods.call(name, resolved_arguments(arguments, responses), visitor, created), tag]
    except MethodError as error:
        return ["error", error.error, tag]


def _parsed(raw: bytes) -> tuple[list[Call], dict[str, str] | None] | None:
    """The calls and the ids that came with them; None when this is no request."""
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    calls, created = document.get("methodCalls", []), document.get("createdIds")
    good = isinstance(calls, list) and all(_is_call(call) for call in calls) and _is_known(document.get("using", []))
    if not good or not isinstance(created, dict | None):
        return None
    return [(name, arguments, tag) for name, arguments, tag in calls], created


def _is_known(using: Any) -> bool:
    """Nothing has to be named, but what is named must exist."""
    return isinstance(using, list) and all(name in CAPABILITIES for name in using)


def _is_call(call: Any) -> bool:
    """A name, arguments and a tag. A state is never compared, but one that can not be read spoils the whole request."""
    if not isinstance(call, list) or len(call) != 3:
        return False
    name, arguments, tag = call
    if not (isinstance(name, str) and isinstance(arguments, dict) and isinstance(tag, str)):
        return False
    state = arguments.get("ifInState")
    return state is None or (isinstance(state, str) and bool(STATE.fullmatch(state)))
