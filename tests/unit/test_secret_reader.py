"""Credentials from Secrets: what can not be read names Secret and key, and stops only its own system."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import pytest

from dezky_operator import config
from dezky_operator.config import SecretRef, Settings, SettingsError
from dezky_operator.integrations.errors import AuthFailed, Unreachable
from dezky_operator.integrations.steps import System
from dezky_operator.kube.credentials import (
    CredentialWatch,
    SecretAuthorizer,
    SecretReader,
    UnusableSecret,
    basic,
    bearer,
    check_secrets,
)
from dezky_operator.kube.lease import Fence
from tests.kubernetes import ApiServer
from tests.sandbox.workspace import NAMESPACE, Workspace
from tests.virtual_time import virtually

Clock = Callable[[], float]
REF = SecretRef(name="stalwart")
FRESH = 10.0


def secret(server: ApiServer, value: bytes | str | None, *, name: str = "stalwart") -> None:
    """Put a Secret; text is put as it is, where the API server has base64."""
    text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    data = {} if text is None else {"token": text}
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}"
    server.put(path, {"metadata": {"name": name}, "data": data})


def reader(server: ApiServer, clock: Clock = lambda: 0.0) -> SecretReader:
    return SecretReader(server.client(Fence()), NAMESPACE, clock=clock, freshness=FRESH)


def token(found: SecretReader) -> SecretAuthorizer:
    return SecretAuthorizer(System.STALWART, found, REF, bearer)


def settings() -> Settings:
    workspace = Workspace()
    for standin in workspace.systems:
        standin.url = "http://system.test"
    workspace.ocis.issuer = "http://system.test/"
    return config.parse(workspace.settings(dns={"servers": ["127.0.0.1:53"]}), where="the test")


# -- what can not be used --------------------------------------------------------------


@pytest.mark.parametrize("value", [b"\xff\xfe", "no base64!", b"", b" \n"])
async def test_a_secret_that_is_no_text_names_secret_and_key(value: bytes | str) -> None:
    server = ApiServer()
    secret(server, value)
    with pytest.raises(UnusableSecret, match="Secret dezky-system/stalwart, key token is"):
        await reader(server).read(REF)
    with pytest.raises(AuthFailed, match=r"Secret dezky-system/stalwart, key token is .* nothing is sent to stalwart"):
        await token(reader(server)).credential()


@pytest.mark.parametrize("value", ["schlüssel", "two\nlines", "tab\tbed"])
async def test_a_token_that_no_header_can_hold_names_secret_and_key(value: str) -> None:
    server = ApiServer()
    secret(server, value.encode())
    with pytest.raises(AuthFailed, match="Secret dezky-system/stalwart, key token holds characters that no token has"):
        await token(reader(server)).credential()


async def test_a_password_may_have_any_letter() -> None:
    server = ApiServer()
    secret(server, "admin:schlüssel".encode())
    found = await SecretAuthorizer(System.STALWART, reader(server), REF, basic).credential()
    assert base64.b64decode(found.header.removeprefix("Basic ")).decode() == "admin:schlüssel"


async def test_a_missing_key_is_told_apart_from_a_missing_secret_by_nothing() -> None:
    server = ApiServer()
    with pytest.raises(AuthFailed, match="key token does not exist"):
        await token(reader(server)).credential()
    secret(server, None)
    with pytest.raises(AuthFailed, match="key token does not exist"):
        await token(reader(server)).credential()


async def test_the_operator_does_not_start_with_a_secret_that_is_no_text() -> None:
    server = ApiServer()
    for name in ("authentik", "stalwart", "ocis"):
        secret(server, b"good", name=name)
    await check_secrets(settings(), reader(server))
    secret(server, b"\xff", name="ocis")
    with pytest.raises(SettingsError, match=r"ocis\.secretRef: Secret dezky-system/ocis, key token is not UTF-8"):
        await check_secrets(settings(), reader(server))


# -- an API server that does not give it -----------------------------------------------


@pytest.mark.parametrize(("status", "error"), [(403, AuthFailed), (401, AuthFailed), (500, Unreachable)])
async def test_a_secret_that_is_not_given_stops_only_its_system(status: int, error: type[Exception]) -> None:
    server = ApiServer()
    server.refusal = status
    with pytest.raises(error, match=r"The API server .* Secret dezky-system/stalwart, key token"):
        await token(reader(server)).credential()


def test_a_silent_api_server_keeps_the_last_value() -> None:
    async def work(clock: Clock) -> None:
        server, silent = ApiServer(), False
        server.silent = lambda: silent
        secret(server, b"good")
        found = reader(server, clock)
        assert (await token(found).credential()).header == "Bearer good"
        silent = True
        await asyncio.sleep(FRESH)
        for _ in range(3):
            found.expire()
            assert (await token(found).credential()).header == "Bearer good"
        silent = False
        secret(server, b"better")
        found.expire()
        assert (await token(found).credential()).header == "Bearer better"

    virtually(work)


def test_a_silent_api_server_is_waited_for_once_and_not_by_every_request() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        secret(server, b"good")
        found = reader(server, clock)
        await found.read(REF)
        server.silent = lambda: True
        await asyncio.sleep(FRESH)
        begun = clock()
        await asyncio.gather(*(found.read(REF) for _ in range(20)))
        assert clock() - begun == pytest.approx(10.0)  # what the API server's silence takes

    virtually(work)


def test_an_api_server_that_never_answered_is_named_not_the_system() -> None:
    async def work(clock: Clock) -> None:
        server = ApiServer()
        server.silent = lambda: True
        with pytest.raises(Unreachable, match="The API server did not give Secret dezky-system/stalwart, key token"):
            await token(reader(server, clock)).credential()

    virtually(work)


# -- noticing a change -----------------------------------------------------------------


def test_a_change_is_noticed_once_and_neither_silence_nor_nonsense_ends_the_looking() -> None:
    async def work(clock: Clock) -> None:
        server, silent = ApiServer(), True
        server.silent = lambda: silent
        for name in ("authentik", "stalwart", "ocis"):
            secret(server, b"good", name=name)
        changes: list[float] = []
        watch = CredentialWatch(
            reader(server, clock), settings(), interval=FRESH, changed=lambda: changes.append(clock())
        )
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(40.0)
        silent = False
        await asyncio.sleep(40.0)
        assert changes == []  # known now, but not changed
        secret(server, b"\xff")
        await asyncio.sleep(15.0)
        assert len(changes) == 1
        silent = True
        await asyncio.sleep(60.0)
        silent = False
        await asyncio.sleep(60.0)
        assert len(changes) == 1
        secret(server, b"good again")
        await asyncio.sleep(15.0)
        assert len(changes) == 2
        assert not running.done()

    virtually(work)
