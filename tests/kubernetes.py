"""An API server in memory, behind httpx2's transport seam: objects with resourceVersions, silence, and slow answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User

from dezky_operator.kube.lease import Fence
from dezky_operator.kube.transport import connect
from dezky_operator.telemetry.metrics import Metrics

Json = dict[str, Any]


def config(server: str = "http://kubernetes.test") -> SingleConfig:
    """As from a kubeconfig without a user."""
    found = KubeConfig.from_server(server).get()
    assert found is not None
    return found._replace(user=User())


class ApiServer(httpx2.AsyncBaseTransport):
    """Objects by path. A write with another resourceVersion than the object's is a 409, as in the real one.

    ``latency`` gives the seconds until the next answer; while it is ``silent`` a call gives up after ten seconds;
    ``refusal`` is a status that everything is answered with; ``meddle`` is called between arrival and answer.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.latency: Callable[[], float] = lambda: 0.0
        self.silent: Callable[[], bool] = lambda: False
        self.refusal = 0
        self.meddle: Callable[[str, str], None] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []
        self._version = 0

    def client(self, fence: Fence, cut: Callable[[], bool] = lambda: False) -> AsyncClient:
        """The operator's own client of it; its way here may be ``cut``."""
        return connect(config(), fence=fence, metrics=Metrics(), wrap=lambda _: _Way(self, cut))

    def put(self, path: str, body: Json) -> Json:
        """Write an object, whatever is there."""
        self._version += 1
        metadata = {**body.get("metadata", {}), "resourceVersion": str(self._version)}
        self.objects[path] = {**body, "metadata": metadata}
        return self.objects[path]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer."""
        method, path = request.method, request.url.path
        self.requests.append((method, path))
        await asyncio.sleep(self.latency())
        self.meddle(method, path)
        status, body = self._answer(method, path, json.loads(request.content or b"{}"))
        return httpx2.Response(status, json=body, request=request)

    def _answer(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        if self.refusal:
            return self.refusal, _status(self.refusal)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            return (409, _status(409)) if path in self.objects else (201, self.put(path, body))
        found = self.objects.get(path)
        if found is None:
            return 404, _status(404)
        if method == "GET":
            return 200, found
        same = body["metadata"].get("resourceVersion") == found["metadata"]["resourceVersion"]
        return (200, self.put(path, body)) if same else (409, _status(409))


class _Way(httpx2.AsyncBaseTransport):
    """One client's way to the server."""

    def __init__(self, server: ApiServer, cut: Callable[[], bool]) -> None:
        self._server, self._cut = server, cut

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._cut() or self._server.silent():
            await asyncio.sleep(10.0)
            raise httpx2.ConnectTimeout("nobody there", request=request)
        return await self._server.handle_async_request(request)


def _status(code: int) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"status {code}"}
