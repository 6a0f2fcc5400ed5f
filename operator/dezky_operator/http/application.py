"""The routes of the webhook's port: exactly those that need no token (design.md §9)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from dezky_operator.http.ingress import StalwartIngress

WEBHOOK = "/ingest/stalwart/webhook"
LINGER = 1.0
"""Seconds for which a body that nobody wants is read, so that its sender hears why."""


def application(ingress: StalwartIngress) -> web.Application:
    """What is served on ``audit.webhook``'s port. Bodies that wait are parsed as long as it is served."""

    async def serve(_: web.Application) -> AsyncIterator[None]:
        await ingress.open()
        parsing = asyncio.create_task(ingress.run())
        yield
        parsing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await parsing

    async def before_the_body(request: web.Request) -> None:
        """Ask for the body only of whoever may send one."""
        ingress.admit(request)
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    app = web.Application()
    app.cleanup_ctx.append(serve)
    app.router.add_get("/health", _health)
    app.router.add_post(WEBHOOK, ingress.receive, expect_handler=before_the_body)
    return app


def runner(ingress: StalwartIngress) -> web.AppRunner:
    """The application as it is to be served."""
    return web.AppRunner(application(ingress), access_log=None, lingering_time=LINGER)


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
