"""The rules of RFC 8620 for requests, responses and the session, as far as Stalwart's objects keep to them.

Stalwart leaves states out of get and set (facts/stalwart.md 2.2): that is checked too, because code that waits for one
must fail here as it would there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
SESSION = frozenset(
    {"capabilities", "accounts", "primaryAccounts", "username", "apiUrl", "downloadUrl", "uploadUrl", "eventSourceUrl"}
    | {"state"}
)
CORE = frozenset(
    {"maxSizeUpload", "maxConcurrentUpload", "maxSizeRequest", "maxConcurrentRequests", "maxCallsInRequest"}
    | {"maxObjectsInGet", "maxObjectsInSet", "collationAlgorithms"}
)
ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
METHOD_ERRORS = frozenset(
    {
        "serverUnavailable",
        "unknownMethod",
        "invalidArguments",
        "invalidResultReference",
        "forbidden",
        "requestTooLarge",
        "anchorNotFound",
        "unsupportedSort",
        "unsupportedFilter",
    }
)
SET_ERRORS = frozenset(
    {
        "forbidden",
        "overQuota",
        "notFound",
        "invalidPatch",
        "willDestroy",
        "invalidProperties",
        "singleton",
        "primaryKeyViolation",
        "invalidForeignKey",
        "objectIsLinked",
        "validationFailed",
    }
)


def check_session(session: Document) -> None:
    """RFC 8620 2."""
    assert set(session) >= SESSION, "fields of a session"
    core = session["capabilities"]["urn:ietf:params:jmap:core"]
    assert set(core) == CORE, "limits"
    assert set(session["primaryAccounts"].values()) <= set(session["accounts"]), "primary accounts are accounts"
    for account in session["accounts"].values():
        assert set(account) == {"name", "isPersonal", "isReadOnly", "accountCapabilities"}, "fields of an account"
    for name in ("{accountId}", "{blobId}", "{name}", "{type}"):
        assert name in session["downloadUrl"], name


def check_response(request: Document, response: Document) -> None:
    """RFC 8620 3.4: every call is answered once, in order, under its own tag."""
    calls, answers = request["methodCalls"], response["methodResponses"]
    assert [call[2] for call in calls] == [answer[2] for answer in answers], "tags, in order"
    assert isinstance(response["sessionState"], str)
    assert ("createdIds" in response) == ("createdIds" in request), "ids come back only where some were sent"
    for (name, arguments, _), (answered, document, _) in zip(calls, answers, strict=True):
        assert answered in {name, "error"}
        if answered == "error":
            assert document["type"] in METHOD_ERRORS, document
        elif name != "Core/echo":
            check_document(name, arguments, document)


def check_document(name: str, arguments: Document, document: Document) -> None:
    """The answer of one method."""
    assert ID.fullmatch(document["accountId"]), "accountId"
    checks = {"get": _check_get, "set": _check_set, "query": _check_query}
    checks[name.rpartition("/")[2]](arguments, document)


def _check_get(arguments: Document, document: Document) -> None:
    """RFC 8620 5.1."""
    assert set(document) == {"accountId", "list", "notFound"}, "no state"
    found = [one["id"] for one in document["list"]]
    asked = arguments.get("ids")
    if asked is not None and not any(key.startswith("#") for key in asked):
        assert set(found) | set(document["notFound"]) == set(asked), "every id is found or not"
    properties = arguments.get("properties")
    if properties:
        assert all(set(one) <= {"id", *properties} for one in document["list"]), "only what was asked for"


def _check_set(arguments: Document, document: Document) -> None:
    """RFC 8620 5.3."""
    assert not {"oldState", "newState"} & set(document), "no state"
    for verb, good, bad in (
        ("create", "created", "notCreated"),
        ("update", "updated", "notUpdated"),
        ("destroy", "destroyed", "notDestroyed"),
    ):
        done, refused = document.get(good) or {}, document.get(bad) or {}
        _check_halves(list(arguments.get(verb) or ()), list(done), refused, verb)
    assert all(ID.fullmatch(made["id"]) for made in (document.get("created") or {}).values()), "an id for each"


def _check_halves(asked: Sequence[str], done: Sequence[str], refused: Document, verb: str) -> None:
    assert not set(done) & set(refused), f"{verb}: done or refused, not both"
    assert set(done) | set(refused) <= set(asked), f"{verb}: nothing that was not asked for"
    for error in refused.values():
        assert error["type"] in SET_ERRORS, error
        assert all(isinstance(name, str) for name in error.get("properties", ())), "properties are names"


def _check_query(arguments: Document, document: Document) -> None:
    """RFC 8620 5.5."""
    assert {"queryState", "canCalculateChanges", "position", "ids"} <= set(document), "fields of a query"
    assert len(set(document["ids"])) == len(document["ids"]), "no id twice in one page"
    assert all(ID.fullmatch(key) for key in document["ids"]), "ids"
    assert ("total" in document) == bool(arguments.get("calculateTotal")), "a total only where it was asked for"
    if limit := arguments.get("limit"):
        assert len(document["ids"]) <= limit, "not more than asked for"
