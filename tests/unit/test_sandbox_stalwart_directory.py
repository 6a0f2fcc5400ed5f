"""Stalwart's stand-in with a directory outside: access tokens of an issuer, checked for real."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.sandbox.stalwart.caller import Caller, Tenant, basic, made_tenant, resume, suspend
from tests.sandbox.stalwart.server import StalwartStandIn

KEY, OTHER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
AUDIENCE = "dezky-mail"


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    """An issuer that publishes one key."""
    public = {**RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "one", "use": "sig", "alg": "RS256"}
    app = web.Application()
    runner = web.AppRunner(app)

    async def configuration(request: web.Request) -> web.Response:
        base = f"http://{request.host}/"
        return web.json_response({"issuer": base, "jwks_uri": f"{base}keys"})

    async def keys(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps({"keys": [public]}), content_type="application/json")

    app.router.add_get("/.well-known/openid-configuration", configuration)
    app.router.add_get("/keys", keys)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def tenant(admin: Caller, issuer: str) -> Tenant:
    """A tenant with one mailbox, and the issuer's directory in force."""
    made = await made_tenant(admin)
    body = {"@type": "Oidc", "issuerUrl": issuer, "requireAudience": AUDIENCE}
    directory = await admin.make("Directory", body)
    await admin.change("Authentication", "singleton", {"directoryId": directory["id"]})
    await admin.reload()
    return made


def token(issuer: str, *, key: rsa.RSAPrivateKey = KEY, **changes: Any) -> str:
    claims = {"iss": issuer, "aud": AUDIENCE, "exp": time.time() + 60, "preferred_username": "Jane@acme.test"}
    return jwt.encode({**claims, **changes}, key, algorithm="RS256", headers={"kid": "one"})


async def status(server: StalwartStandIn, bearer: str) -> int:
    async with Caller(server.url, f"Bearer {bearer}") as jane:
        return (await jane.http.get("/api/account")).status_code


async def test_a_token_of_the_issuer_opens_the_mailbox_of_its_user(
    server: StalwartStandIn, tenant: Tenant, issuer: str
) -> None:
    async with Caller(server.url, f"Bearer {token(issuer)}") as jane:
        session = (await jane.http.get("/jmap/session")).json()
    assert session["primaryAccounts"]["urn:stalwart:jmap"] == tenant.account


async def test_the_same_token_is_403_while_the_role_is_suspended(
    admin: Caller, server: StalwartStandIn, tenant: Tenant, issuer: str
) -> None:
    bearer = token(issuer)
    await suspend(admin, tenant)
    assert await status(server, bearer) == 403
    await resume(admin, tenant)
    assert await status(server, bearer) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"iss": "https://elsewhere.test/"},
        {"exp": 1},
        {"preferred_username": "nobody@acme.test"},
        {"key": OTHER},
    ],
    ids=["audience", "issuer", "expired", "user", "signature"],
)
async def test_any_other_token_is_unknown(
    changes: dict[str, Any], server: StalwartStandIn, tenant: Tenant, issuer: str
) -> None:
    del tenant
    assert await status(server, token(issuer, **changes)) == 401


async def test_app_passwords_still_work_and_passwords_do_not(
    admin: Caller, server: StalwartStandIn, tenant: Tenant
) -> None:
    """A person who is locked out at the directory gets in with an app password: that alone is no suspension."""
    app = await admin.make("AppPassword", {"description": "phone"}, accountId=tenant.account)
    for header, expected in ((tenant.header, 401), (basic(tenant.address, app["secret"]), 200)):
        async with Caller(server.url, header) as jane:
            assert (await jane.http.get("/api/account")).status_code == expected


async def test_the_recovery_administrator_is_not_of_the_directory(admin: Caller, tenant: Tenant) -> None:
    del tenant
    assert (await admin.http.get("/api/account")).status_code == 200
