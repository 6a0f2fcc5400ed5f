"""The REST API under /api/v3: who may, what is refused how, and what answers look like (facts/authentik.md 2, 3, 11)."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.sandbox.authentik.kinds import KINDS, Kind, Record
from tests.sandbox.authentik.store import Store

PAGE, LONGEST_PAGE = 20, 100


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    user: Record
    superuser: bool


class Api:
    """Handlers of all collections."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add_routes(self, app: web.Application) -> None:
        """Every collection, and the actions beside them. Actions first: their paths would match a key."""
        add = app.router.add_route
        add("GET", "/api/v3/admin/version/", self._guarded(self.version))
        add("PATCH", "/api/v3/admin/settings/", self._guarded(self.settings))
        add("GET", "/api/v3/admin/settings/", self._guarded(self.settings))
        add("POST", "/api/v3/core/groups/{key}/add_user/", self._guarded(self.add_user))
        add("POST", "/api/v3/core/groups/{key}/remove_user/", self._guarded(self.remove_user))
        add("POST", "/api/v3/core/users/service_account/", self._guarded(self.service_account))
        add("POST", "/api/v3/core/users/{key}/set_password/", self._guarded(self.set_password))
        add("POST", "/api/v3/core/users/{key}/recovery/", self._guarded(self.recovery))
        add("GET", "/api/v3/core/tokens/{key}/view_key/", self._guarded(self.view_key))
        add("POST", "/api/v3/core/tokens/{key}/set_key/", self._guarded(self.set_key))
        add("POST", "/api/v3/crypto/certificatekeypairs/generate/", self._guarded(self.generate))
        add("GET", "/api/v3/core/authenticated_sessions/", self._guarded(self.list_sessions))
        add("DELETE", "/api/v3/core/authenticated_sessions/bulk_delete/", self._guarded(self.end_sessions))
        add("GET", "/api/v3/rbac/permissions/", self._guarded(self.permissions))
        add("POST", "/api/v3/rbac/permissions/assigned_by_roles/{key}/assign/", self._guarded(self.assign))
        add("GET", "/api/v3/events/events/", self._guarded(self.list_events))
        for kind in KINDS.values():
            add("GET", f"/api/v3/{kind.path}/", self._guarded(self._list(kind)))
            add("POST", f"/api/v3/{kind.path}/", self._guarded(self._create(kind)))
            for method in ("GET", "PUT", "PATCH", "DELETE"):
                add(method, f"/api/v3/{kind.path}/{{key}}/", self._guarded(self._one(kind)))

    # -- the frame --------------------------------------------------------------------

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            try:
                caller = self._caller(request)
                status, body = await handler(request, caller)
            except Refused as refused:
                status, body = refused.status, refused.body
            headers = {"X-authentik-id": uuid.uuid4().hex}
            if body is None:
                return web.Response(status=status, headers=headers)
            return web.json_response(body, status=status, headers=headers)

        return guarded

    def _caller(self, request: web.Request) -> Caller:
        """A bad, missing or wrong kind of token is 403, never 401 (facts/authentik.md 0.11)."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for identifier, known in self.store.token_keys.items():
            token = self.store.get("token", identifier)
            if known == key and token and token["intent"] == "api":
                user = self.store.get("user", token["user"])
                if user and user["is_active"]:
                    return Caller(user, self.store.is_superuser(user))
        raise Refused(403, {"detail": "Token invalid/expired"})

    def _may(self, caller: Caller, action: str, kind: Kind, record: Record | None = None) -> bool:
        if caller.superuser:
            return True
        codename = f"{kind.app}.{action}_{kind.name}"
        if codename in self._permissions(caller.user):
            return True
        return record is not None and (caller.user["pk"], codename, str(record["pk"])) in self.store.object_permissions

    def _permissions(self, user: Record) -> set[str]:
        found: set[str] = set()
        for group in self.store.all_groups_of(user):
            for role in (self.store.get("group", group) or {}).get("roles", ()):
                found |= self.store.global_permissions[role]
        for role in user.get("roles", ()):
            found |= self.store.global_permissions[role]
        return found

    def _require(self, caller: Caller, action: str, kind: Kind, record: Record | None = None) -> None:
        if not self._may(caller, action, kind, record):
            raise Refused(403, {"detail": "You do not have permission to perform this action."})

    # -- collections --------------------------------------------------------------------

    def _list(self, kind: Kind) -> Any:
        async def handler(request: web.Request, caller: Caller) -> tuple[int, Any]:
            if not self._may(caller, "view", kind):
                raise Refused(403, {"detail": "You do not have permission to perform this action."})
            found = self._filtered(kind, request.query)
            count = len(found)
            if kind.name == "application" and not (caller.superuser and "superuser_full_list" in request.query):
                # Shows what the caller may open, not what there is: the count is right, the rows are missing.
                found = [app for app in found if caller.superuser and self.store.may_use(caller.user, app)]
            return 200, self._page(kind, found, request, count=count)

        return handler

    def _filtered(self, kind: Kind, query: Any) -> list[Record]:
        """Unknown filters are ignored, and everything comes back (facts/authentik.md 0.1)."""
        for field in kind.unique:
            if field in query and field in kind.filters:
                found = self.store.find(kind.name, field, query[field])
                return [found] if found else []
        if kind.name == "user" and ("groups_by_pk" in query or "groups_by_name" in query):
            return self._users_of(query)
        found_all = list(self.store.objects[kind.name].values())
        for field in kind.filters:
            if field in query:
                found_all = [record for record in found_all if _text(record.get(field)) == query[field]]
        if kind.name == "user" and "path_startswith" in query:
            start = query["path_startswith"]
            found_all = [user for user in found_all if user["path"] == start or user["path"].startswith(f"{start}/")]
        if "attributes" in query:
            wanted = json.loads(query["attributes"])
            found_all = [
                record
                for record in found_all
                if all(record["attributes"].get(key) == value for key, value in wanted.items())
            ]
        return found_all

    def _users_of(self, query: Any) -> list[Record]:
        pk = query.get("groups_by_pk")
        if pk is None:
            group = self.store.find("group", "name", query["groups_by_name"])
            pk = group["pk"] if group else None
        return [self.store.objects["user"][str(user)] for user in sorted(self.store.members.get(pk, ()))]

    def _page(self, kind: Kind, found: list[Record], request: web.Request, *, count: int) -> Record:
        size = int(request.query.get("page_size", PAGE)) or PAGE
        size = min(size, LONGEST_PAGE)
        page = int(request.query.get("page", 1))
        total = max((len(found) + size - 1) // size, 1)
        if page > total or page < 1:
            raise Refused(404, {"detail": "Invalid page."})
        rows = found[(page - 1) * size : page * size]
        return {
            "pagination": {
                "next": page + 1 if page < total else 0,
                "previous": page - 1,
                "count": count,
                "current": page,
                "total_pages": total,
                "start_index": (page - 1) * size + 1 if rows else 0,
                "end_index": (page - 1) * size + len(rows),
            },
            "results": [self.shown(kind, row, request) for row in rows],
            "autocomplete": {},
        }

    def _create(self, kind: Kind) -> Any:
        async def handler(request: web.Request, caller: Caller) -> tuple[int, Any]:
            self._require(caller, "add", kind)
            body = await _body(request)
            fields = self._checked(kind, body, None, partial=False)
            record = self.store.insert(kind.name, fields)
            self._grant_initial(caller, kind, record)
            self.store.event("model_created", caller.user, {"model": kind.name, "pk": str(record["pk"])})
            return 201, self.shown(kind, record, request)

        return handler

    def _one(self, kind: Kind) -> Any:
        async def handler(request: web.Request, caller: Caller) -> tuple[int, Any]:
            record = self._found(kind, request.match_info["key"])
            if request.method == "GET":
                if not self._may(caller, "view", kind, record):
                    raise Refused(404, {"detail": f"No {kind.name.title()} matches the given query."})
                return 200, self.shown(kind, record, request)
            self._require(caller, "delete" if request.method == "DELETE" else "change", kind, record)
            if request.method == "DELETE":
                self.store.event("model_deleted", caller.user, {"model": kind.name, "pk": str(record["pk"])})
                self.store.remove(kind.name, record)
                return 204, None
            return 200, await self._changed(request, caller, kind, record)

        return handler

    async def _changed(self, request: web.Request, caller: Caller, kind: Kind, record: Record) -> Record:
        body = await _body(request)
        partial = request.method == "PATCH"
        if kind.name == "policybinding" and partial and "target" not in body:
            raise Refused(405, None)  # an AttributeError of the server, shown so (facts/authentik.md 0.7)
        if not partial:
            body = {**kind.defaults, **body}  # what is not sent is emptied, memberships included
        fields = self._checked(kind, body, record, partial=partial)
        self.store.update(kind.name, record, fields)
        for _ in range(3 if kind.name == "group" and "parents" in fields else 1):
            self.store.event("model_updated", caller.user, {"model": kind.name, "pk": str(record["pk"])})
        return self.shown(kind, record, request)

    def _found(self, kind: Kind, key: str) -> Record:
        record = self.store.get(kind.name, key)
        if record is None:
            raise Refused(404, {"detail": f"No {kind.name.title()} matches the given query."})
        return record

    # -- validation ------------------------------------------------------------------------

    def _checked(self, kind: Kind, body: Record, record: Record | None, *, partial: bool) -> Record:
        errors: Record = {}
        if not partial:
            errors |= {name: ["This field is required."] for name in kind.required if name not in body}
        fields = {key: value for key, value in body.items() if key not in kind.read_only}
        for field in kind.unique:
            other = self.store.find(kind.name, field, fields[field]) if fields.get(field) is not None else None
            if other is not None and other is not record:
                errors[field] = [f"{kind.name.title()} with this {field} already exists."]
        errors |= self._kind_errors(kind, fields)
        if errors:
            raise Refused(400, errors)  # duplicates are 400 too, never 409
        return fields

    def _kind_errors(self, kind: Kind, fields: Record) -> Record:
        if kind.name == "oauth2provider":
            return _provider_errors(self.store, fields)
        if kind.name == "policybinding":
            ends = [fields.get(name) for name in ("policy", "group", "user")]
            if sum(end is not None for end in ends) != 1:
                return {"non_field_errors": ["One of 'policy', 'group' or 'user' must be set."]}
            if not any(app["pk"] == fields.get("target") for app in self.store.objects["application"].values()):
                return {"target": [f'Invalid pk "{fields.get("target")}" - object does not exist.']}
        if kind.name == "group":
            missing = [pk for pk in fields.get("parents", ()) if not self.store.get("group", pk)]
            if missing:
                return {"parents": [f'Invalid pk "{missing[0]}" - object does not exist.']}
        if kind.name == "application" and fields.get("provider") is not None:
            if not self.store.get("oauth2provider", fields["provider"]):
                return {"provider": [f'Invalid pk "{fields["provider"]}" - object does not exist.']}
        if kind.name == "user" and (path := fields.get("path")) is not None:
            if not path or any(not part for part in path.split("/")):
                return {"path": ["No empty segments in user path allowed."]}
        return {}

    # -- what is shown ------------------------------------------------------------------------

    def shown(self, kind: Kind, record: Record, request: web.Request) -> Record:
        """The answer's form of an object."""
        out = {key: value for key, value in record.items() if not key.startswith("_")}
        if kind.name == "group":
            pks = sorted(self.store.members[record["pk"]])
            out["users"] = pks if request.query.get("include_users", "true") == "true" else None
            out |= {
                "num_pk": 1,
                "parents_obj": None,
                "users_obj": None,
                "roles_obj": [],
                "children": [],
                "children_obj": None,
            }
            out["inherited_roles_obj"] = None
        if kind.name == "user":
            out["groups"] = self.store.groups_of(record)
            out["groups_obj"] = None
            out["is_superuser"] = self.store.is_superuser(record)
            out |= {"avatar": "", "uid": record["uuid"], "date_joined": "2026-01-01T00:00:00Z", "roles_obj": None}
            out |= {"last_updated": "2026-01-01T00:00:00Z", "password_change_date": "2026-01-01T00:00:00Z"}
        if kind.name == "oauth2provider":
            application = self.store.application_of(record)
            out["assigned_application_slug"] = application["slug"] if application else None
            out["assigned_application_name"] = application["name"] if application else None
        return out

    def _grant_initial(self, caller: Caller, kind: Kind, record: Record) -> None:
        """InitialPermissions: the creator's roles say what the creator may do with the new object."""
        roles = set(caller.user.get("roles", ()))
        for initial in self.store.objects["initialpermissions"].values():
            if initial["role"] in roles:
                for number in initial["permissions"]:
                    codename = PERMISSIONS[number - 1]
                    self.store.object_permissions.add((caller.user["pk"], codename, str(record["pk"])))

    # -- actions ---------------------------------------------------------------------------------

    async def version(self, _: web.Request, __: Caller) -> tuple[int, Any]:
        return 200, {"version_current": "2026.8.5", "version_latest": "2026.8.5", "outdated": False, "build_hash": ""}

    async def settings(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        if not caller.superuser:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        if request.method == "PATCH" and "flags" not in await _body(request):
            raise Refused(400, {"flags": ["This field is required."]})
        return 200, {"gdpr_compliance": True, "flags": {}}

    async def add_user(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        return await self._membership(request, caller, "add_user_to", self.store.join)

    async def remove_user(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        return await self._membership(request, caller, "remove_user_from", self.store.leave)

    async def _membership(self, request: web.Request, caller: Caller, action: str, act: Any) -> tuple[int, Any]:
        kind = KINDS["group"]
        group = self._found(kind, request.match_info["key"])
        self._require(caller, action, kind, group)
        user = self.store.get("user", (await _body(request)).get("pk"))
        if user is None:
            raise Refused(404, {"detail": "User not found"})
        act(user, group["pk"])
        self.store.event("model_updated", caller.user, {"model": "group", "pk": group["pk"]})
        return 204, None

    async def service_account(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        self._require(caller, "add", KINDS["user"])
        body = await _body(request)
        if self.store.find("user", "username", body["name"]):
            raise Refused(400, {"non_field_errors": ["Username already exists"]})
        user = self.store.insert(
            "user",
            {
                "username": body["name"],
                "name": body["name"],
                "type": "service_account",
                "path": "goauthentik.io/service-accounts",
            },
        )
        self._grant_initial(caller, KINDS["user"], user)
        identifier = f"service-account-{body['name']}-password"
        self.store.insert(
            "token", {"identifier": identifier, "intent": "app_password", "user": user["pk"], "expiring": False}
        )
        self.store.token_keys[identifier] = uuid.uuid4().hex * 2
        for _ in range(3):
            self.store.event("model_created", caller.user, {"model": "user", "pk": str(user["pk"])})
        return 200, {
            "username": user["username"],
            "token": self.store.token_keys[identifier],
            "user_uid": user["uuid"],
            "user_pk": user["pk"],
        }

    async def set_password(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        user = self._found(KINDS["user"], request.match_info["key"])
        self._require(caller, "reset_user_password", Kind("user", "", "authentik_core"), user)
        self.store.passwords[user["pk"]] = (await _body(request))["password"]
        return 204, None

    async def recovery(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        user = self._found(KINDS["user"], request.match_info["key"])
        if not caller.superuser and not self._may(caller, "reset", Kind("user_password", "", "authentik_core"), user):
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        brand = self.brand_of(request.host.partition(":")[0])
        if not brand or not brand["flow_recovery"]:
            raise Refused(400, {"non_field_errors": "No recovery flow set."})
        key = uuid.uuid4().hex
        self.store.grants[key] = {"kind": "recovery", "user": user["pk"]}
        flow = next(flow for flow in self.store.objects["flow"].values() if flow["pk"] == brand["flow_recovery"])
        return 200, {"link": f"http://{request.host}/if/flow/{flow['slug']}/?flow_token={key}"}

    def brand_of(self, host: str) -> Record | None:
        """The brand of a host name: its own, else the default one."""
        brands = self.store.objects["brand"].values()
        own = next((brand for brand in brands if host.endswith(brand["domain"])), None)
        return own or next((brand for brand in brands if brand["default"]), None)

    async def view_key(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        token = self._found(KINDS["token"], request.match_info["key"])
        self._require(caller, "view", KINDS["token"], token)
        return 200, {"key": self.store.token_keys.setdefault(token["identifier"], uuid.uuid4().hex * 2)}

    async def set_key(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        token = self._found(KINDS["token"], request.match_info["key"])
        self._require(caller, "set_token_key", KINDS["token"], token)
        self.store.token_keys[token["identifier"]] = (await _body(request))["key"]
        return 204, None

    async def generate(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        kind = KINDS["certificatekeypair"]
        self._require(caller, "add", kind)
        body = await _body(request)
        if self.store.find(kind.name, "name", body["common_name"]):
            raise Refused(400, {"common_name": ["Certificate-Key Pair with this name already exists."]})
        return 200, self.shown(kind, self.store.insert(kind.name, {"name": body["common_name"]}), request)

    async def list_sessions(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        name = request.query.get("user__username")
        user = self.store.find("user", "username", name)
        rows = [found for found in self.store.sessions.values() if user and found["user"] == user["pk"]]
        if not self._may(caller, "view", Kind("authenticatedsession", "", "authentik_core")):
            rows = []
        return 200, self._page(Kind("session", "", ""), rows, request, count=len(rows))

    async def end_sessions(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        self._require(caller, "delete", Kind("authenticatedsession", "", "authentik_core"))
        pks = {int(pk) for pk in request.query.getall("user_pks", [])}
        before = len(self.store.sessions)
        self.store.sessions = {key: found for key, found in self.store.sessions.items() if found["user"] not in pks}
        return 200, {"deleted": before - len(self.store.sessions)}

    async def permissions(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        if not caller.superuser:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        codename = request.query.get("codename")
        rows = [
            {
                "id": number,
                "pk": number,
                "codename": text.partition(".")[2],
                "app_label": text.partition(".")[0],
                "name": text,
            }
            for number, text in enumerate(PERMISSIONS, start=1)
            if codename is None or text.partition(".")[2] == codename
        ]
        return 200, self._page(Kind("permission", "", ""), rows, request, count=len(rows))

    async def assign(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        if not caller.superuser:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        role = self._found(KINDS["role"], request.match_info["key"])
        wanted = (await _body(request))["permissions"]
        if unknown := [name for name in wanted if name not in PERMISSIONS]:
            raise Refused(400, {"permissions": [f"Unknown permission {unknown[0]}"]})
        self.store.global_permissions[role["pk"]] |= set(wanted)
        return 200, [{"id": 1}]

    async def list_events(self, request: web.Request, caller: Caller) -> tuple[int, Any]:
        if not caller.superuser:
            raise Refused(403, {"detail": "You do not have permission to perform this action."})
        rows = self.store.events[::-1]
        return 200, self._page(Kind("event", "", ""), rows, request, count=len(rows))


def _permissions() -> tuple[str, ...]:
    found = [
        f"{kind.app}.{action}_{kind.name}" for kind in KINDS.values() for action in ("view", "add", "change", "delete")
    ]
    more = (
        "add_user_to_group",
        "remove_user_from_group",
        "reset_user_password",
        "set_token_key",
        "view_token_key",
        "view_authenticatedsession",
        "delete_authenticatedsession",
    )
    return (*found, *(f"authentik_core.{name}" for name in more))


PERMISSIONS = _permissions()


def _provider_errors(store: Store, fields: Record) -> Record:
    if fields.get("grant_types") == []:  # left out it is empty all the same, and nothing works (0.3)
        return {"grant_types": ["This list may not be empty."]}
    for uri in fields.get("redirect_uris", ()):
        if not isinstance(uri, dict) or "url" not in uri:
            return {"redirect_uris": ["Invalid data. Expected a dictionary, but got str."]}
    for field, kind in (
        ("authorization_flow", "flow"),
        ("invalidation_flow", "flow"),
        ("signing_key", "certificatekeypair"),
    ):
        value = fields.get(field)
        if value is not None and not any(found["pk"] == value for found in store.objects[kind].values()):
            return {field: [f'Invalid pk "{value}" - object does not exist.']}
    return {}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _body(request: web.Request) -> Record:
    try:
        found = await request.json()
    except json.JSONDecodeError as error:
        raise Refused(400, {"detail": f"JSON parse error - {error}"}) from error
    return dict(found)
