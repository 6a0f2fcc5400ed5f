"""The Stalwart stand-in: JMAP management over HTTP, and small SMTP and IMAP servers for log-in and delivery checks."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections import defaultdict
from typing import Any

import aiohttp
import jwt
from aiohttp import web

from tests.sandbox.stalwart.objects import DEFAULTS, SINGLETONS, Objects, Record, SetError, decode, words
from tests.sandbox.stalwart.protocols import serve_imap, serve_smtp
from tests.sandbox.standin import StandIn

CALLS, OBJECTS, AT_ONCE = 16, 500, 4
INDEXED = {
    "Domain": {"name", "aliases", "text"},
    "Account": {"@type", "domainId", "name", "memberGroupIds", "text"},
    "DkimSignature": {"domainId"},
    "MailingList": {"text"},
    "Role": {"description"},
}
UNAUTHORIZED = {
    "type": "about:blank",
    "status": 401,
    "title": "Unauthorized",
    "detail": "You have to authenticate first.",
}
FORBIDDEN = {
    "type": "about:blank",
    "status": 403,
    "title": "Forbidden",
    "detail": "You do not have enough permissions to access this resource.",
}
SERVICE_RIGHTS = frozenset(
    f"sys{kind}{act}"
    for kind in ("Domain", "DkimSignature", "Role", "Account", "MailingList", "WebHook", "MtaInboundThrottle")
    for act in ("Get", "Create", "Update", "Destroy", "Query")
) | {"sysActionCreate", "actionReloadSettings", "sysAuthenticationGet"}


class MethodError(Exception):
    """A method-level error inside a 200."""

    def __init__(self, kind: str, description: str = "") -> None:
        super().__init__(kind)
        self.error = {"type": kind, "description": description}


class StalwartStandIn(StandIn):
    """Stalwart 0.16 as a client sees it. ``objects`` is there for assertions."""

    name = "stalwart"

    def __init__(
        self, *, admin: tuple[str, str] = ("admin", "admin-password"), hostname: str = "mail.dezky.test"
    ) -> None:
        super().__init__()
        self.admin = admin
        self.objects = Objects(hostname=hostname)
        self.smtp_port = self.imap_port = 0
        self.rate_limit = 1000
        self.failures = 0
        self._used: dict[str, list[float]] = defaultdict(list)
        self._active: dict[str, int] = defaultdict(int)
        self._servers: list[asyncio.Server] = []
        self.app.router.add_post("/jmap", self._jmap)
        self.app.router.add_get("/jmap/session", self._session)
        self.app.router.add_get("/api/account", self._account)
        self.app.router.add_get("/api/schema", self._schema)
        self.app.router.add_get("/healthz/live", self._healthy)
        self.app.router.add_get("/healthz/ready", self._healthy)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """HTTP, SMTP and IMAP on loopback."""
        url = await super().start(host, port)
        smtp = await asyncio.start_server(lambda r, w: serve_smtp(self, r, w), host, self.smtp_port)
        imap = await asyncio.start_server(lambda r, w: serve_imap(self, r, w), host, self.imap_port)
        self._servers = [smtp, imap]
        self.smtp_port, self.imap_port = (server.sockets[0].getsockname()[1] for server in self._servers)
        return url

    async def stop(self) -> None:
        """Close all listeners; the state stays."""
        for server in self._servers:
            server.close()
        await super().stop()

    async def describe(self, request: web.Request) -> tuple[str, bool]:
        """The method calls in the body, and whether one of them sets something."""
        if request.path != "/jmap":
            return "", False
        try:
            calls = json.loads(await request.read())["methodCalls"]
        except (ValueError, KeyError, TypeError):
            return "unreadable", False
        labels = [
            f"{name} {','.join(sorted(set(args) & {'create', 'update', 'destroy'}))}".strip() for name, args, _ in calls
        ]
        return ";".join(labels), any(name.endswith("/set") for name, *_ in calls)

    # -- who asks -----------------------------------------------------------------------

    async def principal(self, header: str) -> tuple[str, Record | None] | None:
        """(name, account) of a header: the recovery admin, an API key, a password or a directory's token."""
        scheme, _, value = header.partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            if (user.lower(), password) == self.admin:
                return "admin", None
            account = self.by_password(user, password)
            return (account["id"], account) if account else None
        if value.startswith("API_"):
            for key in self.objects.by_type["ApiKey"].values():
                if key["_secret"] == value:
                    account = self.objects.by_type["Account"].get(key["accountId"])
                    return (account["id"], account) if account else None
        return await self._by_token(value)

    def by_password(self, user: str, password: str) -> Record | None:
        """The account of an address and password."""
        kind, key = self.objects.addresses.get(user.lower(), ("", ""))
        account = self.objects.by_type["Account"].get(key) if kind == "Account" else None
        secrets = [credential["secret"] for credential in account["credentials"].values()] if account else []
        return account if password in secrets else None

    def may_log_in(self, account: Record) -> bool:
        """Whether no role of the account, however deep, refuses it."""
        return "authenticate" not in self.disabled(account)

    def disabled(self, account: Record) -> set[str]:
        """Every permission that a role of the account takes away."""
        found: set[str] = set()
        waiting = list(account["roles"].get("roleIds", {}))
        while waiting:
            role = self.objects.by_type["Role"].get(waiting.pop())
            if role:
                found |= set(role["disabledPermissions"])
                waiting += role["roleIds"]
        return found

    async def _by_token(self, token: str) -> tuple[str, Record | None] | None:
        """A directory's access token: signature, issuer, audience and user name are checked for real."""
        directory = self.objects.by_type["Directory"].get(
            self.objects.singletons["Authentication"]["directoryId"] or ""
        )
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
        kind, found = self.objects.addresses.get(str(claims.get("preferred_username", "")).lower(), ("", ""))
        account = self.objects.by_type["Account"].get(found) if kind == "Account" else None
        return (account["id"], account) if account else None

    async def _caller(self, request: web.Request) -> tuple[str, Record | None] | web.Response:
        found = await self.principal(request.headers.get("Authorization", ""))
        if found is None:
            self.failures += 1
            realm = 'Bearer realm="Stalwart Server", Basic realm="Stalwart Server"'
            return web.json_response(UNAUTHORIZED, status=401, headers={"WWW-Authenticate": realm})
        if found[1] is not None and not self.may_log_in(found[1]):
            return web.json_response(FORBIDDEN, status=403)
        return found

    # -- HTTP -------------------------------------------------------------------------------

    async def _session(self, request: web.Request) -> web.Response:
        """200 for everybody; only the accounts tell whether the credential was taken (facts/stalwart.md 11.1)."""
        if "Authorization" not in request.headers:
            return web.json_response({"accounts": {}, "primaryAccounts": {}, "username": ""})
        caller = await self._caller(request)
        if isinstance(caller, web.Response):
            return caller
        account = caller[0] if caller[1] else "d333333"
        return web.json_response(
            {"accounts": {account: {}}, "primaryAccounts": {"urn:stalwart:jmap": account}, "username": caller[0]}
        )

    async def _account(self, request: web.Request) -> web.Response:
        caller = await self._caller(request)
        if isinstance(caller, web.Response):
            return caller
        return web.json_response({"permissions": sorted(SERVICE_RIGHTS), "edition": "oss", "locale": "POSIX"})

    async def _schema(self, request: web.Request) -> web.Response:
        caller = await self._caller(request)
        if isinstance(caller, web.Response):
            return caller
        return web.Response(status=302, headers={"Location": "/api/schema/25gnm1_xB9bP"})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _jmap(self, request: web.Request) -> web.Response:
        caller = await self._caller(request)
        if isinstance(caller, web.Response):
            return caller
        name, account = caller
        if account is not None and (refused := self._limited(name)):
            return refused
        self._active[name] += 1
        try:
            if account is not None and self._active[name] > AT_ONCE:
                return _limit("maxConcurrentRequests")
            return await self._answer(request, account)
        finally:
            self._active[name] -= 1

    def _limited(self, name: str) -> web.Response | None:
        """Per user and minute, for callers without admin rights."""
        now = time.monotonic()
        used = self._used[name] = [at for at in self._used[name] if now - at < 60]
        if len(used) >= self.rate_limit:
            headers = {
                "Retry-After": "1",
                "RateLimit-Policy": f'"requests";q={self.rate_limit}',
                "RateLimit": '"requests";r=0;t=1',
            }
            return web.json_response(
                {"type": "about:blank", "status": 429, "title": "Too Many Requests"}, status=429, headers=headers
            )
        used.append(now)
        return None

    async def _answer(self, request: web.Request, account: Record | None) -> web.Response:
        raw = await request.read()
        try:
            calls = json.loads(raw)["methodCalls"]
        except (ValueError, KeyError, TypeError):
            # The real one repeats the whole body here, secrets included: that is why bodies are never logged.
            body = {
                "type": "urn:ietf:params:jmap:error:notRequest",
                "status": 400,
                "detail": raw.decode(errors="replace"),
            }
            return web.json_response(body, status=400)
        if len(calls) > CALLS:
            return _limit("maxCallsInRequest")
        created: dict[str, str] = {}
        responses = [self._call(name, arguments, tag, account, created) for name, arguments, tag in calls]
        return web.json_response({"methodResponses": responses, "sessionState": "0", "createdIds": created})

    # -- methods ---------------------------------------------------------------------------------

    def _call(
        self, name: str, arguments: Record, tag: str, account: Record | None, created: dict[str, str]
    ) -> list[Any]:
        try:
            kind, _, act = name.removeprefix("x:").partition("/")
            if kind not in {*DEFAULTS, *SINGLETONS, "Action", "Task", "AppPassword"} or act not in {
                "get",
                "query",
                "set",
            }:
                raise MethodError("unknownMethod")  # noqa: TRY301 - answered below like every other
            self._allowed(kind, act, arguments, account)
            answer = getattr(self, f"_{act}")(kind, arguments, created)
        except MethodError as error:
            return ["error", error.error, tag]
        return [name, {"accountId": arguments.get("accountId", "d333333"), **answer}, tag]

    def _allowed(self, kind: str, act: str, arguments: Record, account: Record | None) -> None:
        if account is None:
            return
        held = {permission for role in account["roles"].get("roleIds", {}) for permission in self._enabled(role)}
        verbs = {
            "get": ["Get"],
            "query": ["Query"],
            "set": [word.title() for word in ("create", "update", "destroy") if word in arguments],
        }
        missing = [verb for verb in verbs[act] if f"sys{kind}{verb}" not in held]
        if missing:
            raise MethodError("forbidden", "You do not have enough permissions to perform this action.")

    def _enabled(self, role: str) -> set[str]:
        found = self.objects.by_type["Role"].get(role)
        if found is None:
            return set()
        inherited = {permission for parent in found["roleIds"] for permission in self._enabled(parent)}
        return inherited | set(found["enabledPermissions"])

    def _get(self, kind: str, arguments: Record, _: dict[str, str]) -> Record:
        if kind in SINGLETONS:
            return {"list": [self.objects.singletons[kind]], "notFound": []}
        ids = arguments.get("ids")
        if ids is None:
            ids = sorted(self.objects.by_type[kind], key=decode)[:OBJECTS]  # without saying that there are more
        if len(ids) > OBJECTS:
            raise MethodError("requestTooLarge")
        records = self.objects.by_type[kind]
        wanted = arguments.get("properties")
        if kind == "ApiKey":
            # Keys are seen account by account; without an account the caller's own, and the recovery admin has none.
            records = {key: one for key, one in records.items() if one["accountId"] == arguments.get("accountId")}
        found = [self.objects.shown(kind, records[key]) for key in ids if key in records]
        if wanted:
            found = [{key: value for key, value in one.items() if key in {"id", *wanted}} for one in found]
        return {"list": found, "notFound": [key for key in ids if key not in records]}

    def _query(self, kind: str, arguments: Record, _: dict[str, str]) -> Record:
        filters = arguments.get("filter") or {}
        if "operator" in filters or set(filters) - INDEXED.get(kind, set()):
            raise MethodError("unsupportedFilter")
        ids = sorted(self._matching(kind, filters), key=decode)
        ascending = bool(arguments.get("sort")) and arguments["sort"][0].get("isAscending", True)
        limit, position = arguments.get("limit"), arguments.get("position", 0)
        if not ascending and limit and not arguments.get("calculateTotal"):
            # The lowest ids instead of the page asked for: rows repeat and others are lost (facts/stalwart.md 11.0.1).
            page = ids[:limit][::-1]
        else:
            ordered = ids if ascending else ids[::-1]
            page = ordered[position : position + limit] if limit else ordered[position:]
        return {"ids": page, "queryState": "n", "canCalculateChanges": True, "position": position}

    def _matching(self, kind: str, filters: Record) -> list[str]:
        """AND of indexed properties; text filters go by words and give supersets."""
        found: set[str] | None = None
        for field, value in filters.items():
            hits = self._hits(kind, field, value)
            found = hits if found is None else found & hits
        return list(self.objects.by_type[kind]) if found is None else list(found)

    def _hits(self, kind: str, field: str, value: str) -> set[str]:
        records = self.objects.by_type[kind]
        if field == "domainId":
            return set(self.objects.under[kind, value])
        if kind == "Domain" and field == "name":
            key = self.objects.names.get(value)  # case-sensitive, and aliases are another index
            return {key} if key and records[key]["name"] == value else set()
        if kind == "Role":
            sets = [set(self.objects.words[word]) for word in words(value)]
            return set.intersection(*sets) if sets else set()
        if field == "text":
            wanted = set(words(value))
            return {key for key, one in records.items() if wanted <= set(words(self._text(kind, one)))}
        return {key for key, one in records.items() if one.get(field) == value}

    def _text(self, kind: str, record: Record) -> str:
        domain = self.objects.by_type["Domain"].get(record.get("domainId", ""), {}).get("name", "")
        return f"{record.get('name', '')} {record.get('description') or ''} {domain if kind == 'MailingList' else ''}"

    def _set(self, kind: str, arguments: Record, created: dict[str, str]) -> Record:
        total = sum(len(arguments.get(verb) or ()) for verb in ("create", "update", "destroy"))
        if total > OBJECTS:
            raise MethodError("requestTooLarge")
        answer: Record = {}
        self._create_all(kind, arguments, created, answer)
        for key, patch in (arguments.get("update") or {}).items():
            self._attempt(
                answer, "updated", "notUpdated", key, lambda key=key, patch=patch: self._update(kind, key, patch)
            )
        for key in arguments.get("destroy") or ():
            try:
                self.objects.destroy(kind, key)
                answer.setdefault("destroyed", []).append(key)
            except SetError as error:
                answer.setdefault("notDestroyed", {})[key] = error.error
        return answer

    def _create_all(self, kind: str, arguments: Record, created: dict[str, str], answer: Record) -> None:
        for label, body in (arguments.get("create") or {}).items():
            resolved = _resolved(body, created)

            def make(resolved: Record = resolved, label: str = label) -> Record:
                made = self._made(kind, resolved, arguments)
                created[label] = made["id"]
                return made

            self._attempt(answer, "created", "notCreated", label, make)

    def _made(self, kind: str, body: Record, arguments: Record) -> Record:
        if kind == "Action":
            if body.get("@type") == "ReloadSettings":
                # Settings are only stored until now (facts/stalwart.md 2.2).
                self.rate_limit = self.objects.singletons["Http"]["rateLimitAuthenticated"]["count"]
            return {"id": uuid.uuid4().hex[:8]}
        if kind == "ApiKey":
            secret = "API_" + base64.urlsafe_b64encode(uuid.uuid4().bytes * 2).decode().rstrip("=")
            record = self.objects.create(kind, {**body, "accountId": arguments.get("accountId"), "_secret": secret})
            return {"id": record["id"], "secret": secret}
        return {"id": self.objects.create(kind, body)["id"]}

    def _update(self, kind: str, key: str, patch: Record) -> None:
        if kind in SINGLETONS:
            self.objects.singletons[kind].update(patch)
            return
        self.objects.update(kind, key, patch)

    @staticmethod
    def _attempt(answer: Record, good: str, bad: str, key: str, act: Any) -> None:
        try:
            answer.setdefault(good, {})[key] = act()
        except SetError as error:
            answer.setdefault(bad, {})[key] = error.error


def _resolved(value: Any, created: dict[str, str]) -> Any:
    """References to things created before in the same request, also as keys of a map."""
    if isinstance(value, dict):
        return {_resolved(key, created): _resolved(inner, created) for key, inner in value.items()}
    if isinstance(value, str) and value.startswith("#") and value[1:] in created:
        return created[value[1:]]
    return value


def _limit(name: str) -> web.Response:
    body = {"type": "urn:ietf:params:jmap:error:limit", "status": 400, "detail": name, "limit": name}
    return web.json_response(body, status=400)
