"""Signing in without a browser: the flow executor, and recovery links (facts/authentik.md 8, 11.6)."""

from __future__ import annotations

import secrets
import uuid

from aiohttp import web

from tests.sandbox.authentik.api import body_of, noted
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.rights import Refused
from tests.sandbox.authentik.store import ANONYMOUS, Store, model, timestamp

COOKIE = "authentik_session"
PROMPT = {
    "component": "ak-stage-prompt",
    "fields": [
        {"field_key": key, "label": key, "type": "password", "required": True, "order": order}
        for order, key in enumerate(("password", "password_repeat"))
    ],
}
STAGE = model("authentik_stages_password", "passwordstage", str(uuid.uuid4()), "default-authentication-password")
DONE = {"component": "xak-flow-redirect", "to": "/"}


class SignIn:
    """``/api/v3/flows/executor/<slug>/`` and ``/if/flow/<slug>/``.

    A recovery link is opened with GET; then the executor of its flow asks for ``password`` and ``password_repeat``
    with ``ak-stage-prompt``, and who answers is signed in.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._plans: dict[str, Record] = {}

    def add_routes(self, app: web.Application) -> None:
        """Executor and interface."""
        app.router.add_get("/api/v3/flows/executor/{slug}/", self.executor)
        app.router.add_post("/api/v3/flows/executor/{slug}/", self.executor)
        app.router.add_get("/if/flow/{slug}/", self.open_link)

    async def executor(self, request: web.Request) -> web.Response:
        """One step: GET tells the stage, POST answers it."""
        noted(request)
        flow = self.store.get("flow", request.match_info["slug"])
        if flow is None:
            return web.json_response({"detail": "No Flow matches the given query."}, status=404)
        cookie = request.cookies.get(COOKIE) or secrets.token_hex(16)
        plan = self._plans.setdefault(cookie, {})
        try:
            body = await body_of(request) if request.method == "POST" else {}
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        if flow["designation"] == "recovery":
            answer = self._recover(cookie, flow, plan, body)
        else:
            answer = self._identify(cookie, plan, body)
        response = web.json_response(answer)
        response.set_cookie(COOKIE, cookie, httponly=True)
        return response

    def _identify(self, cookie: str, plan: Record, body: Record) -> Record:
        if "uid_field" in body:
            plan["username"] = body["uid_field"]
        if "username" not in plan:
            return {"component": "ak-stage-identification"}
        if "password" not in body:
            return {"component": "ak-stage-password"}
        user = self.store.find("user", "username", plan["username"])
        if user is None or not self._password_fits(user, body["password"]):
            context = {"username": plan["username"], "password": body["password"], "stage": STAGE}
            for _ in range(2 if user else 1):  # one wrong password is several events (facts/authentik.md 11.6)
                self.store.event("login_failed", user or ANONYMOUS, context)
            errors = {"password": [{"string": "Invalid password", "code": "invalid"}]}
            return {"component": "ak-stage-password", "response_errors": errors}
        if not user["is_active"]:
            self._plans.pop(cookie, None)
            return {"component": "ak-stage-access-denied", "error_message": "Your account is inactive."}
        self._enter(cookie, user)
        return DONE

    def _recover(self, cookie: str, flow: Record, plan: Record, body: Record) -> Record:
        user = self.store.get("user", plan.get("recovery"))
        if user is None or plan.get("flow") != flow["slug"]:
            return {"component": "ak-stage-access-denied", "error_message": "Invalid token"}
        if not body.get("password"):
            return PROMPT
        if body["password"] != body.get("password_repeat"):
            errors = {"non_field_errors": [{"string": "Passwords don't match.", "code": "invalid"}]}
            return {**PROMPT, "response_errors": errors}
        self.store.passwords[user["pk"]] = body["password"]
        self.store.event("password_set", user, {"username": user["username"]})
        self.store.event("user_write", user, {"username": user["username"], "created": False})
        if not user["is_active"]:
            self._plans.pop(cookie, None)
            return {"component": "ak-stage-access-denied", "error_message": "Your account is inactive."}
        self._enter(cookie, user)
        return DONE

    async def open_link(self, request: web.Request) -> web.Response:
        """A recovery link: once, and it leads into the recovery flow."""
        grant = self.store.grants.find(request.query.get("flow_token", ""), "recovery")
        if grant is None:
            return web.Response(status=404)
        self.store.grants.drop(grant)
        cookie = secrets.token_hex(16)
        self._plans[cookie] = {"recovery": grant.user, "flow": request.match_info["slug"]}
        response = web.Response(text="<html>recovery</html>", content_type="text/html")
        response.set_cookie(COOKIE, cookie, httponly=True)
        return response

    def _password_fits(self, user: Record, password: str) -> bool:
        if self.store.passwords.get(user["pk"]) == password:
            return True
        return is_app_password(self.store, user, password)

    def _enter(self, cookie: str, user: Record) -> None:
        now = self.store.clock()
        user["last_login"] = timestamp(now)
        session = {"cookie": cookie, "uuid": str(uuid.uuid4()), "user": user["pk"]}
        self.store.sessions[cookie] = {**session, "created": timestamp(now), "at": now}
        self._plans.pop(cookie, None)
        self.store.event("login", user, {"auth_method": "password", "auth_method_args": {}})


def is_app_password(store: Store, user: Record, password: str) -> bool:
    """App passwords are accepted as the password (facts/authentik.md 11.6 C)."""
    token = store.get("token", store.token_of_key.get(password, ""))
    return token is not None and token["intent"] == "app_password" and token["user"] == user["pk"]
