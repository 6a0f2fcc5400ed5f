"""The OAuth2 endpoints under /application/o/ (facts/authentik.md 6, 11)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.sandbox.authentik.api import noted
from tests.sandbox.authentik.grants import Grant, seconds
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.sign_in import COOKIE, is_app_password
from tests.sandbox.authentik.store import Store, model
from tests.sandbox.authentik.tokens import Occasion, Tokens

EXPLICIT_CONSENT = "default-provider-authorization-explicit-consent"


class OAuth:
    """authorize, token, userinfo, introspect, revoke; discovery, JWKS and end-session of each application."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tokens = Tokens(store)

    def add_routes(self, app: web.Application) -> None:
        """All endpoints; the shared ones first, their paths would match a slug."""
        base = "/application/o"
        app.router.add_get(f"{base}/authorize/", self.authorize)
        app.router.add_post(f"{base}/token/", self.token)
        app.router.add_get(f"{base}/userinfo/", self.userinfo)
        app.router.add_post(f"{base}/userinfo/", self.userinfo)
        app.router.add_post(f"{base}/introspect/", self.introspect)
        app.router.add_post(f"{base}/revoke/", self.revoke)
        app.router.add_get(f"{base}/{{slug}}/.well-known/openid-configuration", self.discovery)
        app.router.add_get(f"{base}/{{slug}}/jwks/", self.jwks)
        app.router.add_get(f"{base}/{{slug}}/end-session/", self.end_session)

    # -- authorize ------------------------------------------------------------------------

    async def authorize(self, request: web.Request) -> web.Response:
        """302 with a code; a refusal by policy is a page with status 200 and no event (facts/authentik.md 11.2)."""
        query = request.query
        provider = self.store.find("oauth2provider", "client_id", query.get("client_id"))
        if provider is None:
            return _page("Client ID Error", 400)
        uri = query.get("redirect_uri", "")
        if not _allowed(provider, uri):
            return _page("Redirect URI Error", 400)
        if "authorization_code" not in provider["grant_types"]:
            return _page("invalid_grant", 400)
        session = self.store.sessions.get(request.cookies.get(COOKIE, ""))
        if session is None:
            following = urlencode({"next": request.path_qs})
            return web.Response(status=302, headers={"Location": f"/flows/-/default/authentication/?{following}"})
        return self._answer(request, provider, session)

    def _answer(self, request: web.Request, provider: Record, session: Record) -> web.Response:
        query, uri = request.query, request.query["redirect_uri"]
        user = self.store.objects["user"][str(session["user"])]
        application = self.store.application_of(provider)
        if application is None or not self.store.may_use(user, application):
            return _page("Permission denied", 200)
        flow = self.store.by_pk("flow", provider["authorization_flow"])
        if flow is not None and flow["slug"] == EXPLICIT_CONSENT:
            return _page("Consent", 200)
        code = self._code(provider, user, session["cookie"], request)
        noted(request)
        named = model("authentik_core", "application", application["pk"], application["name"])
        context = {"authorized_application": named, "flow": provider["authorization_flow"].replace("-", "")}
        self.store.event("authorize_application", user, {**context, "scopes": query.get("scope", "")})
        answer = {"code": code, **({"state": query["state"]} if "state" in query else {})}
        return web.Response(status=302, headers={"Location": f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}"})

    def _code(self, provider: Record, user: Record, session: str, request: web.Request) -> str:
        names = ("redirect_uri", "nonce", "code_challenge", "code_challenge_method")
        code = secrets.token_hex(16)
        self.store.grants.add(
            Grant(
                key=code,
                kind="code",
                user=user["pk"],
                provider=provider["pk"],
                scope=request.query.get("scope", ""),
                session=session,
                expires=self.store.clock() + seconds(provider["access_code_validity"]),
                details={name: request.query.get(name) for name in names},
            )
        )
        return code

    # -- token ------------------------------------------------------------------------------

    async def token(self, request: web.Request) -> web.Response:
        """The grant type is checked before the client is, so that switching it off refuses everybody (11.1)."""
        noted(request)
        form = await request.post()
        client_id, client_secret = _client(request, form)
        grant_type = str(form.get("grant_type", ""))
        provider = self.store.find("oauth2provider", "client_id", client_id)
        if provider is None:
            return _error("invalid_client")
        if grant_type not in provider["grant_types"]:
            return _error("invalid_grant")
        if grant_type == "client_credentials" and "username" in form:
            return self._service_user(request, provider, form)
        return self._of_client(request, provider, form, client_secret)

    def _of_client(self, request: web.Request, provider: Record, form: Any, client_secret: str) -> web.Response:
        grant_type = form["grant_type"]
        if provider["client_type"] == "confidential" and provider["client_secret"] != client_secret:
            return _error("invalid_client")
        if grant_type == "client_credentials":
            return self._client_credentials(request, provider, str(form.get("scope", "")))
        if grant_type == "authorization_code":
            return self._exchange(request, provider, form)
        return self._refresh(request, provider, str(form.get("refresh_token", "")))

    def _exchange(self, request: web.Request, provider: Record, form: Any) -> web.Response:
        grant = self.store.grants.find(str(form.get("code", "")), "code")
        if grant is None or grant.provider != provider["pk"]:
            return _error("invalid_grant")
        self.store.grants.spend(grant)
        same_uri = form.get("redirect_uri", "") == (grant.details["redirect_uri"] or "")
        if not same_uri or not _proves(grant, str(form.get("code_verifier", ""))):
            return _error("invalid_grant")
        user = self.store.objects["user"][str(grant.user)]
        occasion = Occasion(provider, user, grant.scope, grant.session, grant.details["nonce"])
        return _tokens(self.tokens.issue(request, occasion))

    def _refresh(self, request: web.Request, provider: Record, key: str) -> web.Response:
        """Looks neither at policies nor at is_active: only a token that is gone refuses (facts/authentik.md 0.8)."""
        grant = self.store.grants.find(key, "refresh")
        if grant is None or grant.provider != provider["pk"]:
            user = self.store.get("user", self.store.grants.spent.get(key))
            if user is not None:
                self.store.event("suspicious_request", user, {"message": "Revoked refresh token was used"})
            return _error("invalid_grant")
        self.store.grants.spend(grant)
        user = self.store.objects["user"][str(grant.user)]
        return _tokens(self.tokens.issue(request, Occasion(provider, user, grant.scope, grant.session)))

    def _client_credentials(self, request: web.Request, provider: Record, scope: str) -> web.Response:
        """Makes a user of its own, whom only the bindings can stop: is_active is not looked at (6, 11.3)."""
        name = f"ak-{provider['name']}-client_credentials"
        application = self.store.application_of(provider)
        if application is None:
            return _error("invalid_grant")
        user = self.store.find("user", "username", name)
        if user is None:
            path = f"goauthentik.io/apps/{application['slug']}"
            user = self.store.insert("user", {"username": name, "name": name, "path": path, "type": "service_account"})
        if not self.store.may_use(user, application):
            return _error("invalid_grant")
        return _tokens(self.tokens.issue(request, Occasion(provider, user, scope), refresh=False))

    def _service_user(self, request: web.Request, provider: Record, form: Any) -> web.Response:
        """With a user's name and app password the client id alone is enough (facts/authentik.md 11.6 B)."""
        user = self.store.find("user", "username", str(form["username"]))
        application = self.store.application_of(provider)
        known = user is not None and is_app_password(self.store, user, str(form.get("password", "")))
        if user is None or application is None or not known or not user["is_active"]:
            return _error("invalid_grant")
        if not self.store.may_use(user, application):
            return _error("invalid_grant")
        self.store.event("login", user, {"auth_method": "token"})
        occasion = Occasion(provider, user, str(form.get("scope", "")))
        return _tokens(self.tokens.issue(request, occasion, refresh=False))

    # -- what a token is worth --------------------------------------------------------------------

    async def userinfo(self, request: web.Request) -> web.Response:
        """The subject and the claims of the scopes, as they are now."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        grant = self.store.grants.find(key, "access")
        provider = self.store.get("oauth2provider", grant.provider) if grant else None
        if grant is None or provider is None or "openid" not in grant.scope.split():
            return web.Response(status=401, headers={"WWW-Authenticate": 'error="invalid_token"'})
        user = self.store.objects["user"][str(grant.user)]
        claims = self.tokens.mapped_claims(provider, user, grant.scope)
        return web.json_response({"sub": self.tokens.subject(provider, user), **claims})

    async def introspect(self, request: web.Request) -> web.Response:
        """Whether a token still counts; to other clients it never does."""
        form = await request.post()
        provider = self._authenticated(request, form)
        if provider is None:
            return _error("invalid_client")
        key = str(form.get("token", ""))
        grant = self.store.grants.find(key, "access") or self.store.grants.find(key, "refresh")
        if grant is None or grant.provider != provider["pk"]:
            return web.json_response({"active": False})
        claims = {"active": True, "scope": grant.scope, "client_id": provider["client_id"], "exp": int(grant.expires)}
        return web.json_response({**grant.claims, **claims})

    async def revoke(self, request: web.Request) -> web.Response:
        """A token of the client's own ends; 200 whatever it was."""
        form = await request.post()
        provider = self._authenticated(request, form)
        if provider is None:
            return _error("invalid_client")
        key = str(form.get("token", ""))
        grant = self.store.grants.find(key, "access") or self.store.grants.find(key, "refresh")
        if grant is not None and grant.provider == provider["pk"]:
            self.store.grants.drop(grant)
        return web.json_response({})

    async def end_session(self, request: web.Request) -> web.Response:
        """The browser's own session ends."""
        noted(request)
        session = self.store.sessions.pop(request.cookies.get(COOKIE, ""), None)
        if session is not None:
            self.store.grants.end_session(session["user"], session["cookie"])
            self.store.event("logout", self.store.objects["user"][str(session["user"])])
        uri = request.query.get("post_logout_redirect_uri")
        return web.Response(status=302, headers={"Location": uri}) if uri else _page("Signed out", 200)

    def _authenticated(self, request: web.Request, form: Any) -> Record | None:
        client_id, client_secret = _client(request, form)
        provider = self.store.find("oauth2provider", "client_id", client_id)
        return provider if provider is not None and provider["client_secret"] == client_secret else None

    # -- what clients are told -----------------------------------------------------------------------

    async def discovery(self, request: web.Request) -> web.Response:
        """Under the application's slug, also where the issuer is global (facts/authentik.md 1)."""
        provider = self._of(request)
        if provider is None:
            return web.Response(status=404)
        base = f"{request.scheme}://{request.host}/application/o"
        own = f"{base}/{request.match_info['slug']}"
        found = (self.store.get("scopemapping", pk) for pk in provider["property_mappings"])
        return web.json_response(
            {
                "issuer": self.tokens.issuer(request, provider),
                "authorization_endpoint": f"{base}/authorize/",
                "token_endpoint": f"{base}/token/",
                "userinfo_endpoint": f"{base}/userinfo/",
                "introspection_endpoint": f"{base}/introspect/",
                "revocation_endpoint": f"{base}/revoke/",
                "end_session_endpoint": f"{own}/end-session/",
                "jwks_uri": f"{own}/jwks/",
                "response_types_supported": ["code"],
                "grant_types_supported": provider["grant_types"],
                "id_token_signing_alg_values_supported": [self.tokens.keys.algorithm(provider)],
                "subject_types_supported": ["public"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "code_challenge_methods_supported": ["plain", "S256"],
                "scopes_supported": sorted({mapping["scope_name"] for mapping in found if mapping}),
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        """One provider's keys only."""
        provider = self._of(request)
        return web.Response(status=404) if provider is None else web.json_response(self.tokens.keys.published(provider))

    def _of(self, request: web.Request) -> Record | None:
        application = self.store.get("application", request.match_info["slug"])
        return self.store.get("oauth2provider", application["provider"]) if application else None


def _client(request: web.Request, form: Any) -> tuple[str, str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        try:
            client_id, _, secret = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return client_id, secret
    return str(form.get("client_id", "")), str(form.get("client_secret", ""))


def _allowed(provider: Record, uri: str) -> bool:
    for known in provider["redirect_uris"]:
        if known.get("redirect_uri_type", "authorization") != "authorization":
            continue
        if known["url"] == uri or (known["matching_mode"] == "regex" and re.fullmatch(known["url"], uri)):
            return True
    return False


def _proves(grant: Grant, verifier: str) -> bool:
    """PKCE, where the code was asked for with it."""
    challenge = grant.details["code_challenge"]
    if not challenge:
        return True
    if grant.details["code_challenge_method"] == "S256":
        verifier = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return secrets.compare_digest(verifier, challenge)


def _tokens(answer: Record) -> web.Response:
    return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _error(code: str) -> web.Response:
    told = {"error": code, "error_description": code, "request_id": secrets.token_hex(16)}
    return web.json_response(told, status=400)


def _page(title: str, status: int) -> web.Response:
    return web.Response(status=status, text=f"<html><title>{title}</title>{title}</html>", content_type="text/html")
