"""Stalwart's stand-in, session and requests: what a client meets before it touches an object."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.sandbox.stalwart.caller import Caller, basic, made_tenant
from tests.sandbox.stalwart.rfc8620 import check_response, check_session
from tests.sandbox.stalwart.server import StalwartStandIn

REFUSED = {
    "type": "about:blank",
    "status": 401,
    "title": "Unauthorized",
    "detail": "You have to authenticate first.",
}


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


# -- detection -------------------------------------------------------------------------------


async def test_the_account_tells_edition_and_permissions_and_the_old_interface_is_gone(admin: Caller) -> None:
    told = (await admin.http.get("/api/account")).json()
    assert (told["edition"], told["locale"]) == ("oss", "POSIX")
    assert {"authenticate", "impersonate", "sysDomainCreate"} <= set(told["permissions"])
    assert (await admin.http.get("/api/principal?types=domain&limit=1")).status_code == 404
    assert (await admin.http.post("/api", json={})).status_code == 404


async def test_the_schema_redirects_to_its_hash_and_names_the_events(admin: Caller) -> None:
    answer = await admin.http.get("/api/schema")
    assert (answer.status_code, answer.headers["location"]) == (302, "/api/schema/25gnm1_xB9bP")
    async with admin.http.stream("GET", answer.headers["location"]) as packed:
        document = json.loads(gzip.decompress(b"".join([part async for part in packed.aiter_raw()])))
    events = {event["name"] for event in document["enums"]["EventType"]}
    assert {"auth.success", "security.unauthorized"} <= events
    assert len(document["enums"]["Permission"]) == 660


@pytest.mark.parametrize(
    "header",
    ["", basic("admin", "wrong"), basic("nobody@dezky.test", "x"), "Bearer API_d3Jvbmc", "Bearer a.b.c", "Basic %%%"],
)
async def test_nobody_can_tell_why_he_was_refused(header: str, server: StalwartStandIn) -> None:
    async with Caller(server.url, header) as nobody:
        answer = await nobody.http.get("/api/account")
    assert (answer.status_code, answer.json()) == (401, REFUSED)
    assert "Basic realm=" in answer.headers["www-authenticate"]


async def test_a_session_without_a_credential_is_200_and_empty(server: StalwartStandIn) -> None:
    async with Caller(server.url) as nobody:
        answer = await nobody.http.get("/jmap/session")
    assert answer.status_code == 200
    check_session(answer.json())
    assert (answer.json()["accounts"], answer.json()["primaryAccounts"], answer.json()["username"]) == ({}, {}, "")


async def test_a_session_names_the_account_but_not_the_capability(admin: Caller, server: StalwartStandIn) -> None:
    tenant = await made_tenant(admin)
    async with Caller(server.url, tenant.header) as jane:
        session = (await jane.http.get("/jmap/session")).json()
    check_session(session)
    assert session["primaryAccounts"]["urn:stalwart:jmap"] == tenant.account
    assert "urn:stalwart:jmap" not in session["capabilities"]
    assert session["username"] == "jane@acme.test"


async def test_the_session_names_the_public_host_wherever_one_came_in(admin: Caller) -> None:
    session = (await admin.http.get("/jmap/session")).json()
    assert session["apiUrl"] == "https://mail.dezky.test/jmap/"
    assert session["primaryAccounts"]["urn:stalwart:jmap"] == "d333333"


async def test_the_recovery_administrator_s_name_has_no_case(server: StalwartStandIn) -> None:
    async with Caller(server.url, basic("ADMIN", server.admin[1])) as admin:
        assert (await admin.http.get("/api/account")).status_code == 200


# -- the whole request -------------------------------------------------------------------------


async def test_a_request_that_is_not_json_by_its_header_is_refused(admin: Caller) -> None:
    answer = await admin.http.post("/jmap", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ietf:params:jmap:error:notJSON")


@pytest.mark.parametrize(
    "body", ['{"methodCalls": [["x:Domain/get", {"secret": "hunter2"}]]}', '{"hunter2', '["hunter2"]']
)
async def test_a_malformed_request_gets_its_whole_body_back(body: str, admin: Caller) -> None:
    answer = await admin.http.post("/jmap", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ietf:params:jmap:error:notRequest")
    assert answer.json()["detail"] == body, "secrets included: never log it"


async def test_sixteen_calls_are_answered_in_their_order_and_seventeen_are_not(admin: Caller) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [("x:Role/get", {"ids": ["b" if n % 2 else "c"]}) for n in range(16)]
    answers = await admin.several(*calls)
    assert [document["list"][0]["id"] for _, document in answers] == ["c", "b"] * 8
    answer = await admin.raw(*([name, arguments, "t"] for name, arguments in [*calls, calls[0]]))
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:ietf:params:jmap:error:limit"
    assert answer.json()["limit"] == "maxCallsInRequest"


async def test_a_fifth_request_at_once_is_400_and_not_429(admin: Caller, server: StalwartStandIn) -> None:
    tenant = await made_tenant(admin)
    server.work_time = 0.3
    async with Caller(server.url, tenant.header) as jane:
        answers = await asyncio.gather(*(jane.raw(["Core/echo", {}, "e"]) for _ in range(6)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert [answer.status_code for answer in refused] == [400, 400]
    assert {answer.json()["limit"] for answer in refused} == {"maxConcurrentRequests"}


async def test_an_administrator_has_no_limit_at_once(admin: Caller, server: StalwartStandIn) -> None:
    server.work_time = 0.1
    answers = await asyncio.gather(*(admin.raw(["Core/echo", {}, "e"]) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}


async def test_an_unknown_argument_is_ignored_and_an_unknown_capability_spoils_the_request(admin: Caller) -> None:
    body: dict[str, object] = {"methodCalls": [["x:Role/get", {"ids": ["b"], "colour": "red"}, "t"]]}
    answer = await admin.http.post("/jmap", json=body)
    assert answer.json()["methodResponses"][0][0] == "x:Role/get"
    assert (await admin.http.post("/jmap", json={**body, "using": ["urn:nobody"]})).status_code == 400


@pytest.mark.parametrize("method", ["x:Domain/changes", "x:Domain/queryChanges", "x:Nothing/get", "Domain/get"])
async def test_there_are_no_changes_and_no_other_names(method: str, admin: Caller) -> None:
    assert (await admin.failure(method))["type"] == "unknownMethod"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("x:Domain/get", {"ids": "b"}),
        ("x:Domain/set", {"create": []}),
        ("x:Domain/set", {"destroy": {"b": True}}),
        ("x:Domain/query", {"limit": "all"}),
        ("x:Domain/query", {"filter": "acme"}),
    ],
)
async def test_an_argument_of_a_wrong_type_fails_that_method_only(
    method: str, arguments: dict[str, Any], admin: Caller
) -> None:
    bad, good = await admin.several((method, arguments), ("x:Role/get", {"ids": ["b"]}))
    assert (bad[0], bad[1]["type"]) == ("error", "invalidArguments")
    assert good[0] == "x:Role/get"


async def test_a_state_is_never_compared_but_must_be_readable(admin: Caller) -> None:
    role = await admin.make("Role", {"description": "x"})
    answer = await admin.call("x:Role/set", ifInState="sold", update={role["id"]: {"description": "y"}})
    assert answer["updated"] == {role["id"]: None}
    assert not {"oldState", "newState", "state"} & set(answer)
    spoiled = await admin.raw(["x:Role/get", {}, "a"], ["x:Role/set", {"ifInState": 7, "destroy": []}, "b"])
    assert (spoiled.status_code, spoiled.json()["type"]) == (400, "urn:ietf:params:jmap:error:notRequest")


# -- references ---------------------------------------------------------------------------------


async def test_what_a_call_creates_can_be_named_by_the_next_also_as_a_key(admin: Caller) -> None:
    answers = await admin.several(
        ("x:Role/set", {"create": {"r": {"description": "t", "roleIds": {"b": True}}}}),
        ("x:Domain/set", {"create": {"d": {"name": "acme.test", "dkimManagement": {"@type": "Manual"}}}}),
        (
            "x:Account/set",
            {
                "create": {
                    "a": {
                        "@type": "User",
                        "name": "jane",
                        "domainId": "#d",
                        "roles": {"@type": "Custom", "roleIds": {"#r": True}},
                    }
                }
            },
        ),
        ("x:Account/get", {"ids": ["#a"]}),
    )
    jane = answers[3][1]["list"][0]
    assert jane["domainId"] == answers[1][1]["created"]["d"]["id"]
    assert jane["roles"]["roleIds"] == {answers[0][1]["created"]["r"]["id"]: True}


async def test_an_unknown_reference_is_no_id(admin: Caller) -> None:
    error = await admin.not_made("Account", {"@type": "User", "name": "jane", "domainId": "#nothing"})
    assert error["type"] == "invalidPatch"


async def test_ids_of_an_earlier_query_can_be_fetched_in_the_same_request(admin: Caller) -> None:
    reference = {"resultOf": "c0", "name": "x:Role/query", "path": "/ids"}
    answers = await admin.several(
        ("x:Role/query", {"filter": {"description": "Tenant"}}), ("x:Role/get", {"#ids": reference})
    )
    assert [role["description"] for role in answers[1][1]["list"]] == ["Tenant Administrator"]


async def test_a_reference_to_nothing_fails_that_method_only(admin: Caller) -> None:
    reference = {"resultOf": "c9", "name": "x:Role/query", "path": "/ids"}
    answers = await admin.several(("x:Role/get", {"#ids": reference}), ("x:Role/get", {"ids": ["b"]}))
    assert answers[0][1]["type"] == "invalidResultReference"
    assert answers[1][1]["list"]


async def test_created_ids_come_back_only_to_whoever_sent_some(admin: Caller) -> None:
    call = ["x:Role/set", {"create": {"r": {"description": "x"}}}, "c0"]
    assert "createdIds" not in (await admin.raw(call)).json()
    assert set((await admin.raw(call, createdIds={})).json()["createdIds"]) == {"r"}


# -- the rules themselves -------------------------------------------------------------------------


REQUEST = {"methodCalls": [["x:Role/get", {"ids": ["b"]}, "t"]]}
GOOD = {"accountId": "d333333", "list": [{"id": "b"}], "notFound": []}


def _response(*answers: object, **more: object) -> dict[str, Any]:
    return {"methodResponses": list(answers), "sessionState": "0", **more}


@pytest.mark.parametrize(
    "response",
    [
        _response(),
        _response(["x:Role/get", GOOD, "other"]),
        _response(["x:Role/set", GOOD, "t"]),
        _response(["error", {"type": "somethingElse"}, "t"]),
        _response(["x:Role/get", {**GOOD, "state": "n"}, "t"]),
        _response(["x:Role/get", {**GOOD, "list": []}, "t"]),
        _response(["x:Role/get", GOOD, "t"], createdIds={}),
    ],
)
def test_the_check_that_every_answer_passes_can_fail(response: dict[str, Any]) -> None:
    check_response(REQUEST, _response(["x:Role/get", GOOD, "t"]))
    with pytest.raises(AssertionError):
        check_response(REQUEST, response)


async def test_every_request_is_listed_with_what_it_asked_for(admin: Caller, server: StalwartStandIn) -> None:
    await admin.several(("x:Role/get", {"ids": ["b"]}), ("x:Role/set", {"create": {"r": {"description": "x"}}}))
    async with httpx2.AsyncClient(base_url=server.url) as control:
        writes = (await control.get("/__sandbox/writes")).json()
    assert [write["label"] for write in writes] == ["x:Role/get;x:Role/set create"]
