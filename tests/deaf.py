"""A way to the API server on which the watch can be made deaf (its stream stays open and says nothing) or turned away.

What tells the watch from the operator's own calls is kopf's name in the User-Agent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from dezky_operator.kube.transport import cluster_config
from tests.program import kubeconfig, leads_to

PASSED_ON = frozenset({"accept", "content-type", "user-agent", "authorization"})
TENANTS = "/apis/dezky.eu/v1alpha1/tenants"


class Listener:
    """What stands between. ``deaf``: the watch hears of no Tenant any more. ``hidden``: it never hears of these.
    ``turned_away``: its credential is refused, and its stream ends.
    """

    def __init__(self, upstream: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self.deaf = self.turned_away = False
        self.hidden: set[str] = set()
        self._streams: set[aiohttp.ClientResponse] = set()
        self._handlers: set[asyncio.Task[Any]] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on; of kopf's, only what it may hear comes back."""
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        kopf = "kopf" in request.headers.get("User-Agent", "")
        if kopf and self.turned_away:
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        headers = {key: value for key, value in request.headers.items() if key.lower() in PASSED_ON}
        async with self._upstream.request(
            request.method,
            request.path_qs,
            headers=headers,
            data=await request.read() or None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            watched = kopf and request.path == TENANTS
            if "watch" in request.query:
                return await self._stream(request, answer, watched=watched)
            body = await answer.read()
            if watched:
                body = self._audible(body)
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async def end(self) -> None:
        """End every stream, and wait for what is being answered."""
        for stream in self._streams:
            # TLS would wait for the API server's farewell, which comes when nobody waits any more.
            if stream.connection is not None and stream.connection.transport is not None:
                stream.connection.transport.abort()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=10.0)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, *, watched: bool
    ) -> web.StreamResponse:
        passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        self._streams.add(answer)
        try:
            await passed.prepare(request)
            async for line in answer.content:
                if watched and self.turned_away:
                    break
                if not (watched and self._unheard(line)):
                    await passed.write(line)
        except (ConnectionError, aiohttp.ClientError):
            return passed  # one of both is gone
        return passed

    def _audible(self, body: bytes) -> bytes:
        listed = json.loads(body)
        items = [item for item in listed["items"] if item["metadata"]["name"] not in self.hidden]
        return json.dumps({**listed, "items": items}).encode()

    def _unheard(self, line: bytes) -> bool:
        event = json.loads(line)
        return self.deaf or event["object"].get("metadata", {}).get("name") in self.hidden


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
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        path = await asyncio.to_thread(kubeconfig, folder / "kubeconfig", **leads_to(url))
        try:
            yield found, cluster_config(str(path))
        finally:
            await found.end()
            await runner.cleanup()
