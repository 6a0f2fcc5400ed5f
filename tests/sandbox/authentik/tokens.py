"""Tokens: what is in them and who signs them (facts/authentik.md 6, facts/billing-and-jwt.md B14)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.sandbox.authentik.grants import Grant, seconds
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.store import Store

ACR = "goauthentik.io/providers/oauth2/default"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class SigningKeys:
    """The key of every key pair, made when first needed: providers that share a pair share key and kid (B14)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made: dict[str, PrivateKey] = {}

    def sign(self, provider: Record, claims: Record) -> str:
        """A JWT. Without a signing key it is HS256 with the client secret (facts/authentik.md 0.4)."""
        pair = provider["signing_key"]
        if pair is None:
            return jwt.encode(claims, provider["client_secret"], algorithm="HS256")
        return jwt.encode(claims, self._key(pair), algorithm=self._algorithm(pair), headers={"kid": self._kid(pair)})

    def published(self, provider: Record) -> Record:
        """The JWKS; an empty object where the provider has no signing key."""
        pair = provider["signing_key"]
        if pair is None:
            return {}
        key = self._key(pair)
        document: dict[str, Any]
        if isinstance(key, rsa.RSAPrivateKey):
            document = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            document = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        document.pop("key_ops", None)
        return {"keys": [{**document, "alg": self._algorithm(pair), "use": "sig", "kid": self._kid(pair)}]}

    def algorithm(self, provider: Record) -> str:
        """What the provider signs with."""
        return "HS256" if provider["signing_key"] is None else self._algorithm(provider["signing_key"])

    def _key(self, pair: str) -> PrivateKey:
        if pair not in self._made:
            elliptic = self._algorithm(pair) == "ES256"
            self._made[pair] = (
                ec.generate_private_key(ec.SECP256R1())
                if elliptic
                else rsa.generate_private_key(public_exponent=65537, key_size=2048)
            )
        return self._made[pair]

    def _algorithm(self, pair: str) -> str:
        return "ES256" if self.store.objects["certificatekeypair"][pair]["key_type"] == "ec" else "RS256"

    @staticmethod
    def _kid(pair: str) -> str:
        return hashlib.sha256(pair.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Occasion:
    """What a token is made for. ``session`` is the cookie of the login session, if any is behind it."""

    provider: Record
    user: Record
    scope: str
    session: str | None = None
    nonce: str | None = None


class Tokens:
    """Makes tokens and hands them out."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = SigningKeys(store)

    def issue(self, request: web.Request, occasion: Occasion, *, refresh: bool = True) -> Record:
        """The answer of the token endpoint."""
        provider, scopes = occasion.provider, occasion.scope.split()
        claims = self._claims(request, occasion)
        own = {"azp": provider["client_id"], "uid": secrets.token_hex(20)}
        access = self.keys.sign(provider, {"scope": occasion.scope, **claims, **own})
        self._hand_out("access", access, occasion, claims["exp"], claims)
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "scope": occasion.scope,
            "expires_in": int(seconds(provider["access_token_validity"])),
        }
        if "openid" in scopes:
            at_hash = base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
            answer["id_token"] = self.keys.sign(provider, {**claims, "at_hash": at_hash})
        # Asked for, mapped and allowed: only all three give a refresh token (facts/authentik.md 6).
        mapped = "offline_access" in {mapping["scope_name"] for mapping in self._mappings(provider)}
        if refresh and "offline_access" in scopes and mapped:
            token = secrets.token_urlsafe(48)
            expires = self.store.clock() + seconds(provider["refresh_token_validity"])
            self._hand_out("refresh", token, occasion, expires, {})
            answer["refresh_token"] = token
        return answer

    def issuer(self, request: web.Request, provider: Record) -> str:
        """It follows the Host header (facts/authentik.md 0.9)."""
        base = f"{request.scheme}://{request.host}/"
        application = self.store.application_of(provider)
        if provider["issuer_mode"] == "global" or application is None:
            return base
        return f"{base}application/o/{application['slug']}/"

    def subject(self, provider: Record, user: Record) -> str:
        """``sub``, by the provider's mode."""
        modes = {"user_uuid": "uuid", "user_id": "pk", "user_email": "email", "user_username": "username"}
        field = modes.get(provider["sub_mode"])
        return self.store.uid(user) if field is None else str(user[field])

    def mapped_claims(self, provider: Record, user: Record, scope: str) -> Record:
        """Only scopes that are asked for and attached give claims."""
        claims: Record = {}
        for mapping in self._mappings(provider):
            if mapping["scope_name"] in scope.split():
                claims |= self._evaluated(mapping, user)
        return claims

    def _claims(self, request: web.Request, occasion: Occasion) -> Record:
        provider, user, now = occasion.provider, occasion.user, int(self.store.clock())
        session = self.store.sessions.get(occasion.session or "")
        claims: Record = {
            "iss": self.issuer(request, provider),
            "sub": self.subject(provider, user),
            "aud": provider["client_id"],
            "exp": now + int(seconds(provider["access_token_validity"])),
            "iat": now,
            "auth_time": int(session["at"]) if session else now,
            "acr": ACR,
            "jti": secrets.token_hex(16),
        }
        if session is not None:
            sid = hashlib.sha256(session["cookie"].encode()).hexdigest()
            claims |= {"amr": ["pwd"], "sid": sid}
        if occasion.nonce:
            claims["nonce"] = occasion.nonce
        if provider["include_claims_in_id_token"]:
            claims |= self.mapped_claims(provider, user, occasion.scope)  # over the standard ones, aud included
        return claims

    def _mappings(self, provider: Record) -> list[Record]:
        found = (self.store.get("scopemapping", pk) for pk in provider["property_mappings"])
        return [mapping for mapping in found if mapping is not None]

    def _evaluated(self, mapping: Record, user: Record) -> Record:
        """The built-in mappings and the platform's own, told by what they are for: expressions are never run."""
        if mapping["scope_name"] == "dezky":
            return self._tenants(user)
        if "ocisAdmin" in mapping["expression"]:
            service = user["username"] == "ak-dezky-ocis-client_credentials"
            return {"roles": ["ocisAdmin" if service else "ocisUser"]}
        managed = mapping["managed"] or ""
        if managed.endswith("scope-email"):
            return {"email": user["email"], "email_verified": False}
        if managed.endswith("scope-profile"):
            name = user["username"]
            groups = [self.store.objects["group"][pk]["name"] for pk in self.store.groups_of(user)]  # direct ones only
            return {
                "name": user["name"], "given_name": user["name"], "preferred_username": name, "nickname": name,
                "groups": groups,
            }  # fmt: skip
        return {}

    def _tenants(self, user: Record) -> Record:
        every = (self.store.objects["group"][pk]["attributes"] for pk in self.store.all_groups_of(user))
        tenants = sorted({str(found["dezky.eu/tenant"]) for found in every if "dezky.eu/tenant" in found})
        return {"tenant": tenants[0] if tenants else None, "tenants": tenants}

    def _hand_out(self, kind: str, key: str, occasion: Occasion, expires: float, claims: Record) -> None:
        alive = occasion.session if occasion.session in self.store.sessions else None
        self.store.grants.add(
            Grant(
                key=key,
                kind=kind,
                user=occasion.user["pk"],
                provider=occasion.provider["pk"],
                scope=occasion.scope,
                expires=expires,
                session=alive,
                claims=claims,
            )
        )
