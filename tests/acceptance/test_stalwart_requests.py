"""What Stalwart answers to requests as a whole (facts/stalwart.md 2.1, 11.0, 11.1, 11.4)."""

from __future__ import annotations

import pytest

from tests.acceptance.jmap import ASCENDING, Jmap
from tests.acceptance.targets import Mail, basic


async def test_a_session_is_given_to_anybody_and_proves_nothing(stalwart: Mail) -> None:
    async with stalwart.web.client("") as nobody:
        answer = await nobody.get("/jmap/session")
    assert (answer.status_code, answer.json()["primaryAccounts"]) == (200, {})


async def test_a_session_of_somebody_names_the_account_for_management(jmap: Jmap) -> None:
    assert (await jmap.http.get("/jmap/session")).json()["primaryAccounts"]["urn:stalwart:jmap"]


async def test_the_account_tells_edition_and_permissions(jmap: Jmap) -> None:
    answer = await jmap.http.get("/api/account")
    assert answer.status_code == 200
    assert set(answer.json()) == {"permissions", "edition", "locale"}


async def test_no_credential_and_any_wrong_one_are_answered_alike(stalwart: Mail) -> None:
    answers = []
    for header in ("", basic("nobody@nowhere.test", "wrong"), "Bearer API_bm90IGEga2V5"):
        async with stalwart.web.client(header) as http:
            answers.append(await http.post("/jmap", json={"using": [], "methodCalls": []}))
    assert [answer.status_code for answer in answers] == [401] * 3
    assert [answer.json() for answer in answers] == [answers[0].json()] * 3
    assert answers[0].json()["title"] == "Unauthorized"


async def test_the_old_api_is_gone(jmap: Jmap) -> None:
    assert (await jmap.http.get("/api/principal")).status_code == 404
    assert (await jmap.http.post("/api", json={})).status_code == 404


