"""The events: a list without a time filter, searched in AKQL, and mutable by a superuser (facts/authentik.md 0, 5)."""

from __future__ import annotations

import random

from aiohttp import web

from tests.sandbox.authentik.api import Answer, Api, body_of
from tests.sandbox.authentik.kinds import Record
from tests.sandbox.authentik.lists import document, ordered, page
from tests.sandbox.authentik.query import mentions, parse
from tests.sandbox.authentik.rights import EVENT, Caller, Refused


class Events:
    """Handlers of /events/events/."""

    def __init__(self, api: Api) -> None:
        self.api, self.store, self.rights = api, api.store, api.rights

    def add_routes(self, app: web.Application) -> None:
        """The list and single events."""
        app.router.add_get("/api/v3/events/events/", self.api.guarded(self.listed))
        for method in ("GET", "PATCH", "DELETE"):
            app.router.add_route(method, "/api/v3/events/events/{key}/", self.api.guarded(self.one))

    async def listed(self, request: web.Request, caller: Caller) -> Answer:
        """Newest first unless asked otherwise. ``created__gt`` and its like do not exist, and are ignored."""
        query = request.query
        rows = self.rights.visible(caller, EVENT, self.store.events)
        if (action := query.get("action")) is not None:
            rows = [event for event in rows if action.lower() in event["action"]]
        if actions := query.getall("actions", []):
            rows = [event for event in rows if event["action"] in actions]
        if (username := query.get("username")) is not None:
            rows = [event for event in rows if event["user"].get("username") == username]
        if (client_ip := query.get("client_ip")) is not None:
            rows = [event for event in rows if event["client_ip"] == client_ip]
        for field in ("pk", "app", "model_name"):
            if (wanted := query.get(f"context_model_{field.removeprefix('model_')}")) is not None:
                rows = [event for event in rows if event["context"].get("model", {}).get(field) == wanted]
        if search := query.get("search"):
            understood = parse(search) if self.store.akql else None
            rows = list(filter(understood or mentions(search), rows))
        if "pk" not in query.get("ordering", "").replace("-", "").split(","):
            # Events of one instant then have no order, and every page is a query of its own.
            rows = random.sample(rows, len(rows))
        shown, pagination = page(ordered(rows, query, "-created"), query)
        return 200, document(shown, pagination, _shown)

    async def one(self, request: web.Request, caller: Caller) -> Answer:
        """A superuser can rewrite history, so only what was ingested is proof (facts/authentik.md 0.13)."""
        event = self._found(request.match_info["key"])
        if not self.rights.has(caller, EVENT.right("view"), event):
            raise Refused(404, {"detail": "No Event matches the given query."})
        if request.method == "DELETE":
            self.rights.require(caller, EVENT.right("delete"), event)
            self.store.events.remove(event)
            return 204, None
        if request.method == "PATCH":
            self.rights.require(caller, EVENT.right("change"), event)
            body = await body_of(request)
            event.update({key: value for key, value in body.items() if key not in {"pk", "created"}})
        return 200, _shown(event)

    def _found(self, pk: str) -> Record:
        for event in self.store.events:
            if event["pk"] == pk:
                return event
        raise Refused(404, {"detail": "No Event matches the given query."})


def _shown(event: Record) -> Record:
    """A time without microseconds has no fraction at all, as Python writes it."""
    return {**event, "created": event["created"].replace(".000000Z", "Z")}
