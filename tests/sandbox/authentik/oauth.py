"""Signing in: flows, OAuth2 endpoints, tokens with a real RSA key (facts/authentik.md 6, 11)."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.store import Store

COOKIE = "authentik_session"
UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


class OAuth:
    """The flow executor and /application/o/."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._stages: dict[str, Record] = {}

    def add_routes(self, app: web.Application) -> None:
        """All endpoints."""
        add = app.router.add_route
        add("*", "/api/v3/flows/executor/{slug}/", self.executor)
        add("GET", "/if/flow/{slug}/", self.open_link)
        add("GET", "/application/o/authorize/", self.authorize)
        add("POST", "/application/o/token/", self.token)
        add("GET", "/application/o/userinfo/", self.userinfo)
        add("GET", "/application/o/{slug}/.well-known/openid-configuration", self.discovery)
        add("GET", "/application/o/{slug}/jwks/", self.jwks)

    # -- flows ------------------------------------------------------------------------

    async def executor(self, request: web.Request) -> web.Response:
        """Identification, then password, then done; a recovery flow asks for a new password instead."""
        cookie = request.cookies.get(COOKIE) or secrets.token_hex(16)
        state = self._stages.setdefault(cookie, {})
        body = await request.json() if request.method == "POST" else {}
        answer = self._recover(state, body) if "recovery" in state else self._identify(cookie, state, body)
        response = web.json_response(answer)
        response.set_cookie(COOKIE, cookie)
        return response

    def _identify(self, cookie: str, state: Record, body: Record) -> Record:
        if "uid_field" in body:
            state["username"] = body["uid_field"]
        if "username" not in state:
            return {"component": "ak-stage-identification"}
        if "password" not in body:
            return {"component": "ak-stage-password"}
        user = self.store.find("user", "username", state["username"])
        if user is None or not self._password_fits(user, body["password"]):
            if user:
                self.store.event("login_failed", user, {})
            errors = {"password": [{"string": "Invalid password", "code": "invalid"}]}
            return {"component": "ak-stage-password", "response_errors": errors}
        if not user["is_active"]:
            return {"component": "ak-stage-access-denied", "error_message": "Your account is inactive."}
        self._sign_in(cookie, user)
        return {"component": "xak-flow-redirect", "to": "/"}

    def _recover(self, state: Record, body: Record) -> Record:
        if "password" not in body:
            return {
                "component": "ak-stage-prompt",
                "fields": [{"field_key": "password"}, {"field_key": "password_repeat"}],
            }
        user = self.store.objects["user"][str(state["recovery"])]
        self.store.passwords[user["pk"]] = body["password"]
        self._sign_in(state["cookie"], user)
        return {"component": "xak-flow-redirect", "to": "/"}

    async def open_link(self, request: web.Request) -> web.Response:
        """A recovery link: once, and it leads into the recovery flow."""
        grant = self.store.grants.pop(request.query.get("flow_token", ""), None)
        if grant is None or grant["kind"] != "recovery":
            return web.Response(status=404)
        cookie = secrets.token_hex(16)
        self._stages[cookie] = {"recovery": grant["user"], "cookie": cookie}
        response = web.Response(text="<html>recovery</html>", content_type="text/html")
        response.set_cookie(COOKIE, cookie)
        return response

    def _password_fits(self, user: Record, password: str) -> bool:
        if self.store.passwords.get(user["pk"]) == password:
            return True
        # App passwords are accepted as the password (facts/authentik.md 11.6 C).
        return any(
            token["intent"] == "app_password" and token["user"] == user["pk"]
            and self.store.token_keys.get(token["identifier"]) == password
            for token in self.store.objects["token"].values()
        )  # fmt: skip

    def _sign_in(self, cookie: str, user: Record) -> None:
        user["last_login"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.store.sessions[cookie] = {"user": user["pk"], "uuid": cookie}
        self._stages.pop(cookie, None)
        self.store.event("login", user, {})

    # -- OAuth2 -----------------------------------------------------------------------------

    async def authorize(self, request: web.Request) -> web.Response:
        """302 with a code; a refusal is a page with status 200 (facts/authentik.md 11.2)."""
        provider = self.store.find("oauth2provider", "client_id", request.query.get("client_id"))
        session = self.store.sessions.get(request.cookies.get(COOKIE, ""))
        if provider is None or "authorization_code" not in provider["grant_types"]:
            return web.Response(status=400, text="invalid_client")
        if session is None:
            return web.Response(status=302, headers={"Location": "/flows/-/default/authentication/"})
        user = self.store.objects["user"][str(session["user"])]
        application = self.store.application_of(provider)
        if application is None or not self.store.may_use(user, application):
            return web.Response(text="<html>Permission denied</html>", content_type="text/html")
        uri = request.query.get("redirect_uri", "")
        if uri not in [found["url"] for found in provider["redirect_uris"]]:
            return web.Response(status=400, text="redirect_uri_mismatch")
        code = secrets.token_hex(16)
        self.store.grants[code] = {
            "kind": "code", "user": user["pk"], "provider": provider["pk"], "scope": request.query.get("scope", ""),
        }  # fmt: skip
        return web.Response(
            status=302, headers={"Location": f"{uri}?code={code}&state={request.query.get('state', '')}"}
        )

    async def token(self, request: web.Request) -> web.Response:
        """The token endpoint."""
        form = await request.post()
        client_id, client_secret = _client(request, form)
        grant = str(form.get("grant_type", ""))
        provider = self.store.find("oauth2provider", "client_id", client_id)
        if provider is None or grant not in provider["grant_types"]:
            return _oauth_error("invalid_grant")  # checked before the client is (facts/authentik.md 11.1)
        if provider["client_secret"] != client_secret:
            return _oauth_error("invalid_client")
        if grant == "client_credentials":
            return self._client_credentials(request, provider, str(form.get("scope", "")))
        found = self.store.grants.pop(
            str(form.get("code" if grant == "authorization_code" else "refresh_token", "")), None
        )
        if found is None or found["provider"] != provider["pk"]:
            return _oauth_error("invalid_grant")
        # Neither policies nor is_active are looked at here: only ended grants refuse (facts/authentik.md 0.8).
        return self._tokens(request, provider, self.store.objects["user"][str(found["user"])], found["scope"])

    def _client_credentials(self, request: web.Request, provider: Record, scope: str) -> web.Response:
        name = f"ak-{provider['name']}-client_credentials"
        application = self.store.application_of(provider)
        user = self.store.find("user", "username", name)
        if user is None:
            path = f"goauthentik.io/apps/{application['slug'] if application else ''}"
            user = self.store.insert("user", {"username": name, "name": name, "path": path, "type": "service_account"})
        if application is None or not self.store.may_use(user, application):
            return _oauth_error("invalid_grant")
        return self._tokens(request, provider, user, scope, refresh=False)

    def _tokens(
        self, request: web.Request, provider: Record, user: Record, scope: str, *, refresh: bool = True
    ) -> web.Response:
        claims = self._claims(request, provider, user, scope)
        access = self._sign(provider, claims)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": claims["exp"] - claims["iat"],
            "scope": scope,
        }
        if "openid" in scope.split():
            answer["id_token"] = access
        self.store.grants[access] = {"kind": "access", "user": user["pk"], "provider": provider["pk"], "claims": claims}
        if refresh and "offline_access" in scope.split() and "refresh_token" in provider["grant_types"]:
            token = secrets.token_hex(32)
            self.store.grants[token] = {
                "kind": "refresh",
                "user": user["pk"],
                "provider": provider["pk"],
                "scope": scope,
            }
            answer["refresh_token"] = token
        return web.json_response(answer)

    def _claims(self, request: web.Request, provider: Record, user: Record, scope: str) -> Record:
        """Only scopes that are asked for and mapped give claims; `groups` are direct groups only."""
        application = self.store.application_of(provider) or {"slug": provider["name"]}
        now = int(time.time())
        mapped = {
            mapping["scope_name"]
            for mapping in self.store.objects["scopemapping"].values()
            if mapping["pk"] in provider["property_mappings"]
        }
        claims: Record = {
            "iss": f"{request.scheme}://{request.host}/application/o/{application['slug']}/",
            "sub": user["uuid"] if provider["sub_mode"] == "user_uuid" else f"hashed-{user['uuid']}",
            "aud": provider["client_id"],
            "azp": provider["client_id"],
            "iat": now,
            "auth_time": now,
            "exp": now + _seconds(provider["access_token_validity"]),
            "jti": secrets.token_hex(8),
            "scope": scope,
        }
        for wanted in mapped.intersection(scope.split()):
            claims |= self._scope_claims(wanted, user)
        return claims

    def _scope_claims(self, scope: str, user: Record) -> Record:
        groups = [self.store.objects["group"][pk] for pk in self.store.groups_of(user)]
        if scope == "profile":
            names = [group["name"] for group in groups]
            claims = {"name": user["name"], "preferred_username": user["username"], "groups": names}
            return claims | self._ocis_role(user)
        if scope == "email":
            return {"email": user["email"], "email_verified": False}
        if scope == "dezky":
            every = (self.store.objects["group"][pk] for pk in self.store.all_groups_of(user))
            tenants = sorted(
                {group["attributes"]["dezky.eu/tenant"] for group in every if "dezky.eu/tenant" in group["attributes"]}
            )
            return {"tenant": tenants[0] if tenants else None, "tenants": tenants}
        return {}

    def _ocis_role(self, user: Record) -> Record:
        """What the one mapping of ours that adds roles evaluates to; expressions are not run here."""
        if self.store.find("scopemapping", "name", "dezky: ocis role") is None:
            return {}
        service = user["username"] == "ak-dezky-ocis-client_credentials"
        return {"roles": ["ocisAdmin" if service else "ocisUser"]}

    def _sign(self, provider: Record, claims: Record) -> str:
        if provider["signing_key"] is None:
            return jwt.encode(claims, provider["client_secret"], algorithm="HS256")
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": provider["signing_key"]})

    async def userinfo(self, request: web.Request) -> web.Response:
        """The claims of a living access token."""
        grant = self.store.grants.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if grant is None or grant["kind"] != "access":
            return web.Response(status=401)
        return web.json_response(grant["claims"])

    async def discovery(self, request: web.Request) -> web.Response:
        """The issuer follows the Host header (facts/authentik.md 0.9)."""
        application = self.store.get("application", request.match_info["slug"])
        if application is None or application["provider"] is None:
            return web.Response(status=404)
        base = f"{request.scheme}://{request.host}/application/o"
        return web.json_response(
            {
                "issuer": f"{base}/{application['slug']}/",
                "authorization_endpoint": f"{base}/authorize/",
                "token_endpoint": f"{base}/token/",
                "userinfo_endpoint": f"{base}/userinfo/",
                "jwks_uri": f"{base}/{application['slug']}/jwks/",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        """The public key; an empty object where the provider has none."""
        application = self.store.get("application", request.match_info["slug"])
        provider = self.store.get("oauth2provider", application["provider"]) if application else None
        if provider is None:
            return web.Response(status=404)
        if provider["signing_key"] is None:
            return web.json_response({})
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": provider["signing_key"]}
        return web.json_response({"keys": [{**key, "n": _b64(numbers.n), "e": _b64(numbers.e)}]})


def _client(request: web.Request, form: Any) -> tuple[str, str]:
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        user, _, password = base64.b64decode(header[6:]).decode().partition(":")
        return user, password
    return str(form.get("client_id", "")), str(form.get("client_secret", ""))


def _oauth_error(code: str) -> web.Response:
    return web.json_response({"error": code, "error_description": code, "request_id": secrets.token_hex(8)}, status=400)


def _seconds(text: str) -> int:
    unit, _, number = text.partition("=")
    return int(number) * UNITS[unit]


def _b64(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
