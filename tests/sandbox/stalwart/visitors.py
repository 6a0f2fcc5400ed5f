"""Who is asking, and whether they may: one answer for HTTP, SMTP and IMAP (facts/stalwart.md 2.1, 11.5, 11.10)."""

from __future__ import annotations

import base64
import binascii
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from tests.sandbox.stalwart.credentials import Credentials, expired, from_here
from tests.sandbox.stalwart.events import Events
from tests.sandbox.stalwart.ids import RECOVERY_ADMIN, decode
from tests.sandbox.stalwart.limits import Limits
from tests.sandbox.stalwart.objects import Objects
from tests.sandbox.stalwart.permissions import EVERY
from tests.sandbox.stalwart.settings import Live

Record = dict[str, Any]


class Refusal(enum.Enum):
    """Why somebody stays outside."""

    UNKNOWN = "unknown"
    """A wrong user, password, key or token: they can not be told apart."""
    UNAUTHORIZED = "unauthorized"
    """The credential is right, but its owner may not log in, or not from there."""
    BANNED = "banned"
    """One wrong credential too many from this address."""


@dataclass(frozen=True)
class Visitor:
    """Somebody whose credential was taken."""

    id: str
    name: str
    rights: frozenset[str]
    account: Record | None = None
    app_password: bool = False

    @property
    def grants(self) -> frozenset[str] | None:
        """What he may give to others; None is everything."""
        return self.rights if self.account is not None else None


class Visitors:
    """Tells who is behind a credential."""

    def __init__(
        self,
        objects: Objects,
        live: Live,
        limits: Limits,
        *,
        admin: tuple[str, str],
        events: Events,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects, self._live, self._limits, self._clock = objects, live, limits, clock
        self._events = events
        self._sessions: set[tuple[str, frozenset[str]]] = set()
        """Credentials of HTTP that were told of: they are kept, and asked for again when the rights change."""
        self._credentials = Credentials(objects)
        self.admin = admin
        self.failures = 0
        """Wrong credentials so far."""

    async def by_header(self, header: str, address: str) -> Visitor | Refusal:
        """The caller of an HTTP request."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return self._unknown(address, "")
            return self.by_password(user.strip(), password, address, header=header)
        if value.startswith("API_"):
            return self._by_key("ApiKey", value, address, header=header)
        account = await self._by_token(value)
        if account is None:
            self._events.unreadable(value)
            return self._unknown(address, "")
        return self._let_in(account, self._held(account), header=header)

    def by_password(self, user: str, password: str, address: str, *, header: str = "") -> Visitor | Refusal:
        """Somebody with a user name and a password or app password; ``header`` is that of a request."""
        login = user.lower()
        if login == self.admin[0]:
            if password != self.admin[1]:
                reason = "Fallback admin authentication failed"
                self._events.tell("auth.failed", accountName=login, reason=reason, remoteIp=address)
                return self._unknown(address, "")
            return Visitor(RECOVERY_ADMIN, self.admin[0], EVERY)
        login = login if "@" in login else f"{login}@{self._default_domain()}"
        account = self._account(login)
        if password.startswith("app_"):
            return self._by_key("AppPassword", password, address, owner=account, login=login, header=header)
        if account is None or self._live.directory is not None or not _knows(account, password):
            return self._unknown(address, login)
        rights = self._held(account)
        if login != self._objects.address(account) and "authenticateWithAlias" not in rights:
            return self._unknown(address, login)
        return self._let_in(account, rights, header=header)

    def app_password_is_expired(self, password: str) -> bool:
        """Whether this was once right: over IMAP such a log-in is never answered."""
        found = self._credentials.by_secret("AppPassword", password)
        return found is not None and expired(found, self._clock())

    def _by_key(
        self,
        kind: str,
        secret: str,
        address: str,
        *,
        owner: Record | None = None,
        login: str = "",
        header: str = "",
    ) -> Visitor | Refusal:
        found = self._credentials.by_secret(kind, secret)
        account = self._objects.by_type["Account"].get(found["accountId"]) if found else None
        if found is None or account is None or (kind == "AppPassword" and account is not owner):
            if kind == "ApiKey":
                self._events.unreadable(secret)
            return self._unknown(address, login)
        if expired(found, self._clock()):
            return self._unknown(address, login)
        if not from_here(found, address):
            self._limits.failed(address, login)
            return Refusal.UNAUTHORIZED
        rights, number = self._credentials.rights(found, account), decode(found["id"])
        return self._let_in(account, rights, app_password=kind == "AppPassword", number=number, header=header)

    async def _by_token(self, token: str) -> Record | None:
        """A directory's access token: signature, issuer, audience and user name are checked for real."""
        directory = self._live.directory
        if directory is None or token.count(".") != 2:
            return None
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{directory['issuerUrl']}.well-known/openid-configuration") as answer:
                document = await answer.json()
            async with http.get(document["jwks_uri"]) as answer:
                keys = jwt.PyJWKSet.from_dict(await answer.json())
        try:
            key = keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], audience=directory["requireAudience"], issuer=document["issuer"]
            )
        except (jwt.PyJWTError, KeyError):
            return None
        return self._account(str(claims.get(directory["claimUsername"], "")).lower())

    def _let_in(
        self,
        account: Record,
        rights: frozenset[str],
        *,
        app_password: bool = False,
        number: int | None = None,
        header: str = "",
    ) -> Visitor | Refusal:
        if (header, rights) not in self._sessions:
            self._events.let_in(account["id"], self._objects.address(account), app_password=number)
        if header:
            self._sessions.add((header, rights))
        if "authenticate" not in rights:
            self._events.unauthorized(account["id"])
            return Refusal.UNAUTHORIZED
        return Visitor(account["id"], self._objects.address(account), rights, account, app_password)

    def _unknown(self, address: str, login: str) -> Refusal:
        self.failures += 1
        if self._limits.failed(address, login):
            self._events.banned(login)
            return Refusal.BANNED
        if login:
            account = self._account(login)
            ours = login.rpartition("@")[2] in self._objects.names
            self._events.failed(login, account["id"] if account else None, domain_is_ours=ours)
        return Refusal.UNKNOWN

    def _held(self, account: Record) -> frozenset[str]:
        return self._objects.rights.held(account)

    def _account(self, login: str) -> Record | None:
        kind, key = self._objects.addresses.get(login, ("", ""))
        account = self._objects.by_type["Account"].get(key) if kind == "Account" else None
        return account if account and account["@type"] == "User" else None

    def _default_domain(self) -> str:
        domain = self._objects.singletons["SystemSettings"]["defaultDomainId"]
        return str(self._objects.by_type["Domain"].get(domain, {}).get("name", ""))


def _knows(account: Record, password: str) -> bool:
    return any(one["@type"] == "Password" and one["secret"] == password for one in account["credentials"].values())
