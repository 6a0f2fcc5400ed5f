"""A way to the API server on which the watch can be made deaf (its stream stays open and says nothing), turned away or
told that it is too old, answers be held back, and the time be another.

What tells the watch from the operator's own calls is kopf's name in the User-Agent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
from aiohttp import web
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from dezky_operator.kube.transport import cluster_config
from tests.program import kubeconfig, leads_to

PASSED_ON = frozenset({"accept", "content-type", "user-agent", "authorization"})
TENANTS = "/apis/dezky.eu/v1alpha1/tenants"
TOO_OLD = {"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired"}}
"""What a watch is told whose resourceVersion was compacted away."""


class Listener:
    """What stands between. ``deaf``: the watch hears of no Tenant any more. ``hidden``: it never hears of these.
    ``turned_away``: its credential is refused, and its stream ends. ``expired``: once, instead of its next event, it is
    told that it is too old. ``ahead``: what the API server's Date is ahead of its clock. ``gate`` is passed by each
    request before it goes on. ``answered`` has method, path and status of each write, ``listed`` counts kopf's lists.
    """

    def __init__(self, upstream: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self.deaf = self.turned_away = self.expired = False
        self.hidden: set[str] = set()
        self.ahead = timedelta()
        self.gate: Callable[[web.Request], Awaitable[None]] | None = None
        self.answered: list[tuple[str, str, int]] = []
        self.listed = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on; of kopf's, only what it may hear comes back."""
        kopf = "kopf" in request.headers.get("User-Agent", "")
        if kopf and self.turned_away:
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        headers = {key: value for key, value in request.headers.items() if key.lower() in PASSED_ON}
        body = await request.read() or None  # whoever is frozen at the gate has sent all of it
        if self.gate is not None:
            await self.gate(request)
        async with self._upstream.request(
            request.method,
            request.path_qs,
            headers=headers,
            data=body,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            passed = web.StreamResponse(status=answer.status, headers=self._headers(answer))
            if request.method not in {"GET", "HEAD"}:
                self.answered.append((request.method, request.path, answer.status))
            watched = kopf and request.path == TENANTS
            if watched and "watch" not in request.query:
                self.listed += 1
                return web.json_response(self._audible(await answer.json()), status=answer.status)
            await passed.prepare(request)
            try:
                async for line in answer.content:
                    if kopf and self.turned_away:
                        return passed
                    if watched and self.expired:
                        self.expired = False
                        await passed.write(json.dumps(TOO_OLD).encode() + b"\n")
                        return passed
                    if not (watched and self._unheard(line)):
                        await passed.write(line)
            except ConnectionError:
                return passed  # the client is gone
            finally:
                _cut(answer)
            return passed

    def _headers(self, answer: aiohttp.ClientResponse) -> dict[str, str]:
        date = format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)
        return {"Content-Type": answer.content_type, "Date": date}

    def _audible(self, listed: dict[str, list[dict[str, dict[str, str]]]]) -> object:
        return {
            **listed, "items": [item for item in listed["items"] if item["metadata"]["name"] not in self.hidden]
        }  # fmt: skip

    def _unheard(self, line: bytes) -> bool:
        event = json.loads(line)
        return self.deaf or event["object"].get("metadata", {}).get("name") in self.hidden


def _cut(answer: aiohttp.ClientResponse) -> None:
    """End a stream for good: TLS would wait for the API server's farewell, which comes when nobody waits any more."""
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()


@asynccontextmanager
async def listener(config: SingleConfig, folder: Path) -> AsyncIterator[tuple[Listener, SingleConfig]]:
    """Such a way, and the configuration that leads along it."""
    tls = verify_cluster(config.cluster, config.user or User(), config.abs_file, trust_env=False)
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(
        base_url=config.cluster.server, connector=connector, read_bufsize=2**22
    ) as upstream:
        found = Listener(upstream)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", found.answer)
        # Without it the handler of a stream that kopf left would wait for the next event of a closed connection.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        path = await asyncio.to_thread(kubeconfig, folder / "kubeconfig", **leads_to(url))
        try:
            yield found, cluster_config(str(path))
        finally:
            await runner.cleanup()
