"""Trying doors: what is remembered, and what an answer is not taken for."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2
import pytest

from dezky_operator.integrations.canary.answers import Answer, Outcome
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import App, Keys, Link, MailKey, OAuthClient, Pass
from dezky_operator.integrations.canary.tries import LINK, SESSION, SIGN_IN, Tries
from dezky_operator.integrations.steps import System
from dezky_operator.telemetry.metrics import Metrics

HOME = "https://acme.test/cb"
LOG_IN = "/flows/-/default/authentication/?next=x"
SHARED = {"authentik_session": "mine"}


def tries(answer: Callable[[httpx2.Request], httpx2.Response]) -> Tries:
    doors = {
        system: Door(
            system=system,
            client=httpx2.AsyncClient(base_url="https://there.test", transport=httpx2.MockTransport(answer)),
            metrics=Metrics(),
        )
        for system in (System.AUTHENTIK, System.STALWART, System.OCIS)
    }
    return Tries(doors, clock=time.monotonic)


def keys() -> Keys:
    client = OAuthClient(client_id="acme", secret="s", redirect_uri=HOME, refresh_life=1e6)
    kept = Pass(client=client, access="a", refresh="r", since=time.monotonic(), life=300.0)
    return Keys(cookies=dict(SHARED), passes={App.OWN: kept})


async def test_a_new_sign_in_comes_with_the_session_of_before_each_time() -> None:
    """Who is signed out is given another cookie. With that one nobody is signed in, lock or not."""
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers["cookie"])
        return httpx2.Response(302, headers={"Location": LOG_IN, "Set-Cookie": "authentik_session=nobody"})

    found, held = tries(answer), keys()
    assert [await found.sign_in(held) for _ in range(2)] == [Answer(SIGN_IN, "signed out", Outcome.REFUSED)] * 2
    assert sent == ["authentik_session=mine"] * 2
    assert held.cookies == SHARED


async def test_a_link_past_its_end_is_not_taken_for_a_closed_one() -> None:
    found = tries(lambda _: httpx2.Response(404))
    link = Link(path="/dav/public-files/x", header="Basic x", until=time.monotonic() - 1)
    assert await found.link(link) == Answer(LINK, "past its end", Outcome.UNKNOWN)


@pytest.mark.parametrize("body", [b"{}", b'{"primaryAccounts": {}}', b"<html>", b"[]"])
async def test_the_session_of_nobody_is_not_taken_for_the_canarys(body: bytes) -> None:
    """Stalwart answers 200 to who comes without a credential, and something in between may have dropped it."""
    found = tries(lambda _: httpx2.Response(200, content=body))
    told = await found.mail(MailKey(header="Basic x", token=None))
    assert told == Answer(SESSION, "200 without an account", Outcome.UNKNOWN)
