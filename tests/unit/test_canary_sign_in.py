"""Signing in without a browser, against answers that the stand-in does not give."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import OAuthClient, Pass
from dezky_operator.integrations.canary.sign_in import EXECUTOR, Visit
from dezky_operator.integrations.errors import RateLimited, Rejected, Unreachable
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics

CLIENT = OAuthClient(client_id="acme", secret="secret", redirect_uri="https://acme.test/cb", refresh_life=1e6)
Answer = Callable[[httpx2.Request], httpx2.Response]


def visit(answer: Answer, cookies: dict[str, str] | None = None) -> Visit:
    client = httpx2.AsyncClient(base_url="https://auth.test", transport=httpx2.MockTransport(answer))
    door = Door(system=System.AUTHENTIK, client=client, metrics=Metrics())
    return Visit(door, {} if cookies is None else cookies, clock=time.monotonic)


class Flow:
    """A log-in flow that answers with these challenges, one after the other; ``asked`` are the replies it got."""

    def __init__(self, *challenges: dict[str, Any], redirects: bool = False) -> None:
        self.left, self.redirects = list(challenges), redirects
        self.asked: list[Any] = []
        self.seen: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(f"{request.method} {request.url.path}")
        if request.method == "POST":
            self.asked.append(json.loads(request.content))
            if self.redirects:
                return httpx2.Response(302, headers={"Location": "https://evil.test/"})
        return httpx2.Response(200, json=self.left.pop(0) if len(self.left) > 1 else self.left[0])


NAME = {"component": "ak-stage-identification"}
PASSWORD = {"component": "ak-stage-password"}
DONE = {"component": "xak-flow-redirect", "to": "/"}


async def test_name_and_password_are_given_stage_by_stage() -> None:
    flow = Flow(NAME, PASSWORD, DONE)
    await visit(flow).sign_in("probe", "pass")
    assert [sorted(reply) for reply in flow.asked] == [["component", "uid_field"], ["component", "password"]]


async def test_a_password_is_given_with_the_name_where_both_are_asked_for() -> None:
    flow = Flow({**NAME, "password_fields": True}, DONE)
    await visit(flow).sign_in("probe", "pass")
    assert flow.asked == [{"component": "ak-stage-identification", "uid_field": "probe", "password": "pass"}]


async def test_a_redirect_of_the_executor_is_followed_to_the_executor_only() -> None:
    """Authentik sends to the next stage by a redirect to itself; a credential never goes where an answer points."""
    flow = Flow(NAME, PASSWORD, {"component": "ak-stage-user-login"}, DONE, redirects=True)
    await visit(flow).sign_in("probe", "pass")
    assert set(flow.seen) == {f"GET {EXECUTOR}", f"POST {EXECUTOR}"}
    assert len(flow.asked) == 3


async def test_a_wrong_password_is_sent_once() -> None:
    """Each wrong one is several events, and one step nearer to a ban."""
    flow = Flow(NAME, PASSWORD, {**PASSWORD, "response_errors": {"password": [{"code": "invalid"}]}})
    with pytest.raises(Rejected, match="does not let the canary sign in"):
        await visit(flow).sign_in("probe", "pass")
    assert sum("password" in reply for reply in flow.asked) == 1


async def test_a_stage_for_people_is_named_with_what_to_do() -> None:
    flow = Flow(NAME, {"component": "ak-stage-authenticator-validate"})
    with pytest.raises(Rejected, match="asks the canary for ak-stage-authenticator-validate, "):
        await visit(flow).sign_in("probe", "pass")


async def test_an_endless_flow_is_given_up() -> None:
    with pytest.raises(Rejected, match="more than 8 stages"):
        await visit(Flow(NAME)).sign_in("probe", "pass")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"component": 3}'])
async def test_an_answer_that_is_no_challenge_is_told_without_its_text(body: bytes) -> None:
    with pytest.raises(Rejected, match="answer of unknown form") as told:
        await visit(lambda _: httpx2.Response(200, content=body)).sign_in("probe", "pass")
    assert "html" not in str(told.value)


async def test_cookies_are_kept_by_the_visit_and_by_nobody_else() -> None:
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("cookie", ""))
        return httpx2.Response(200, json=DONE, headers={"Set-Cookie": "authentik_session=mine; Path=/; HttpOnly"})

    client = httpx2.AsyncClient(base_url="https://auth.test", transport=httpx2.MockTransport(answer))
    door = Door(system=System.AUTHENTIK, client=client, metrics=Metrics())
    first, second = (Visit(door, {}, clock=time.monotonic) for _ in range(2))
    await first.sign_in("probe", "pass")
    await first.sign_in("probe", "pass")
    await second.sign_in("other", "pass")
    assert sent == ["", "authentik_session=mine", ""]


def kept() -> Pass:
    return Pass(client=CLIENT, access="old", refresh="first", since=0.0, life=300.0)


async def test_a_refresh_replaces_both_tokens() -> None:
    tokens = {"access_token": "new", "refresh_token": "second", "expires_in": 60}
    found = kept()
    assert await visit(lambda _: httpx2.Response(200, json=tokens)).refresh(found) == (200, "")
    assert (found.access, found.refresh, found.life, found.doubtful) == ("new", "second", 60.0, False)


async def test_a_refresh_token_that_is_not_rotated_is_kept() -> None:
    """A provider may renew it only shortly before its end."""
    found = kept()
    await visit(lambda _: httpx2.Response(200, json={"access_token": "new", "expires_in": 60})).refresh(found)
    assert (found.access, found.refresh) == ("new", "first")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx2.Response(502), Unreachable),
        (httpx2.Response(429), RateLimited),
        (httpx2.Response(200, content=b"{"), Rejected),
    ],
)
async def test_after_an_answer_that_tells_nothing_the_token_is_doubtful(
    answer: httpx2.Response, error: type[Exception]
) -> None:
    found = kept()
    with pytest.raises(error):
        await visit(lambda _: answer).refresh(found)
    assert found.doubtful


async def test_a_refusal_leaves_no_doubt_and_its_code_is_a_word() -> None:
    found = kept()
    refused = visit(lambda _: httpx2.Response(400, json={"error": "invalid_grant"}))
    assert await refused.refresh(found) == (400, "invalid_grant")
    assert not found.doubtful
    odd = visit(lambda _: httpx2.Response(400, json={"error": "See https://auth.test/?token=abc"}))
    assert await odd.refresh(found) == (400, "")


async def test_a_silent_door_is_unreachable_and_counted() -> None:
    def silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no", request=request)

    with pytest.raises(Unreachable, match="authentik did not answer"):
        await visit(silent).sign_in("probe", "pass")
