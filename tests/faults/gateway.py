"""A gateway in front of the API server: what passes is seen, and may be cut off before it arrives or once done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import aiohttp
from aiohttp import web
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from tests.faults.writes import Place, kubernetes_writes
from tests.sandbox.standin import Fault

HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "content-encoding"})
NEVER = aiohttp.ClientTimeout(total=None)
"""A watch lasts as long as it is wanted."""
Meet = Callable[[Place, list[str]], Fault | None]
"""Called with every write before it is passed on; answers what hits it."""


class Gateway:
    """Plain HTTP on loopback towards the client, the cluster's TLS and credential towards the API server."""

    def __init__(self, config: SingleConfig, meet: Meet) -> None:
        self._config, self._meet = config, meet
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        config = self._config
        tls = verify_cluster(config.cluster, config.user or User(), config.abs_file, trust_env=False)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        self._upstream = aiohttp.ClientSession(
            base_url=config.cluster.server,
            connector=connector,
            auto_decompress=False,
            skip_auto_headers=["Content-Type"],
        )
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close every connection."""
        await self._runner.cleanup()
        await self._upstream.close()

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "gateway", "cluster": {"server": self.url}}],
                    "users": [{"name": "nobody", "user": {}}],
                    "contexts": [{"name": "gateway", "context": {"cluster": "gateway", "user": "nobody"}}],
                    "current-context": "gateway",
                }
            )
        )
        return path

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        place, writes = kubernetes_writes(request.method, request.path)
        fault = self._meet(place, writes) if writes else None
        if fault is not None and fault.refused:
            return _cut(request)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self._upstream.request(
            request.method, request.path_qs, headers=headers, data=body or None, timeout=NEVER
        ) as answer:
            if fault is not None and fault.lost:
                await answer.read()
                return _cut(request)
            return await _stream(request, answer)


async def _stream(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Piece by piece: a watch never ends by itself."""
    headers = {
        key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP - {"content-encoding"}
    }
    passed = web.StreamResponse(status=answer.status, headers=headers)
    await passed.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await passed.write(piece)
    except ConnectionError:
        return passed  # the client is gone
    return passed


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