async def test_a_malformed_request_is_repeated_in_the_answer(jmap: Jmap) -> None:
    """Which is why no body is ever logged."""
    answer = await jmap.http.post(
        "/jmap", content=b'{"using": "secret-of-mine"', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["type"].startswith("urn:ietf:params:jmap:error:")


async def test_an_unreadable_call_refuses_the_whole_request(jmap: Jmap) -> None:
    answer = await jmap.http.post("/jmap", json={"using": [], "methodCalls": [["x:Domain/get", {}]]})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ietf:params:jmap:error:notRequest")
    assert "x:Domain/get" in answer.json()["detail"], "the request is repeated"


async def test_sixteen_calls_pass_and_seventeen_do_not(jmap: Jmap) -> None:
    call = ("x:Domain/query", {"filter": {"name": "nobody.test"}})
    assert len((await jmap.request(*[call] * 16)).json()["methodResponses"]) == 16
    answer = await jmap.request(*[call] * 17)
    assert (answer.status_code, answer.json()["limit"]) == (400, "maxCallsInRequest")


async def test_more_than_500_ids_are_too_many_for_a_get(jmap: Jmap) -> None:
    ids = ["zzzzz"] * 501
    assert (await jmap.call("x:Domain/get", ids=ids))[1]["type"] == "requestTooLarge"


async def test_more_than_500_objects_are_too_many_for_a_set(jmap: Jmap) -> None:
    destroy = [f"zz{letter}{other}{third}" for letter in "abcdefgh" for other in "abcdefgh" for third in "abcdefgh"]
    name, error = await jmap.call("x:Domain/set", destroy=destroy[:501])
    assert (name, error["type"]) == ("error", "requestTooLarge")


@pytest.mark.parametrize("method", ["x:Domain/changes", "x:Account/queryChanges", "x:Nothing/get"])
async def test_an_unknown_method_is_an_error_of_that_call_alone(jmap: Jmap, method: str) -> None:
    answer = await jmap.request((method, {}), ("x:Domain/query", {"filter": {"name": "nobody.test"}}))
    (bad, error, _), (good, _, _) = answer.json()["methodResponses"]
    assert (bad, error["type"], good) == ("error", "unknownMethod", "x:Domain/query")


async def test_an_unknown_argument_is_ignored_and_an_unknown_capability_refuses_the_request(jmap: Jmap) -> None:
    body = {"using": [], "methodCalls": [["x:Domain/query", {"limit": 1, "colour": "red"}, "c"]]}
    assert (await jmap.http.post("/jmap", json=body)).json()["methodResponses"][0][0] == "x:Domain/query"
    answer = await jmap.http.post("/jmap", json={**body, "using": ["urn:dezky:nothing"]})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ietf:params:jmap:error:notRequest")


async def test_there_is_no_state_to_lock_by(jmap: Jmap) -> None:
    answer = await jmap.ok("x:Domain/get", ids=[])
    assert "state" not in answer
    domains = await jmap.ok("x:Domain/set", ifInState="n", destroy=["zzzzz"])
    assert domains["notDestroyed"]["zzzzz"]["type"] == "notFound", "a state of another time refuses nothing"


async def test_a_made_object_can_be_named_later_in_the_same_request_also_as_a_key(jmap: Jmap, slug: str) -> None:
    answer = await jmap.request(
        ("x:Role/set", {"create": {"r": {"description": f"{slug} first"}}}),
        ("x:Role/set", {"create": {"s": {"description": f"{slug} second", "roleIds": {"#r": True}}}}),
    )
    first, second = (part[1]["created"] for part in answer.json()["methodResponses"])
    try:
        assert (await jmap.get("Role", second["s"]["id"]))["roleIds"] == {first["r"]["id"]: True}
    finally:
        await jmap.raze("Role", first["r"]["id"])


async def test_a_filter_that_is_no_index_is_refused(jmap: Jmap) -> None:
    assert (await jmap.call("x:Account/query", filter={"roles": "b"}))[1]["type"] == "unsupportedFilter"
    assert (await jmap.call("x:MailingList/query", filter={"domainId": "b"}))[1]["type"] == "unsupportedFilter"


async def test_an_or_of_filters_is_refused(jmap: Jmap) -> None:
    either = {"operator": "OR", "conditions": [{"name": "a.test"}, {"name": "b.test"}]}
    assert (await jmap.call("x:Domain/query", filter=either))[1]["type"] == "unsupportedFilter"


async def test_pages_by_ascending_id_are_whole_and_pages_in_the_default_order_lose_rows(jmap: Jmap, slug: str) -> None:
    domain = (await jmap.make("Domain", name=f"{slug}.test", dkimManagement={"@type": "Manual"}))["id"]
    body = {
        f"u{number}": {"@type": "User", "name": f"u{number}", "domainId": domain, "roles": {"@type": "User"}}
        for number in range(12)
    }
    made = {one["id"] for one in (await jmap.ok("x:Account/set", create=body))["created"].values()}

    async def pages(**order: object) -> list[str]:
        found: list[str] = []
        for position in (0, 5, 10):
            page = await jmap.ok("x:Account/query", filter={"domainId": domain}, limit=5, position=position, **order)
            found += page["ids"]
        return found

    whole = await pages(sort=ASCENDING)
    assert (len(whole), set(whole)) == (12, made)
    assert set(await pages()) < made
    assert set(await pages(calculateTotal=True)) == made


async def test_a_limit_of_nothing_gives_one_row(jmap: Jmap) -> None:
    assert len((await jmap.ok("x:Role/query", limit=0, sort=ASCENDING))["ids"]) == 1


async def test_what_is_not_there_is_listed_as_not_found(jmap: Jmap) -> None:
    answer = await jmap.ok("x:Domain/get", ids=["zzzzz"])
    assert (answer["list"], answer["notFound"]) == ([], ["zzzzz"])


async def test_an_argument_of_the_wrong_kind_is_an_error_of_that_call(jmap: Jmap) -> None:
    name, error = await jmap.call("x:Domain/get", ids="not a list")
    assert (name, error["type"]) == ("error", "invalidArguments")
