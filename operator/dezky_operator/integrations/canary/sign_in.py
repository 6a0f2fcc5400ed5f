"""Signing in as a person does, without a browser: log-in flow, code, tokens, refresh (facts/authentik.md 8, 11.6 C)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import msgspec

from dezky_operator.integrations.canary.answers import code_in
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import OAuthClient, Pass
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.steps import System

EXECUTOR = "/api/v3/flows/executor/default-authentication-flow/"
AUTHORIZE = "/application/o/authorize/"
TOKEN = "/application/o/token/"  # noqa: S105 - a path
SCOPE = "openid email profile offline_access"
STAGES = 8
"""Stages after which a log-in is given up: the default flow has three."""
SIGNED_IN = "xak-flow-redirect"
WORD = re.compile(r"[a-z_-]{1,64}")


class _Challenge(msgspec.Struct, frozen=True):
    component: str = ""
    response_errors: dict[str, Any] | None = None
    password_fields: bool = False


class _Issued(msgspec.Struct, frozen=True):
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float = 0.0


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


class Visit:
    """One sign-in session. ``cookies`` are the session: they are the canary's own, never those of another."""

    def __init__(self, door: Door, cookies: dict[str, str], *, clock: Callable[[], float]) -> None:
        self._door, self._cookies, self._clock = door, cookies, clock

    async def sign_in(self, username: str, password: str) -> None:
        """Walk through the log-in flow. Raises IntegrationError; a wrong password is sent once, never again."""
        challenge = await self._flow("GET")
        for _ in range(STAGES):
            if challenge.component == SIGNED_IN:
                return
            if challenge.response_errors or challenge.component == "ak-stage-access-denied":
                raise Rejected(System.AUTHENTIK, "Authentik does not let the canary sign in.")
            challenge = await self._flow("POST", _reply(challenge, username, password))
        raise Rejected(System.AUTHENTIK, f"Authentik's log-in flow has more than {STAGES} stages for the canary.")

    async def authorize(self, client: OAuthClient) -> httpx2.Response:
        """Ask for a code in this session; the answer as it came."""
        query = {
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "response_type": "code",
            "scope": SCOPE,
        }
        return await self._ask("GET", AUTHORIZE, op="authorize", params=query)

    async def tokens(self, client: OAuthClient) -> Pass:
        """Code, tokens, and one refresh: the refresh token that is kept is one that was just seen to work."""
        answer = await self.authorize(client)
        code = code_in(answer.headers.get("location", ""), client.redirect_uri)
        if code is None:
            raise Rejected(System.AUTHENTIK, f"Authentik gives the canary no code for {client.client_id}.")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": client.redirect_uri}
        since = self._clock()
        issued = _issued(await self.token(client, form), client)
        kept = Pass(client=client, access=issued[0], refresh=issued[1], since=since, life=issued[2])
        status, error = await self.refresh(kept)
        if status != 200:
            raise Rejected(
                System.AUTHENTIK, f"Authentik refuses the canary's refresh for {client.client_id} ({error or status})."
            )
        return kept

    async def refresh(self, kept: Pass) -> tuple[int, str]:
        """Use the refresh token: status and error code. A success replaces the tokens in ``kept``: each works once."""
        since = self._clock()
        # Until the answer is here, and understood, nobody knows whether the token is spent.
        kept.doubtful = True
        answer = await self.token(kept.client, {"grant_type": "refresh_token", "refresh_token": kept.refresh})
        if answer.status_code == 200:
            # A provider with a threshold gives no new refresh token while the old one is young.
            kept.access, kept.refresh, kept.life = _issued(answer, kept.client, instead=kept.refresh)
            kept.since = since
        kept.doubtful = answer.status_code >= 500
        return answer.status_code, _error(answer)

    async def token(self, client: OAuthClient, form: Mapping[str, str]) -> httpx2.Response:
        """Ask the token endpoint as the application's server side."""
        own = {"client_id": client.client_id, "client_secret": client.secret}
        return await self._door.ask("POST", TOKEN, op="token", data={**own, **form})

    async def _flow(self, method: str, reply: Mapping[str, Any] | None = None) -> _Challenge:
        parts = {} if reply is None else {"json": reply}
        answer = await self._ask(method, EXECUTOR, op="flow", params={"query": ""}, **parts)
        if answer.is_redirect:
            # The executor sends to itself for the next stage; wherever it points, only its own address is asked.
            answer = await self._ask("GET", EXECUTOR, op="flow", params={"query": ""})
        return _challenge(answer)

    async def _ask(self, method: str, path: str, *, op: str, **parts: Any) -> httpx2.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        answer = await self._door.ask(method, path, op=op, headers={"Cookie": cookies} if cookies else {}, **parts)
        for header in answer.headers.get_list("set-cookie"):
            self._cookies.update({name: morsel.value for name, morsel in SimpleCookie(header).items()})
        return answer


def _reply(challenge: _Challenge, username: str, password: str) -> dict[str, Any]:
    """What a stage of the default flow is answered."""
    component = challenge.component
    match component:
        case "ak-stage-identification":
            secret = {"password": password} if challenge.password_fields else {}
            return {"component": component, "uid_field": username, **secret}
        case "ak-stage-password":
            return {"component": component, "password": password}
        case "ak-stage-user-login":
            return {"component": component, "remember_me": False}
    named = component if WORD.fullmatch(component) else "something unknown"
    raise Rejected(
        System.AUTHENTIK,
        f"Authentik's log-in flow asks the canary for {named}, which only a person can answer. "
        "Exclude service accounts from that stage of default-authentication-flow.",
    )


def _challenge(answer: httpx2.Response) -> _Challenge:
    try:
        return msgspec.json.decode(answer.content, type=_Challenge)
    except msgspec.MsgspecError as error:
        raise Rejected(
            System.AUTHENTIK, f"Authentik's log-in flow gives an answer of unknown form (HTTP {answer.status_code})."
        ) from error


def _issued(answer: httpx2.Response, client: OAuthClient, *, instead: str = "") -> tuple[str, str, float]:
    """Access token, refresh token (``instead`` when there is no new one), and the seconds the first one lives."""
    try:
        issued = msgspec.json.decode(answer.content, type=_Issued)
    except msgspec.MsgspecError:
        issued = _Issued()
    refresh = issued.refresh_token or instead
    if answer.status_code != 200 or not issued.access_token or not refresh:
        raise Rejected(
            System.AUTHENTIK,
            f"Authentik gives the canary no refresh token for {client.client_id} ({_error(answer) or 'none in it'}).",
        )
    return issued.access_token, refresh, issued.expires_in


def _error(answer: httpx2.Response) -> str:
    """The OAuth2 error code, where it is a word that may be shown."""
    try:
        code = msgspec.json.decode(answer.content, type=_Error).error
    except msgspec.MsgspecError:
        return ""
    return code if WORD.fullmatch(code) else ""
