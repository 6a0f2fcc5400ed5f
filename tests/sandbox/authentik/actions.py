"""What can be done beside the collections: memberships, passwords, recovery, tokens' keys, sessions, rights."""

from __future__ import annotations

import secrets
import uuid

from aiohttp import web

from tests.sandbox.authentik.api import Answer, Api, Call, body_of
from tests.sandbox.authentik.grants import Grant, seconds
from tests.sandbox.authentik.kinds import KINDS, Record
from tests.sandbox.authentik.lists import document, page
from tests.sandbox.authentik.rights import FORBIDDEN, PERMISSIONS, SESSION, Caller, Refused
from tests.sandbox.authentik.shapes import permission

SERVICE_PATH = "goauthentik.io/service-accounts"
VERSION = "2026.8.5"


class Actions:
    """Handlers of all actions."""

    def __init__(self, api: Api) -> None:
        self.api, self.store, self.rights = api, api.store, api.rights

    def add_routes(self, app: web.Application) -> None:
        """All of them."""
        routes: tuple[tuple[str, str, Call], ...] = (
            ("GET", "admin/version/", self.version),
            ("GET", "admin/settings/", self.settings),
            ("PATCH", "admin/settings/", self.settings),
            ("POST", "core/groups/{key}/add_user/", self.add_user),
            ("POST", "core/groups/{key}/remove_user/", self.remove_user),
            ("POST", "core/users/service_account/", self.service_account),
            ("POST", "core/users/{key}/set_password/", self.set_password),
            ("POST", "core/users/{key}/recovery/", self.recovery),
            ("GET", "core/applications/{key}/check_access/", self.check_access),
            ("GET", "core/tokens/{key}/view_key/", self.view_key),
            ("POST", "core/tokens/{key}/set_key/", self.set_key),
            ("POST", "crypto/certificatekeypairs/generate/", self.generate),
            ("GET", "core/authenticated_sessions/", self.list_sessions),
            ("DELETE", "core/authenticated_sessions/bulk_delete/", self.end_sessions),
            ("GET", "rbac/permissions/", self.permissions),
            ("POST", "rbac/permissions/assigned_by_roles/{key}/assign/", self.assign),
            ("GET", "oauth2/authorization_codes/", self._list_grants("code")),
            ("GET", "oauth2/access_tokens/", self._list_grants("access")),
            ("GET", "oauth2/refresh_tokens/", self._list_grants("refresh")),
            ("DELETE", "oauth2/access_tokens/{key}/", self._end_grant("access")),
            ("DELETE", "oauth2/refresh_tokens/{key}/", self._end_grant("refresh")),
        )
        for method, path, call in routes:
            app.router.add_route(method, f"/api/v3/{path}", self.api.guarded(call))

    # -- the server ----------------------------------------------------------------------

    async def version(self, _: web.Request, __: Caller) -> Answer:
        """Any account may ask."""
        known = {"version_current": VERSION, "version_latest": VERSION, "version_latest_valid": True}
        return 200, {**known, "build_hash": "", "outdated": False, "outpost_outdated": False}

    async def settings(self, request: web.Request, caller: Caller) -> Answer:
        """A PATCH must name the flags, empty will do (facts/authentik.md 3)."""
        verb = "view" if request.method == "GET" else "edit"
        self.rights.require(caller, f"authentik_rbac.{verb}_system_settings")
        if request.method == "PATCH":
            body = await body_of(request)
            if "flags" not in body:
                raise Refused(400, {"flags": ["This field is required."]})
            flags = {**self.store.settings["flags"], **body["flags"]}
            self.store.settings |= {**body, "flags": flags}
        return 200, self.store.settings

    # -- people ---------------------------------------------------------------------------

    async def add_user(self, request: web.Request, caller: Caller) -> Answer:
        """204, also for a member already."""
        group, user = await self._membership(request, caller, "add_user_to_group")
        self.store.join(user, group["pk"])
        self.store.changed("model_updated", caller.user, "group", group)
        return 204, None

    async def remove_user(self, request: web.Request, caller: Caller) -> Answer:
        """204, also for somebody who is no member."""
        group, user = await self._membership(request, caller, "remove_user_from_group")
        self.store.leave(user, group["pk"])
        self.store.changed("model_updated", caller.user, "group", group)
        return 204, None

    async def _membership(self, request: web.Request, caller: Caller, right: str) -> tuple[Record, Record]:
        """Needs the right on the group, and to see the user (facts/authentik.md 11.4)."""
        group = self._found("group", request.match_info["key"])
        self.rights.require(caller, f"authentik_core.{right}", group)
        user = self.store.get("user", (await body_of(request)).get("pk"))
        if user is None or not self.rights.has(caller, "authentik_core.view_user", user):
            raise Refused(404, {"detail": "Not found."})
        return group, user

    async def service_account(self, request: web.Request, caller: Caller) -> Answer:
        """An account with an app password, which no API call accepts (facts/authentik.md 2, 11.6)."""
        for right in ("authentik_core.add_user", "authentik_core.add_token"):
            self.rights.require(caller, right)
        body = await body_of(request)
        name = body.get("name")
        if not name:
            raise Refused(400, {"name": ["This field is required."]})
        if self.store.find("user", "username", name) or self.store.find("group", "name", name):
            raise Refused(400, {"non_field_errors": ["Unable to create user: name is taken"]})
        user = self.store.insert(
            "user", {"username": name, "name": name, "type": "service_account", "path": SERVICE_PATH}
        )
        self.rights.grant_initial(caller, user)
        identifier = f"service-account-{name}-password"
        token = {"identifier": identifier, "intent": "app_password", "user": user["pk"]}
        self.store.insert("token", {**token, "expiring": body.get("expiring", True)})
        key = secrets.token_urlsafe(45)
        self.store.set_key(identifier, key)
        self.store.changed("model_created", caller.user, "user", user, times=3)
        made = {"username": name, "token": key, "user_uid": self.store.uid(user), "user_pk": user["pk"]}
        if body.get("create_group"):
            made["group_pk"] = self.store.insert("group", {"name": name, "users": [user["pk"]]})["pk"]
        return 200, made

    async def set_password(self, request: web.Request, caller: Caller) -> Answer:
        """The right covers whom it was given for, globally everybody, akadmin too (facts/authentik.md 0.12)."""
        user = self._found("user", request.match_info["key"])
        self.rights.require(caller, "authentik_core.reset_user_password", user)
        password = (await body_of(request)).get("password")
        if not password:
            raise Refused(400, {"password": ["This field is required."]})
        self.store.passwords[user["pk"]] = password
        self.store.event("password_set", caller.user, {"username": user["username"]})
        return 204, None

    async def recovery(self, request: web.Request, caller: Caller) -> Answer:
        """Needs a recovery flow on the brand of the host that was asked; its error is a bare string (2, 3)."""
        user = self._found("user", request.match_info["key"])
        self.rights.require(caller, "authentik_core.reset_user_password", user)
        brand = self.brand_of(request.host.partition(":")[0])
        flow = self.store.by_pk("flow", brand["flow_recovery"]) if brand and brand["flow_recovery"] else None
        if flow is None:
            raise Refused(400, {"non_field_errors": "No recovery flow set."})
        try:
            life = seconds((await body_of(request)).get("token_duration") or "minutes=30")
        except ValueError as error:
            raise Refused(400, {"token_duration": [str(error)]}) from error
        key = secrets.token_urlsafe(45)
        self.store.grants.add(Grant(key=key, kind="recovery", user=user["pk"], expires=self.store.clock() + life))
        base = f"{request.scheme}://{request.host}"
        return 200, {"link": f"{base}/if/flow/{flow['slug']}/?flow_token={key}"}

    def brand_of(self, host: str) -> Record | None:
        """The brand of a host name: the longest domain it ends with, else the default one."""
        brands = self.store.objects["brand"].values()
        own = [brand for brand in brands if host.endswith(brand["domain"])]
        if own:
            return max(own, key=lambda brand: len(brand["domain"]))
        return next((brand for brand in brands if brand["default"]), None)

    async def list_sessions(self, request: web.Request, caller: Caller) -> Answer:
        """Without the right: 200 and nothing (facts/authentik.md 11.4)."""
        rows = list(self.store.sessions.values())
        if (name := request.query.get("user__username")) is not None:
            user = self.store.find("user", "username", name)
            rows = [found for found in rows if user and found["user"] == user["pk"]]
        if not self.rights.has(caller, SESSION.right("view")):
            rows = [found for found in rows if found["user"] == caller.user["pk"]]
        shown, pagination = page(rows, request.query)
        return 200, document(shown, pagination, self.api.shapes.session)

    async def end_sessions(self, request: web.Request, caller: Caller) -> Answer:
        """Makes no event, and counts the rows that went, not the sessions (facts/authentik.md 11.3)."""
        self.rights.require(caller, SESSION.right("delete"))
        pks = {int(pk) for pk in request.query.getall("user_pks", []) if pk.isdigit()}
        return 200, {"deleted": sum(self.store.end_sessions(pk) for pk in pks)}

    # -- applications, tokens, keys -------------------------------------------------------------

    async def check_access(self, request: web.Request, caller: Caller) -> Answer:
        """Without a superuser's rights ``for_user`` is ignored, and the answer is the caller's (11.4)."""
        application = self._found("application", request.match_info["key"])
        user: Record | None = caller.user
        if caller.superuser and "for_user" in request.query:
            user = self.store.get("user", request.query["for_user"])
        if user is None:
            raise Refused(400, {"for_user": "User not found"})
        return 200, {"passing": self.store.may_use(user, application), "messages": [], "log_messages": []}

    async def view_key(self, request: web.Request, caller: Caller) -> Answer:
        """Seeing a secret is an event."""
        token = self.rights.found(caller, KINDS["token"], request.match_info["key"])
        if token["user"] != caller.user["pk"]:
            self.rights.require(caller, "authentik_core.view_token_key", token)
        self.store.changed("secret_view", caller.user, "token", token)
        return 200, {"key": self.store.token_keys[token["identifier"]]}

    async def set_key(self, request: web.Request, caller: Caller) -> Answer:
        """A key that is known beforehand; needs both rights (facts/authentik.md 11.6)."""
        token = self.rights.found(caller, KINDS["token"], request.match_info["key"])
        self.rights.require(caller, "authentik_core.set_token_key", token)
        self.rights.require(caller, "authentik_core.add_token")
        key = (await body_of(request)).get("key")
        if not key:
            raise Refused(400, {"key": ["This field is required."]})
        self.store.set_key(token["identifier"], key)
        self.store.changed("model_updated", caller.user, "token", token)
        return 204, None

    async def generate(self, request: web.Request, caller: Caller) -> Answer:
        """A key pair with a certificate of its own."""
        kind = KINDS["certificatekeypair"]
        self.rights.require(caller, kind.right("add"))
        body = await body_of(request)
        missing = [name for name in ("common_name", "validity_days") if not body.get(name)]
        if missing:
            raise Refused(400, {name: ["This field is required."] for name in missing})
        if self.store.find(kind.name, "name", body["common_name"]):
            raise Refused(400, {"common_name": ["This field must be unique."]})
        key_type = {"rsa": "rsa", "ecdsa": "ec"}.get(body.get("alg", "rsa"), body.get("alg"))
        pair = self.store.insert(kind.name, {"name": body["common_name"], "key_type": key_type})
        self.rights.grant_initial(caller, pair)
        self.store.changed("model_created", caller.user, kind.name, pair)
        return 200, self.api.shapes.shown(kind.name, pair, request.query)

    def _list_grants(self, kind: str) -> Call:
        async def call(request: web.Request, caller: Caller) -> Answer:
            rows = self.store.grants.of_kind(kind)
            for field in ("user", "provider"):
                if wanted := request.query.get(field):
                    rows = [grant for grant in rows if str(getattr(grant, field)) == wanted]
            if not caller.superuser:  # everybody else sees only what is his own (facts/authentik.md 3)
                rows = [grant for grant in rows if grant.user == caller.user["pk"]]
            shown, pagination = page([self.api.shapes.grant(grant) for grant in rows], request.query)
            return 200, document(shown, pagination, lambda row: row)

        return call

    def _end_grant(self, kind: str) -> Call:
        async def call(request: web.Request, caller: Caller) -> Answer:
            for grant in self.store.grants.of_kind(kind):
                if str(grant.number) == request.match_info["key"]:
                    if not caller.superuser and grant.user != caller.user["pk"]:
                        break
                    self.store.grants.drop(grant)
                    return 204, None
            raise Refused(404, {"detail": "Not found."})

        return call

    # -- rights ----------------------------------------------------------------------------------

    async def permissions(self, request: web.Request, caller: Caller) -> Answer:
        """All permissions there are."""
        if not caller.superuser:
            raise Refused(403, FORBIDDEN)
        rows = [permission(number) for number in range(1, len(PERMISSIONS) + 1)]
        for parameter, field in (("codename", "codename"), ("content_type__app_label", "app_label")):
            if wanted := request.query.get(parameter):
                rows = [row for row in rows if row[field] == wanted]
        shown, pagination = page(rows, request.query)
        return 200, document(shown, pagination, lambda row: row)

    async def assign(self, request: web.Request, caller: Caller) -> Answer:
        """Give a role rights, on everything or on one object."""
        if not caller.superuser:
            raise Refused(403, FORBIDDEN)
        role = self._found("role", request.match_info["key"])
        body = await body_of(request)
        wanted = body.get("permissions", [])
        if unknown := [name for name in wanted if name not in PERMISSIONS]:
            raise Refused(400, {"permissions": [f'"{unknown[0]}" is not a valid choice.']})
        if body.get("object_pk") is not None:
            for name in wanted:
                self.store.object_permissions[name, str(body["object_pk"])].add(role["pk"])
        else:
            self.store.global_permissions[role["pk"]] |= set(wanted)
        return 200, [{"id": str(uuid.uuid4())} for _ in wanted]

    def _found(self, kind: str, key: str) -> Record:
        record = self.store.get(kind, key)
        if record is None:
            raise Refused(404, {"detail": f"No {KINDS[kind].label} matches the given query."})
        return record
