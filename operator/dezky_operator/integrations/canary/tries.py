"""The doors, one by one: each try gives an answer and never raises. A control and its attempt try exactly the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx2
import msgspec

from dezky_operator.integrations.canary.answers import (
    Answer,
    Outcome,
    no_answer,
    of_authorize,
    of_link,
    of_mail,
    of_refresh,
    of_space,
    too_old,
)
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import App, Keys, Link, MailKey, Pass
from dezky_operator.integrations.canary.sign_in import Visit
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.steps import System

REFRESHES = {
    App.OWN: "refresh of the own application",
    App.FILES: "refresh of files",
    App.MAIL: "refresh of mail",
}
SIGN_IN = "new sign-in"
SESSION = "JMAP session"
SPACE = "main space"
LINK = "public link"
TRIED = {
    System.AUTHENTIK: (*REFRESHES.values(), SIGN_IN),
    System.STALWART: (SESSION,),
    System.OCIS: (SPACE, LINK),
}
"""What is tried in each system, by the words of a receipt."""


class _Session(msgspec.Struct, frozen=True, rename="camel"):
    primary_accounts: dict[str, str] = {}


class Tries:
    """Tries doors with what a rehearsal holds. ``doors`` by system; ``clock`` in seconds."""

    def __init__(self, doors: Mapping[System, Door], *, clock: Callable[[], float]) -> None:
        self._doors, self._clock = doors, clock

    def visit(self, cookies: dict[str, str]) -> Visit:
        """A sign-in session with these cookies."""
        return Visit(self._doors[System.AUTHENTIK], cookies, clock=self._clock)

    async def refresh(self, app: App, kept: Pass) -> Answer:
        """The refresh token of one application."""
        what = REFRESHES[app]
        if kept.doubtful:
            return Answer(what, "an earlier answer was lost", Outcome.UNKNOWN)
        if not kept.renewable(self._clock()):
            return too_old(what, kept.client.refresh_life)
        try:
            status, error = await self.visit({}).refresh(kept)
        except IntegrationError:
            return no_answer(what)
        return of_refresh(what, status, error)

    async def sign_in(self, keys: Keys) -> Answer:
        """A new code for the own application, with the session that was open before the lock."""
        client = keys.passes[App.OWN].client
        try:
            # On a copy: who is signed out is given another cookie, and that one never was signed in.
            answer = await self.visit(dict(keys.cookies)).authorize(client)
        except IntegrationError:
            return no_answer(SIGN_IN)
        location = answer.headers.get("location", "")
        return of_authorize(SIGN_IN, answer.status_code, location, answer.text, client.redirect_uri)

    async def mail(self, key: MailKey) -> Answer:
        """The JMAP session, which is not counted towards any limit (facts/stalwart.md 11.11)."""
        headers = {"Authorization": key.header}
        answer = await self._ask(System.STALWART, "GET", "/jmap/session", op="session", headers=headers)
        if answer is None:
            return no_answer(SESSION)
        if key.token is not None and key.token.left(self._clock()) <= 0:
            return too_old(SESSION, key.token.life)
        if answer.status_code == 200 and not _accounts(answer):
            return Answer(SESSION, "200 without an account", Outcome.UNKNOWN)
        return of_mail(SESSION, answer.status_code, by_token=key.token is not None)

    async def space(self, path: str, kept: Pass) -> Answer:
        """The tenant's main space, as a member."""
        headers = {"Authorization": f"Bearer {kept.access}", "Depth": "0"}
        answer = await self._ask(System.OCIS, "PROPFIND", path, op="space", headers=headers)
        if answer is None:
            return no_answer(SPACE)
        if kept.left(self._clock()) <= 0:
            return too_old(SPACE, kept.life)
        return of_space(SPACE, answer.status_code)

    async def link(self, link: Link) -> Answer:
        """The public link, as anybody who has it."""
        headers = {"Authorization": link.header, "Depth": "0"}
        answer = await self._ask(System.OCIS, "PROPFIND", link.path, op="link", headers=headers)
        if answer is None:
            return no_answer(LINK)
        if self._clock() >= link.until:
            return Answer(LINK, "past its end", Outcome.UNKNOWN)
        return of_link(LINK, answer.status_code)

    async def _ask(
        self, system: System, method: str, path: str, *, op: str, headers: Mapping[str, str]
    ) -> httpx2.Response | None:
        try:
            return await self._doors[system].ask(method, path, op=op, headers=headers)
        except IntegrationError:
            return None


def _accounts(answer: httpx2.Response) -> dict[str, str]:
    """The session answers 200 to nobody as well; only the accounts tell (facts/stalwart.md 11.1)."""
    try:
        return msgspec.json.decode(answer.content, type=_Session).primary_accounts
    except msgspec.MsgspecError:
        return {}
