"""The operator's token for OCIS: one that lives, fetched ahead, and no storm when Authentik is silent or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx2
import pytest

from dezky_operator.integrations.errors import AuthFailed, IdentityDown
from dezky_operator.integrations.ocis.sign_in import ClientCredentialsAuthorizer, ClientSecret

ISSUER = "https://auth.dezky.test/application/o/dezky-ocis"
SECRET = "a-client-secret"
Answer = Callable[[], httpx2.Response]


@dataclass
class Issuer:
    """Authentik as the transport sees it. ``now`` is the clock of the test."""

    secret: str = SECRET
    life: float = 7200.0
    now: float = 1000.0
    given: ClientSecret = field(
        default_factory=lambda: ClientSecret(SECRET, "1", "Secret dezky-system/ocis, key secret")
    )
    trouble: Answer | None = None
    denied: bool = False
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        self.authorizer = ClientCredentialsAuthorizer(
            http=http, issuer=ISSUER, client_id="dezky-ocis", secret=self._given, clock=lambda: self.now
        )

    @property
    def tokens(self) -> int:
        return len([path for path in self.paths if path.endswith("/token/")])

    async def header(self) -> str:
        return (await self.authorizer.credential()).header

    async def _given(self) -> ClientSecret:
        return self.given

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path)
        if self.trouble is not None:
            return self.trouble()
        if request.method == "GET":
            return httpx2.Response(200, json={"token_endpoint": "https://auth.dezky.test/application/o/token/"})
        if self.denied:
            return httpx2.Response(400, json={"error": "invalid_grant"})
        form = parse_qs(request.content.decode())
        if form["client_secret"] != [self.secret] or form["grant_type"] != ["client_credentials"]:
            return httpx2.Response(400, json={"error": "invalid_client"})
        return httpx2.Response(200, json={"access_token": f"token-{self.tokens}", "expires_in": self.life})


def silent() -> httpx2.Response:
    raise httpx2.ConnectError("refused")


def starting() -> httpx2.Response:
    return httpx2.Response(503, text="authentik starting")


def a_page() -> httpx2.Response:
    return httpx2.Response(200, text="<!DOCTYPE html>")


TROUBLES = pytest.mark.parametrize("trouble", [silent, starting, a_page])


async def test_a_token_is_used_until_an_hour_before_its_end() -> None:
    issuer = Issuer(life=4 * 3600)
    assert await issuer.header() == "Bearer token-1"
    issuer.now += 3 * 3600 - 1
    assert await issuer.header() == "Bearer token-1"
    issuer.now += 2
    assert await issuer.header() == "Bearer token-2"


async def test_a_token_that_never_lives_an_hour_is_renewed_at_half_of_its_life() -> None:
    issuer = Issuer(life=300)
    await issuer.header()
    issuer.now += 149
    assert await issuer.header() == "Bearer token-1"
    issuer.now += 2
    assert await issuer.header() == "Bearer token-2"


async def test_many_requests_at_once_fetch_one_token() -> None:
    issuer = Issuer()
    assert set(await asyncio.gather(*(issuer.header() for _ in range(20)))) == {"Bearer token-1"}
    assert issuer.tokens == 1


async def test_another_token_is_another_version() -> None:
    """So that a refused token is used again never, and its successor is."""
    issuer = Issuer(life=300)
    first = await issuer.authorizer.credential()
    issuer.now += 200
    second = await issuer.authorizer.credential()
    assert first.version != second.version
    assert first.source == second.source == "Secret dezky-system/ocis, key secret"


@TROUBLES
async def test_files_go_on_while_the_old_token_lives(trouble: Answer) -> None:
    issuer = Issuer(life=7200)
    await issuer.header()
    issuer.now, issuer.trouble = issuer.now + 7000, trouble
    assert await issuer.header() == "Bearer token-1"


@TROUBLES
async def test_a_dead_token_and_no_authentik_name_the_sign_in(trouble: Answer) -> None:
    issuer = Issuer(life=7200)
    await issuer.header()
    issuer.now, issuer.trouble = issuer.now + 7201, trouble
    with pytest.raises(IdentityDown, match=r"auth\.dezky\.test"):
        await issuer.header()


@TROUBLES
async def test_a_silent_authentik_is_not_asked_by_every_request(trouble: Answer) -> None:
    issuer = Issuer(trouble=trouble)
    for _ in range(10):
        with pytest.raises(IdentityDown):
            await issuer.header()
    assert len(issuer.paths) == 1


@TROUBLES
async def test_an_authentik_that_is_back_is_found_by_itself(trouble: Answer) -> None:
    issuer = Issuer(trouble=trouble)
    with pytest.raises(IdentityDown):
        await issuer.header()
    issuer.trouble, issuer.now = None, issuer.now + 6
    assert await issuer.header() == "Bearer token-1"


async def test_a_wrong_secret_is_sent_once_and_never_again() -> None:
    issuer = Issuer(secret="another")
    for _ in range(10):
        with pytest.raises(AuthFailed, match="Secret dezky-system/ocis, key secret"):
            await issuer.header()
        issuer.now += 10_000
    assert issuer.tokens == 1


async def test_another_secret_is_tried_at_once() -> None:
    issuer = Issuer(secret="another")
    with pytest.raises(AuthFailed):
        await issuer.header()
    issuer.given = ClientSecret("another", "2", issuer.given.source)
    assert await issuer.header() == "Bearer token-2"


async def test_a_changed_secret_is_used_although_the_old_token_lives() -> None:
    """A wrong one is noticed when it is put there, not an hour later."""
    issuer = Issuer()
    await issuer.header()
    issuer.given = ClientSecret("typo", "2", issuer.given.source)
    with pytest.raises(AuthFailed):
        await issuer.header()


async def test_what_authentik_can_cure_is_tried_again_after_a_while() -> None:
    """A missing grant type or binding answers invalid_grant, and no other Secret would help."""
    issuer = Issuer(denied=True)
    for _ in range(5):
        with pytest.raises(AuthFailed, match="bootstrap"):
            await issuer.header()
    assert len(issuer.paths) == 2
    issuer.denied, issuer.now = False, issuer.now + 61
    assert (await issuer.header()).startswith("Bearer token-")


async def test_no_message_and_no_repr_tells_the_secret() -> None:
    issuer = Issuer(secret="another")
    with pytest.raises(AuthFailed) as refused:
        await issuer.header()
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(issuer.given)
    assert "token-1" not in repr(await Issuer().authorizer.credential())
