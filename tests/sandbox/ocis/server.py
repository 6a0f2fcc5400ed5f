"""The OCIS stand-in: LibreGraph, WebDAV, sign-in by Authentik's tokens or, in tests, by password."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import jwt
from aiohttp import web

from tests.sandbox.ocis.audit import AuditFile
from tests.sandbox.ocis.store import (
    DEFAULT_QUOTA,
    EDITOR,
    FORBIDDEN,
    MANAGER,
    ROLES,
    STORAGE,
    VIEWER,
    Space,
    Store,
    User,
    password_refusal,
    until_of,
)
from tests.sandbox.ocis.webdav import VERBS
from tests.sandbox.standin import StandIn

Handler = Callable[[web.Request, User], Awaitable[web.Response]]
MAPPED = ("ocisAdmin", "ocisSpaceAdmin", "ocisUser", "ocisGuest")
LINK_FIELDS = {"type", "expirationDateTime", "password", "displayName", "@libre.graph.quickLink"}
DRIVE_FIELDS = {"id", "name", "driveType", "description", "driveAlias", "quota", "special"}
AUDITED = {"MKCOL": "container_create", "PUT": "file_create", "GET": "file_read", "DELETE": "file_delete"}
CAN_ADMIN_DRIVES = {"ocisAdmin", "ocisSpaceAdmin"}


class RefusedError(Exception):
    """An error answer of LibreGraph."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class OcisStandIn(StandIn):
    """OCIS as a client sees it. ``store`` is there for assertions.

    With ``issuer`` users are made from the tokens of that issuer, and Basic no longer works for anybody
    (facts/ocis.md 2.1). ``sync_every`` is how long memberships from claims are not looked at again, in seconds.
    ``audit_file`` is where its audit service writes to; without it that service does not run, as by default.
    """

    name = "ocis"

    def __init__(
        self,
        *,
        admin: tuple[str, str] = ("admin", "admin-password"),
        issuer: str | None = None,
        sync_every: float = 300.0,
        audit_file: Path | None = None,
    ) -> None:
        super().__init__()
        self.store = Store(admin)
        self.audit = AuditFile(audit_file)
        self.issuer, self.sync_every = issuer, sync_every
        self._claims: dict[str, dict[str, Any]] = {}
        self._keys: jwt.PyJWKSet | None = None
        self._add_routes()

    def _add_routes(self) -> None:
        add = self.app.router.add_route
        for graph in ("/graph/v1.0", "/graph/v1beta1"):
            add("GET", f"{graph}/me", self._signed_in(self._me))
            add("GET", f"{graph}/drives", self._signed_in(self._drives))
            add("POST", f"{graph}/drives", self._signed_in(self._create_drive))
            add("GET", f"{graph}/me/drives", self._signed_in(self._my_drives))
            for method, handler in (("GET", self._drive), ("PATCH", self._patch_drive), ("DELETE", self._delete_drive)):
                add(method, f"{graph}/drives/{{id}}", self._signed_in(handler))
        add("POST", "/graph/v1beta1/drives/{id}/root/invite", self._signed_in(self._invite))
        add("GET", "/graph/v1beta1/drives/{id}/root/permissions", self._signed_in(self._permissions))
        add("PATCH", "/graph/v1beta1/drives/{id}/root/permissions/{grant}", self._signed_in(self._patch_permission))
        add("DELETE", "/graph/v1beta1/drives/{id}/root/permissions/{grant}", self._signed_in(self._drop_permission))
        for item in ("root", "items/{item}"):
            add("POST", f"/graph/v1beta1/drives/{{id}}/{item}/createLink", self._signed_in(self._create_link))
        add("GET", "/graph/v1beta1/roleManagement/permissions/roleDefinitions", self._signed_in(self._roles))
        add("POST", "/graph/v1.0/groups", self._signed_in(self._create_group))
        add("GET", "/graph/v1.0/groups", self._signed_in(self._all_groups))
        add("GET", "/graph/v1.0/groups/{id}", self._signed_in(self._group))
        add("DELETE", "/graph/v1.0/groups/{id}", self._signed_in(self._delete_group))
        add("GET", "/graph/v1.0/groups/{id}/members", self._signed_in(self._group_members))
        add("POST", "/graph/v1.0/groups/{id}/members/$ref", self._signed_in(self._add_member))
        add("POST", "/graph/v1.0/users", self._signed_in(self._create_user))
        add("GET", "/graph/v1.0/users", self._signed_in(self._all_users))
        add("GET", "/graph/v1.0/users/{id}", self._signed_in(self._user))
        add("DELETE", "/graph/v1.0/users/{id}", self._signed_in(self._delete_user))
        for prefix in ("/dav/spaces", "/remote.php/dav/spaces"):
            add("*", f"{prefix}/{{id}}", self._signed_in(self._webdav))
            add("*", f"{prefix}/{{id}}/{{path:.*}}", self._signed_in(self._webdav))
        add("*", "/dav/public-files/{token}", self._public)
        add("GET", "/status.php", self._status)
        add("GET", "/health", self._health)
        add("POST", "/backchannel_logout", self._backchannel_logout)

    def kept(self) -> tuple[object, ...]:
        """Users, groups, spaces and files. Keys and claims once verified stay true."""
        return (self.store,)

    # -- signing in --------------------------------------------------------------------

    def _signed_in(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            try:
                user = await self._who(request)
                if user is None:
                    return web.Response(status=401)  # the proxy's, with an empty body
                return await handler(request, user)
            except RefusedError as refused:
                inner = {"date": "2026-11-24T00:00:00Z", "request-id": uuid.uuid4().hex}
                error = {"code": refused.code, "message": refused.message, "innererror": inner}
                return web.json_response({"error": error}, status=refused.status)

        return guarded

    async def _who(self, request: web.Request) -> User | None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, password = base64.b64decode(value).decode().partition(":")
            user = self.store.user(name)
            if user is None or user.password != password:
                return None
            if self.issuer is not None:
                raise RefusedError(500, "generalException", "missing claim 'name' (displayName)")
            return user
        if scheme == "Bearer" and self.issuer is not None:
            return await self._by_token(value)
        return None

    async def _by_token(self, token: str) -> User | None:
        """Claims are kept until the token ends, also when the user is blocked meanwhile (facts/ocis.md 2.5)."""
        claims = self._claims.get(token)
        if claims is None or claims["exp"] < time.time():
            claims = await self._verified(token)
            if claims is None:
                return None
            self._claims[token] = claims
        role = next((name for name in MAPPED if name in claims.get("roles", ())), None)
        if role is None:
            raise RefusedError(500, "generalException", "no roles in user claims")
        user = self.store.user(claims["preferred_username"])
        if user is None:
            user = self.store.add_user(
                claims["preferred_username"], display=claims["name"], role=role, mail=claims.get("email", "")
            )
        user.role = role
        self._sync(user, claims.get("groups", []))
        return user

    def _sync(self, user: User, names: list[str]) -> None:
        """The claim is the truth: groups in it are joined (and made), others left; at most every ``sync_every`` s."""
        if user.synced and time.monotonic() - user.synced < self.sync_every:
            return
        user.synced = time.monotonic()
        user.groups = {self.store.group_ids.get(name) or self.store.add_group(name) for name in names}

    async def _verified(self, token: str) -> dict[str, Any] | None:
        try:
            if self._keys is None:
                self._keys = await self._fetch_keys()
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            return dict(jwt.decode(token, key, algorithms=["RS256"], issuer=self.issuer, options={"verify_aud": False}))
        except (jwt.PyJWTError, KeyError, aiohttp.ClientError):
            return None

    async def _fetch_keys(self) -> jwt.PyJWKSet:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{self.issuer}.well-known/openid-configuration") as answer:
                document = await answer.json()
            async with http.get(document["jwks_uri"]) as answer:
                return jwt.PyJWKSet.from_dict(await answer.json())

    # -- drives --------------------------------------------------------------------------

    async def _me(self, _: web.Request, user: User) -> web.Response:
        return web.json_response(_shown_user(user))

    async def _drives(self, request: web.Request, user: User) -> web.Response:
        """Filters but by driveType are ignored: everything comes back."""
        wanted = request.query.get("$filter", "")
        if " and " in wanted or " or " in wanted:
            raise RefusedError(501, "notSupported", "unsupported filter")
        if user.role not in CAN_ADMIN_DRIVES:
            raise RefusedError(403, "accessDenied", "insufficient permissions")
        kind = "project" if "driveType eq 'project'" in wanted else None
        found = [space for space in self.store.spaces.values() if kind is None or space.kind == kind]
        return web.json_response({"value": [self._shown(space, request) for space in found]})

    async def _my_drives(self, request: web.Request, user: User) -> web.Response:
        mine = [space for space in self.store.spaces.values() if not space.disabled and self.store.role_of(user, space)]
        return web.json_response({"value": [self._shown(space, request) for space in mine]})

    def _shown(self, space: Space, request: web.Request) -> dict[str, Any]:
        return space.shown(self.url, beta="v1beta1" in request.path, groups=self.store.groups)

    def _found(self, request: web.Request) -> Space:
        space = self.store.spaces.get(_bare(request.match_info["id"]))
        if space is None:
            raise RefusedError(404, "itemNotFound", "no drive returned from storage")
        return space

    async def _drive(self, request: web.Request, user: User) -> web.Response:
        space = self._found(request)
        role = self.store.role_of(user, space)
        seen = role == MANAGER if space.disabled else role is not None
        if user.role not in CAN_ADMIN_DRIVES and not seen:
            raise RefusedError(404, "itemNotFound", "no drive returned from storage")
        return web.json_response(self._shown(space, request))

    async def _create_drive(self, request: web.Request, user: User) -> web.Response:
        body = await _strict(request, DRIVE_FIELDS)
        if user.role not in CAN_ADMIN_DRIVES:
            raise RefusedError(403, "accessDenied", "insufficient permissions to create a space.")
        if body.get("driveType", "project") != "project":
            raise RefusedError(400, "invalidRequest", "invalid drive type")
        name = _name(body.get("name"))
        key = body.get("id") or str(uuid.uuid4())
        if key in self.store.spaces:
            raise RefusedError(500, "generalException", "already exists")  # also when the existing one is disabled
        self.store.spaces[key] = space = Space(
            id=key,
            name=name,
            alias=body.get("driveAlias") or f"project/{name.lower().replace(' ', '-')}",
            description=body.get("description", ""),
            quota=(body.get("quota") or {}).get("total", DEFAULT_QUOTA),
            grants={f"u:{user.id}": MANAGER},
        )
        self.audit.space_created(user, space)
        return web.json_response(self._shown(space, request), status=201)

    async def _patch_drive(self, request: web.Request, user: User) -> web.Response:
        body = await _strict(request, DRIVE_FIELDS)
        space = self._found(request)
        if not self._manages(user, space):
            raise RefusedError(404, "itemNotFound", "no drive returned from storage")
        if _flag(request, "Restore"):
            space.disabled = False
            self.audit.space_switched(user, space, "space_enabled")
            return web.json_response(self._shown(space, request))
        total = (body.get("quota") or {}).get("total")
        space.name = _name(body["name"]) if "name" in body else space.name
        space.alias = body.get("driveAlias", space.alias)
        space.description = body.get("description", space.description)
        if total is not None and total < 0:
            space.poisoned = True
        elif total is not None:
            space.quota, space.poisoned = total, False
        if space.poisoned:
            raise RefusedError(500, "generalException", "quota must not be negative")
        if body:
            self.audit.space_patched(user, space, renamed="name" in body)
        return web.json_response(self._shown(space, request))

    async def _delete_drive(self, request: web.Request, user: User) -> web.Response:
        space = self._found(request)
        if not self._manages(user, space):
            raise RefusedError(
                403 if self.store.role_of(user, space) else 404, "accessDenied", "insufficient permissions"
            )
        if not _flag(request, "Purge"):
            space.disabled = True
            self.audit.space_switched(user, space, "space_disabled")
            return web.Response(status=204)
        if not space.disabled:
            raise RefusedError(400, "invalidRequest", "can't purge enabled space")
        del self.store.spaces[space.id]
        self.audit.space_switched(user, space, "space_deleted")
        return web.Response(status=204)

    def _manages(self, user: User, space: Space) -> bool:
        return user.role in CAN_ADMIN_DRIVES or self.store.role_of(user, space) == MANAGER

    # -- grants and links ----------------------------------------------------------------------

    def _open_space(self, request: web.Request, user: User) -> Space:
        """404 while disabled, and for everybody who is no member, an Admin too."""
        space = self._found(request)
        if space.disabled or self.store.role_of(user, space) is None:
            raise RefusedError(404, "itemNotFound", "no drive returned from storage")
        return space

    async def _invite(self, request: web.Request, user: User) -> web.Response:
        body = await _strict(request, {"recipients", "roles", "expirationDateTime"})
        space = self._open_space(request, user)
        if len(body.get("recipients", ())) != 1 or len(body.get("roles", ())) != 1 or body["roles"][0] not in ROLES:
            raise RefusedError(400, "invalidRequest", "exactly one recipient and one role expected")
        recipient = body["recipients"][0]
        kind = recipient.get("@libre.graph.recipient.type")
        known = self.store.users if kind == "user" else self.store.groups if kind == "group" else {}
        if recipient.get("objectId") not in known:
            raise RefusedError(400, "invalidRequest", "itemNotFound")
        key = f"{kind[0]}:{recipient['objectId']}"
        if key in space.grants:
            raise RefusedError(409, "nameAlreadyExists", "grant already exists")
        space.grants[key] = body["roles"][0]
        self.audit.member(user, space, key, "space_shared")
        return web.json_response({"value": [{"id": key, "roles": body["roles"]}]})

    async def _permissions(self, request: web.Request, user: User) -> web.Response:
        space = self._open_space(request, user)
        return web.json_response({"value": self._shown(space, request)["root"]["permissions"]})

    async def _patch_permission(self, request: web.Request, user: User) -> web.Response:
        body = await _strict(request, {"roles", "expirationDateTime"})
        space, key = self._open_space(request, user), request.match_info["grant"]
        if key not in space.grants:
            raise RefusedError(404, "itemNotFound", "permission not found")
        space.grants[key] = body["roles"][0]  # nothing audits this
        return web.json_response({"id": key, "roles": body["roles"]})

    async def _drop_permission(self, request: web.Request, user: User) -> web.Response:
        space, key = self._open_space(request, user), request.match_info["grant"]
        if key not in space.grants:
            raise RefusedError(500, "generalException", "error getting grant to remove")
        managers = [grant for grant, role in space.grants.items() if role == MANAGER]
        if managers == [key]:
            raise RefusedError(403, "accessDenied", "can't remove the last manager")
        del space.grants[key]
        self.audit.member(user, space, key, "space_unshared")
        return web.Response(status=204)

    async def _create_link(self, request: web.Request, user: User) -> web.Response:
        """Needs the right to give access, which an Editor has not, and by default a password."""
        body = await _strict(request, LINK_FIELDS)
        space = self._open_space(request, user)
        item = unquote(request.match_info.get("item", f"{STORAGE}${space.id}!{space.id}"))
        drive = unquote(request.match_info["id"])
        if "item" in request.match_info and item.partition("!")[0] != drive:
            raise RefusedError(404, "itemNotFound", "driveID and itemID do not match")
        if item not in {space.node(path) for path in ("", *space.folders, *space.files)}:
            raise RefusedError(404, "itemNotFound", "resource not found")
        if self.store.role_of(user, space) != MANAGER:
            raise RefusedError(400, "invalidRequest", "no share permission")
        until = until_of(body.get("expirationDateTime"))
        if until < time.time():
            raise RefusedError(400, "invalidRequest", "expiration date is in the past")
        if refusal := password_refusal(body.get("password") or ""):
            raise RefusedError(400, "invalidRequest", refusal)
        link = self.store.add_link(space, item, body["password"], until, user)
        shown = {"type": body.get("type", "view"), "webUrl": f"{self.url}/s/{link.token}"}
        share_id = str(uuid.uuid4())
        self.audit.link_created(user, link, share_id, body.get("expirationDateTime") or "")
        return web.json_response({"id": share_id, "hasPassword": True, "link": shown})

    async def _public(self, request: web.Request) -> web.Response:
        """A link after its end, or into a disabled space, is not found; the password is looked at before that."""
        link = self.store.links.get(request.match_info["token"])
        if link is None or link.until < time.time():
            return web.Response(status=404)
        if (
            request.headers.get("Authorization")
            != "Basic " + base64.b64encode(f"public:{link.password}".encode()).decode()
        ):
            self.audit.link_accessed(link, success=False)
            return web.Response(status=401)
        space = self.store.spaces.get(link.space)
        if space is None or space.disabled:
            return web.Response(status=404)
        self.audit.link_accessed(link, success=True)
        return web.Response(status=207, text="<d:multistatus xmlns:d='DAV:'/>", content_type="application/xml")

    async def _roles(self, _: web.Request, __: User) -> web.Response:
        names = {MANAGER: "Manager", EDITOR: "Space Editor", VIEWER: "Space Viewer"}
        return web.json_response([{"id": key, "displayName": name} for key, name in names.items()])

    # -- groups and users -------------------------------------------------------------------------

    def _require_admin(self, user: User) -> None:
        if user.role != "ocisAdmin":
            raise RefusedError(403, "accessDenied", "Forbidden")

    def _group_id(self, request: web.Request) -> str:
        key = unquote(request.match_info["id"])
        found = key if key in self.store.groups else self.store.group_ids.get(key)
        if found is None:
            raise RefusedError(404, "itemNotFound", "not found")
        return found

    async def _create_group(self, request: web.Request, user: User) -> web.Response:
        body = await _strict(request, {"displayName", "description", "members@odata.bind"})
        self._require_admin(user)
        if body["displayName"] in self.store.group_ids:
            raise RefusedError(409, "nameAlreadyExists", "group already exists")
        key = self.store.add_group(body["displayName"])
        self.audit.group(user, key, "group_created")
        return web.json_response({"id": key, "displayName": body["displayName"], "groupTypes": []}, status=201)

    async def _all_groups(self, _: web.Request, user: User) -> web.Response:
        """Without a search for administrators only; one answer, no pages."""
        self._require_admin(user)
        shown = [{"id": key, "displayName": name, "groupTypes": []} for key, name in self.store.groups.items()]
        return web.json_response({"value": shown})

    async def _all_users(self, _: web.Request, user: User) -> web.Response:
        """As groups."""
        self._require_admin(user)
        return web.json_response({"value": [_shown_user(found) for found in self.store.users.values()]})

    async def _group(self, request: web.Request, _: User) -> web.Response:
        key = self._group_id(request)
        return web.json_response({"id": key, "displayName": self.store.groups[key], "groupTypes": []})

    async def _delete_group(self, request: web.Request, user: User) -> web.Response:
        self._require_admin(user)
        key = self._group_id(request)
        self.store.drop_group(key)
        self.audit.group(user, key, "group_deleted")
        return web.Response(status=204)

    async def _group_members(self, request: web.Request, _: User) -> web.Response:
        key = self._group_id(request)
        return web.json_response([_shown_user(found) for found in self.store.users.values() if key in found.groups])

    async def _add_member(self, request: web.Request, user: User) -> web.Response:
        self._require_admin(user)
        body = await _strict(request, {"@odata.id"})
        member = self.store.user(body["@odata.id"].rpartition("/")[2])
        if member is None:
            raise RefusedError(404, "itemNotFound", "user not found")
        group = self._group_id(request)
        member.groups.add(group)
        self.audit.group_member_added(user, group, member)
        return web.Response(status=204)

    async def _create_user(self, request: web.Request, user: User) -> web.Response:
        fields = {
            "displayName",
            "onPremisesSamAccountName",
            "mail",
            "passwordProfile",
            "identities",
            "accountEnabled",
            "externalID",
        }
        body = await _strict(request, fields)
        self._require_admin(user)
        if self.store.user(body["onPremisesSamAccountName"]):
            raise RefusedError(409, "nameAlreadyExists", "user already exists")
        password = (body.get("passwordProfile") or {}).get("password")
        made = self.store.add_user(
            body["onPremisesSamAccountName"], display=body["displayName"], password=password, mail=body.get("mail", "")
        )
        self.audit.user(user, made, "user_created")
        return web.json_response(_shown_user(made), status=201)

    async def _delete_user(self, request: web.Request, user: User) -> web.Response:
        """The user's own space goes at once, without any trash (facts/ocis.md 2.4)."""
        self._require_admin(user)
        found = self.store.user(unquote(request.match_info["id"]))
        if found is None:
            raise RefusedError(404, "itemNotFound", "user not found")
        self.store.drop_user(found)
        self.audit.user(user, found, "user_deleted")
        return web.Response(status=204)

    async def _user(self, request: web.Request, _: User) -> web.Response:
        found = self.store.user(unquote(request.match_info["id"]))
        if found is None:
            raise RefusedError(404, "itemNotFound", "user not found")
        return web.json_response(_shown_user(found))

    # -- WebDAV and the rest ------------------------------------------------------------------------

    async def _webdav(self, request: web.Request, user: User) -> web.Response:
        """PROPFIND, PUT, GET, MKCOL and DELETE by role: no role or disabled is 404, a Viewer may not write.

        A PUT into a disabled space is 409 (facts/ocis.md 3).
        """
        space = self.store.spaces.get(_bare(request.match_info["id"]))
        role = self.store.role_of(user, space) if space else None
        if space is None or role is None:
            return web.Response(status=404)
        if space.disabled:
            return web.Response(status=409 if request.method == "PUT" else 404)
        if request.method in {"PUT", "DELETE", "MKCOL"} and role not in {MANAGER, EDITOR}:
            return web.Response(status=403)
        act = VERBS.get(request.method)
        if act is None:
            return web.Response(status=405)
        answer = await act(space, request)
        if (action := AUDITED.get(request.method)) and answer.status < 300:
            self.audit.file(user, space, request.match_info.get("path", "").strip("/"), action)
        return answer

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"installed": True, "maintenance": False, "productname": "Infinite Scale", "productversion": "7.3.0"}
        )

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html>", content_type="text/html")  # says nothing: the web page answers here

    async def _backchannel_logout(self, _: web.Request) -> web.Response:
        self._claims.clear()
        return web.Response(status=200)


def _shown_user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "displayName": user.display,
        "mail": user.mail,
        "onPremisesSamAccountName": user.name,
        "accountEnabled": user.enabled,
        "userType": "Member",
    }


def _bare(key: str) -> str:
    return unquote(key).rpartition("$")[2].partition("!")[0]


def _flag(request: web.Request, name: str) -> bool:
    return request.headers.get(name, "") in {"T", "t", "true", "True", "TRUE", "1"}


def _name(name: object) -> str:
    text = str(name or "").strip()
    if not 1 <= len(text.encode()) <= 255 or FORBIDDEN & set(text):
        raise RefusedError(400, "invalidRequest", "invalid space name")
    return text


async def _strict(request: web.Request, known: set[str]) -> dict[str, Any]:
    """Bodies are decoded strictly: nothing empty, nothing unknown (facts/ocis.md 2)."""
    raw = await request.read()
    if not raw:
        raise RefusedError(400, "invalidRequest", "invalid request body: EOF")
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise RefusedError(400, "invalidRequest", "invalid request body") from error
    if unknown := set(body) - known:
        raise RefusedError(400, "invalidRequest", f"json: unknown field {min(unknown)!r}")
    return dict(body)


__all__ = ["STORAGE", "OcisStandIn"]
