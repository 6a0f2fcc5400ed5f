"""HTTP answers that are the same wherever they come from (facts/stalwart.md 2.7, 11.1, 11.11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.sandbox.stalwart.visitors import Refusal

REALM = 'Bearer realm="Stalwart Server", Basic realm="Stalwart Server"'
JMAP_ERROR = "urn:ietf:params:jmap:error:"


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem document of no particular type."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


def bad_request(kind: str, detail: str, **more: Any) -> web.Response:
    """A request that is refused as a whole."""
    body = {"type": JMAP_ERROR + kind, "status": 400, "detail": detail, **more}
    return web.json_response(body, status=400, content_type="application/problem+json")


def forbidden() -> web.Response:
    """A credential that is right but may not be used, or an address that is shut out."""
    return problem(403, "Forbidden", "You do not have enough permissions to access this resource.")


def refused(why: Refusal) -> web.Response:
    """Whoever is unknown is told the same in every case; whoever may not log in is told apart by the status."""
    if why is Refusal.UNAUTHORIZED:
        return forbidden()
    if why is Refusal.BANNED:
        return problem(429, "Too Many Authentication Attempts", "Too many wrong credentials from this address.")
    return problem(401, "Unauthorized", "You have to authenticate first.", {"WWW-Authenticate": REALM})


def rate_limited(limit: int, wait: int) -> web.Response:
    """Too many requests in this window, which ends in ``wait`` seconds."""
    headers = {
        "retry-after": str(wait),
        "ratelimit-policy": f'"requests";q={limit}',
        "ratelimit": f'"requests";r=0;t={wait}',
    }
    return problem(429, "Too Many Requests", "Too many requests in this window.", headers)


def not_found() -> web.Response:
    """There is nothing of this name."""
    return problem(404, "Not Found", "There is no such resource.")
