"""Whether this process works, and whether it is of use: what `/healthz` and `/readyz` answer.

Every part that can get stuck registers a check. A check answers None, or one sentence saying what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dezky_operator.telemetry.metrics import Metrics

Check = Callable[[], str | None]


class Health:
    """The checks by name. ``live``: failing means this process must be restarted. ``ready``: it does its work."""

    def __init__(self) -> None:
        self.live: dict[str, Check] = {}
        self.role: Callable[[], str] = lambda: "starting"
        """What this process is doing now: ``starting``, ``standing by``, ``working``, ``stopping``."""

    def failures(self) -> dict[str, str]:
        """What is wrong now, by check."""
        answers = {name: check() for name, check in self.live.items()}
        return {name: answer for name, answer in answers.items() if answer is not None}


def application(health: Health, metrics: Metrics) -> web.Application:
    """`/metrics`, `/healthz` and `/readyz`."""

    async def serve_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        failures = health.failures()
        return web.json_response({"ok": not failures, "failures": failures}, status=503 if failures else 200)

    async def readyz(_: web.Request) -> web.Response:
        role = health.role()
        # A standby is as ready as it can be: otherwise a rollout with two replicas would never finish.
        ready = role in {"working", "standing by"}
        return web.json_response({"ready": ready, "role": role}, status=200 if ready else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", serve_metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app
