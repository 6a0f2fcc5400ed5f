"""Signing in at the Authentik stand-in, and what stops it (facts/authentik.md 4, 6, 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import jwt
import pytest

from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.authentik.visitor import REDIRECT, Visitor, make_application

SCOPE = "openid profile email offline_access"


@pytest.fixture
async def server() -> AsyncIterator[AuthentikStandIn]:
    async with AuthentikStandIn() as found:
        yield found


@pytest.fixture
async def admin(server: AuthentikStandIn) -> AsyncIterator[Visitor]:
    async with Visitor(server.url, server.bootstrap_token) as found:
        yield found


@pytest.fixture
async def anna(server: AuthentikStandIn, admin: Visitor) -> AsyncIterator[Visitor]:
    """A member of `acme`, which is under `tenants`; signed in. Her pk is 2."""
    parent = await admin.make("core/groups/", name="tenants")
    attributes = {"dezky.eu/tenant": "acme"}
    group = await admin.make("core/groups/", name="acme", parents=[parent["pk"]], attributes=attributes)
    user = await admin.make("core/users/", username="anna", name="Anna", email="a@acme.test", groups=[group["pk"]])
    await admin.ask("POST", f"core/users/{user['pk']}/set_password/", {"password": "secret"})
    async with Visitor(server.url) as found:
        assert (await found.sign_in("anna", "secret"))["component"] == "xak-flow-redirect"
        yield found


async def _group(admin: Visitor, name: str) -> str:
    return str((await admin.rows("core/groups/", name=name))[0]["pk"])


async def _bound(admin: Visitor, slug: str, group: str) -> tuple[Record, Record]:
    provider, application = await make_application(admin, slug)
    await admin.make("policies/bindings/", target=application["pk"], group=await _group(admin, group), order=0)
    return provider, application


async def _verified(person: Visitor, provider: Record, token: str) -> Record:
    found = await person.http.get(f"/application/o/{provider['name']}/.well-known/openid-configuration")
    keys = jwt.PyJWKSet.from_dict((await person.http.get(found.json()["jwks_uri"])).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    own = {"issuer": found.json()["issuer"], "audience": provider["client_id"]}
    return dict(jwt.decode(token, key, algorithms=["RS256", "ES256"], **own))


# -- tokens ---------------------------------------------------------------------------------


async def test_the_tokens_are_signed_by_the_published_key_and_tell_who_it_is(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await _bound(admin, "acme-app", "acme")
    tokens = await anna.tokens(provider, SCOPE, nonce="n1")
    access = await _verified(anna, provider, tokens["access_token"])
    identity = await _verified(anna, provider, tokens["id_token"])
    user = await admin.get("core/users/2/")
    assert access["iss"] == f"{admin.url}/application/o/acme-app/"
    assert (access["sub"], access["preferred_username"], access["groups"]) == (user["uuid"], "anna", ["acme"])
    assert (access["email_verified"], access["amr"], access["nonce"]) == (False, ["pwd"], "n1")
    assert {"azp", "uid", "scope", "sid", "acr", "jti", "auth_time"} <= access.keys()
    assert "at_hash" in identity
    assert not {"azp", "uid", "scope"} & identity.keys()
    assert "at_hash" not in access
    assert user["last_login"] is not None


async def test_the_subject_is_hashed_unless_the_provider_says_otherwise(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await make_application(admin, "plain", sub_mode="hashed_user_id")
    claims = await _verified(anna, provider, (await anna.tokens(provider))["access_token"])
    assert claims["sub"] == (await admin.get("core/users/2/"))["uid"]


async def test_the_tenant_claim_reads_the_groups_above_too_and_needs_its_scope(admin: Visitor, anna: Visitor) -> None:
    mapping = {"name": "tenant", "scope_name": "dezky", "expression": "return {}"}
    pk = (await admin.make("propertymappings/provider/scope/", **mapping))["pk"]
    provider, _ = await make_application(admin, "with-claim", property_mappings=[pk])
    child = await admin.make("core/groups/", name="deep", parents=[await _group(admin, "acme")])
    await admin.change("core/users/2/", groups=[child["pk"]])
    asked = await _verified(anna, provider, (await anna.tokens(provider, "openid dezky"))["access_token"])
    silent = await _verified(anna, provider, (await anna.tokens(provider, "openid"))["access_token"])
    assert (asked["tenant"], asked["tenants"], "tenant" in silent) == ("acme", ["acme"], False)


async def test_without_a_signing_key_it_is_hs256_and_no_key_is_published(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await make_application(admin, "unsigned", signing_key=None)
    token = (await anna.tokens(provider))["access_token"]
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    assert (await anna.http.get("/application/o/unsigned/jwks/")).json() == {}


async def test_deleting_the_key_pair_falls_back_to_hs256_silently(admin: Visitor, anna: Visitor) -> None:
    pair = {"common_name": "own", "validity_days": 10, "alg": "ecdsa"}
    pk = (await admin.make("crypto/certificatekeypairs/generate/", **pair))["pk"]
    provider, _ = await make_application(admin, "keyed", signing_key=pk)
    token = (await anna.tokens(provider))["access_token"]
    assert jwt.get_unverified_header(token)["alg"] == "ES256"
    await _verified(anna, provider, token)
    await admin.ask("DELETE", f"crypto/certificatekeypairs/{pk}/")
    assert jwt.get_unverified_header((await anna.tokens(provider))["access_token"])["alg"] == "HS256"


async def test_the_issuer_follows_the_host_header(admin: Visitor, anna: Visitor) -> None:
    await make_application(admin, "acme-app")
    path = "/application/o/acme-app/.well-known/openid-configuration"
    told = (await anna.http.get(path, headers={"Host": "other.dezky.test"})).json()
    assert told["issuer"] == "http://other.dezky.test/application/o/acme-app/"


async def test_a_global_issuer_is_discovered_under_the_application_only(admin: Visitor, anna: Visitor) -> None:
    await make_application(admin, "acme-app", issuer_mode="global")
    told = await anna.http.get("/application/o/acme-app/.well-known/openid-configuration")
    assert told.json()["issuer"] == f"{admin.url}/"
    assert (await anna.http.get("/.well-known/openid-configuration")).status_code == 404


async def test_a_provider_without_grant_types_gives_no_token(admin: Visitor, anna: Visitor) -> None:
    made, _ = await make_application(admin, "acme-app")
    flows = {name: made[name] for name in ("authorization_flow", "invalidation_flow", "redirect_uris")}
    silent = await admin.make("providers/oauth2/", name="silent", **flows)
    answer = await anna.exchange(silent, grant_type="client_credentials")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert {"error", "error_description", "request_id"} == answer.json().keys()
    assert (await anna.authorize(silent["client_id"])).status_code == 400


async def test_a_refresh_token_needs_scope_mapping_and_grant(admin: Visitor, anna: Visitor) -> None:
    mapped, _ = await make_application(admin, "mapped")
    unmapped, _ = await make_application(admin, "unmapped", property_mappings=[])
    assert "refresh_token" not in await anna.tokens(mapped, "openid")
    assert "refresh_token" not in await anna.tokens(unmapped, SCOPE)
    assert "refresh_token" in await anna.tokens(mapped, SCOPE)


async def test_a_refresh_token_works_once_and_its_replay_is_suspicious(
    server: AuthentikStandIn, admin: Visitor, anna: Visitor
) -> None:
    provider, _ = await _bound(admin, "acme-app", "acme")
    first = await anna.tokens(provider, SCOPE)
    second = (await anna.refresh(provider, first)).json()
    replayed = await anna.refresh(provider, first)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    assert server.store.events[-1]["action"] == "suspicious_request"
    assert (await anna.refresh(provider, second)).status_code == 200


async def test_a_code_works_once_for_its_redirect_and_its_verifier(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await make_application(admin, "acme-app")
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    pkce = {"code_challenge": challenge, "code_challenge_method": "S256"}
    form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT}
    code = await anna.code(provider["client_id"], **pkce)
    assert (await anna.exchange(provider, **form, code=code, code_verifier=verifier)).status_code == 200
    assert (await anna.exchange(provider, **form, code=code, code_verifier=verifier)).status_code == 400
    code = await anna.code(provider["client_id"], **pkce)
    assert (await anna.exchange(provider, **form, code=code, code_verifier="wrong")).status_code == 400
    code = await anna.code(provider["client_id"])
    elsewhere = {**form, "redirect_uri": "https://evil.test/"}
    assert (await anna.exchange(provider, **elsewhere, code=code)).status_code == 400
    refused = await anna.authorize(provider["client_id"], redirect_uri="https://evil.test/")
    assert refused.status_code == 400


async def test_client_credentials_make_a_user_of_their_own_that_must_pass_the_bindings(
    admin: Visitor, anna: Visitor
) -> None:
    provider, application = await make_application(admin, "acme-app")
    granted = await anna.exchange(provider, grant_type="client_credentials", scope="openid")
    assert "refresh_token" not in granted.json()
    user = (await admin.rows("core/users/", username="ak-acme-app-client_credentials"))[0]
    assert user["path"] == "goauthentik.io/apps/acme-app"
    await admin.change(f"core/users/{user['pk']}/", is_active=False)
    assert (await anna.exchange(provider, grant_type="client_credentials")).status_code == 200
    await admin.make("policies/bindings/", target=application["pk"], group=await _group(admin, "acme"), order=0)
    assert (await anna.exchange(provider, grant_type="client_credentials")).status_code == 400


async def test_an_app_password_signs_in_like_a_password_and_with_the_client_id_alone(
    admin: Visitor, anna: Visitor
) -> None:
    provider, _ = await make_application(admin, "acme-app")
    made = await admin.make("core/users/service_account/", name="probe", expiring=False)
    async with Visitor(admin.url) as probe:
        assert (await probe.sign_in("probe", made["token"]))["component"] == "xak-flow-redirect"
        assert (await probe.authorize(provider["client_id"])).status_code == 302
    form = {"grant_type": "client_credentials", "username": "probe", "password": made["token"]}
    assert (await anna.exchange({**provider, "client_secret": ""}, **form)).status_code == 200
    assert (await anna.exchange(provider, **{**form, "password": "x"})).status_code == 400


async def test_introspection_and_revocation_know_the_clients_own_tokens_only(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await make_application(admin, "one")
    other, _ = await make_application(admin, "two")
    token = (await anna.tokens(provider))["access_token"]

    async def active(asking: Record) -> bool:
        form = {"client_id": asking["client_id"], "client_secret": asking["client_secret"], "token": token}
        return bool((await anna.http.post("/application/o/introspect/", data=form)).json()["active"])

    assert (await active(provider), await active(other)) == (True, False)
    form = {"client_id": provider["client_id"], "client_secret": provider["client_secret"], "token": token}
    await anna.http.post("/application/o/revoke/", data=form)
    assert await active(provider) is False


async def test_tokens_run_out_with_the_clock() -> None:
    now = [1_800_000_000.0]
    async with AuthentikStandIn(clock=lambda: now[0]) as server, Visitor(server.url, server.bootstrap_token) as admin:
        provider, _ = await make_application(admin, "acme-app", access_token_validity="minutes=10")
        await admin.ask("POST", "core/users/1/set_password/", {"password": "secret"})
        async with Visitor(server.url) as akadmin:
            await akadmin.sign_in("akadmin", "secret")
            tokens = await akadmin.tokens(provider, SCOPE)
            assert tokens["expires_in"] == 600
            now[0] += 601
            assert (await akadmin.userinfo(tokens)).status_code == 401
            assert (await akadmin.refresh(provider, tokens)).status_code == 200


# -- the flow and recovery --------------------------------------------------------------------------


async def test_a_wrong_password_is_told_in_the_flow_and_makes_several_events(
    server: AuthentikStandIn, anna: Visitor
) -> None:
    before = len(server.store.events)
    async with Visitor(anna.url) as stranger:
        answer = await stranger.sign_in("anna", "wrong")
        assert answer["component"] == "ak-stage-password"
        assert "password" in answer["response_errors"]
        away = await stranger.authorize("nobody")
        assert away.status_code == 400
    actions = [event["action"] for event in server.store.events[before:]]
    assert len(actions) > 1
    assert set(actions) == {"login_failed"}


async def test_who_is_not_signed_in_is_sent_to_the_flow(admin: Visitor) -> None:
    provider, _ = await make_application(admin, "acme-app")
    async with Visitor(admin.url) as stranger:
        answer = await stranger.authorize(provider["client_id"])
    assert answer.status_code == 302
    assert urlsplit(answer.headers["location"]).path == "/flows/-/default/authentication/"


@pytest.mark.usefixtures("anna")
async def test_a_recovery_link_sets_a_password_once(admin: Visitor) -> None:
    body = {"name": "r", "slug": "recover", "title": "r", "designation": "recovery"}
    flow = await admin.make("flows/instances/", **body)
    brand = (await admin.rows("core/brands/"))[0]
    await admin.change(f"core/brands/{brand['brand_uuid']}/", flow_recovery=flow["pk"])
    link = (await admin.make("core/users/2/recovery/", token_duration="hours=72"))["link"]
    path = "flows/executor/recover/"
    async with Visitor(admin.url) as person:
        assert (await person.get(path))["component"] == "ak-stage-access-denied"
        assert (await person.http.get(link)).status_code == 200
        assert (await person.get(path))["component"] == "ak-stage-prompt"
        unlike = await person.ask("POST", path, {"password": "a", "password_repeat": "b"})
        assert "response_errors" in unlike.json()
        done = await person.ask("POST", path, {"password": "new", "password_repeat": "new"})
        assert done.json()["component"] == "xak-flow-redirect"
        assert len(await admin.rows("core/authenticated_sessions/", user__username="anna")) == 2
        assert (await person.http.get(link)).status_code == 404
        assert (await person.sign_in("anna", "secret"))["component"] == "ak-stage-password"
        assert (await person.sign_in("anna", "new"))["component"] == "xak-flow-redirect"


# -- who may, and what stops it -----------------------------------------------------------------------


async def test_an_application_without_bindings_is_open_to_everybody(admin: Visitor, anna: Visitor) -> None:
    provider, application = await make_application(admin, "open")
    group = await admin.make("core/groups/", name="others")
    assert (await anna.authorize(provider["client_id"])).status_code == 302
    body = {"target": application["pk"], "group": group["pk"], "order": 0}
    binding = await admin.make("policies/bindings/", **body)
    assert (await anna.authorize(provider["client_id"])).status_code == 200
    await admin.change(f"policies/bindings/{binding['pk']}/", "PUT", **body, enabled=False)
    assert (await anna.authorize(provider["client_id"])).status_code == 302  # disabling all of them opens it again


async def test_a_refusal_is_a_page_with_200_and_no_event(
    server: AuthentikStandIn, admin: Visitor, anna: Visitor
) -> None:
    await admin.make("core/groups/", name="others")
    provider, _ = await _bound(admin, "acme-app", "others")
    before = len(server.store.events)
    answer = await anna.authorize(provider["client_id"])
    assert (answer.status_code, "Permission denied" in answer.text) == (200, True)
    assert len(server.store.events) == before


@pytest.mark.parametrize(("mode", "status"), [("all", 200), ("any", 302)])
async def test_a_deny_policy_denies_only_where_all_must_pass(
    admin: Visitor, anna: Visitor, mode: str, status: int
) -> None:
    provider, application = await _bound(admin, "acme-app", "acme")
    await admin.change("core/applications/acme-app/", policy_engine_mode=mode)
    policy = await admin.make("policies/expression/", name="deny", expression="return False")
    await admin.make("policies/bindings/", target=application["pk"], policy=policy["pk"], order=100)
    assert (await anna.authorize(provider["client_id"])).status_code == status


async def test_membership_is_inherited_until_the_parent_is_taken_away(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await _bound(admin, "shared", "tenants")
    tokens = await anna.tokens(provider, SCOPE)
    waiting = await anna.code(provider["client_id"], SCOPE)
    path = f"core/groups/{await _group(admin, 'acme')}/"
    await admin.change(path, parents=[])
    assert (await anna.authorize(provider["client_id"])).status_code == 200
    form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code": waiting}
    assert (await anna.exchange(provider, **form)).status_code == 200
    assert (await anna.userinfo(tokens)).status_code == 200
    assert (await anna.refresh(provider, tokens)).status_code == 200
    await admin.change(path, parents=[await _group(admin, "tenants")])
    assert (await anna.authorize(provider["client_id"])).status_code == 302


async def test_a_denied_application_still_refreshes(admin: Visitor, anna: Visitor) -> None:
    provider, application = await _bound(admin, "acme-app", "acme")
    await admin.change("core/applications/acme-app/", policy_engine_mode="all")
    tokens = await anna.tokens(provider, SCOPE)
    policy = await admin.make("policies/expression/", name="deny", expression="return False")
    await admin.make("policies/bindings/", target=application["pk"], policy=policy["pk"], order=100)
    assert (await anna.authorize(provider["client_id"])).status_code == 200
    assert (await anna.refresh(provider, tokens)).status_code == 200


async def test_switching_the_grant_off_pauses_refreshing_and_on_again_resumes_it(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await _bound(admin, "acme-app", "acme")
    tokens = await anna.tokens(provider, SCOPE)
    path = f"providers/oauth2/{provider['pk']}/"
    await admin.change(path, grant_types=["authorization_code"])
    refused = await anna.refresh({**provider, "client_secret": "wrong"}, tokens)  # before the client is checked
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await anna.userinfo(tokens)).status_code == 200
    assert "refresh_token" in await anna.tokens(provider, SCOPE)
    await admin.change(path, grant_types=["authorization_code", "refresh_token"])
    assert (await anna.refresh(provider, tokens)).status_code == 200


async def test_ending_sessions_ends_access_tokens_but_neither_refreshing_nor_service_tokens(
    admin: Visitor, anna: Visitor
) -> None:
    provider, _ = await make_application(admin, "acme-app")
    tokens = await anna.tokens(provider, SCOPE)
    service = (await anna.exchange(provider, grant_type="client_credentials", scope="openid")).json()
    await admin.ask("DELETE", "core/authenticated_sessions/bulk_delete/?user_pks=2")
    assert (await anna.userinfo(tokens)).status_code == 401
    assert (await anna.userinfo(service)).status_code == 200
    refreshed = await anna.refresh(provider, tokens)
    assert refreshed.status_code == 200
    assert (await anna.userinfo(refreshed.json())).status_code == 200


async def test_a_patch_to_inactive_ends_everything_for_good(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await _bound(admin, "shared", "tenants")
    tokens = await anna.tokens(provider, SCOPE)
    await admin.change("core/users/2/", is_active=False)
    assert await admin.rows("core/authenticated_sessions/", user__username="anna") == []
    assert await admin.rows("oauth2/refresh_tokens/", user=2) == []
    assert (await anna.refresh(provider, tokens)).status_code == 400
    assert (await anna.sign_in("anna", "secret"))["component"] == "ak-stage-access-denied"
    await admin.change("core/users/2/", is_active=True)
    assert (await anna.refresh(provider, tokens)).status_code == 400
    assert (await anna.sign_in("anna", "secret"))["component"] == "xak-flow-redirect"


async def test_a_put_to_inactive_ends_tokens_but_leaves_the_session(admin: Visitor, anna: Visitor) -> None:
    provider, _ = await make_application(admin, "acme-app")
    tokens = await anna.tokens(provider, SCOPE)
    await admin.change("core/users/2/", "PUT", username="anna", name="Anna", is_active=False)
    assert (await anna.refresh(provider, tokens)).status_code == 400
    assert len(await admin.rows("core/authenticated_sessions/", user__username="anna")) == 1
