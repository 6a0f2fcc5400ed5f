"""The way in for Stalwart's events as a process of its own, to be killed or measured: ``python -m … DIRECTORY HOW``.

It prints its URL, then serves. HOW is ``stuck``: the log never finishes taking events; or ``swallow``: it takes them
all and keeps none.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from dezky_operator.audit.event import Event
from dezky_operator.audit.fates import Appended
from dezky_operator.config import WebhookSettings
from dezky_operator.http.application import runner
from dezky_operator.http.ingress import StalwartIngress
from dezky_operator.telemetry.metrics import Metrics
from tests.webhooks import SECRET, reader


async def main(directory: Path, how: str) -> None:
    """Serve until killed."""

    async def accept(_: Sequence[Event]) -> Appended:
        if how == "stuck":
            await asyncio.Event().wait()
        return Appended()

    settings = WebhookSettings(counted_bytes=4096, reserve_bytes=0)
    ingress = StalwartIngress(
        accept, directory / "webhook", lambda: (SECRET,), settings, reader=reader(), metrics=Metrics()
    )
    serving = runner(ingress)
    await serving.setup()
    await web.TCPSite(serving, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{serving.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
