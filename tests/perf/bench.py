"""`make bench`: the budgets, one JSON line for each figure. A missed budget is printed as missed, not raised.

A subject is a module with ``figures(cluster)``; the operator is always a process of its own, the stand-ins are here.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from dezky_operator.config import LogSettings
from dezky_operator.telemetry import logging as telemetry
from tests.controlplane.cluster import test_cluster
from tests.perf import fleet, onboarding

SUBJECTS = (onboarding, fleet)
AUDIT = ("accept", "insert", "verify", "proof", "query", "tail", "poll", "webhook", "lag", "memory")
"""Each a process of its own, so that none measures what another left in memory."""


async def main() -> None:
    """All figures of all subjects."""
    telemetry.configure(LogSettings(level="error"))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    with test_cluster() as cluster:
        for subject in SUBJECTS:
            async for figure in subject.figures(cluster):
                figure.show()
    for name in AUDIT:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", f"tests.perf.audit_{name}")
        if await process.wait():
            raise SystemExit(f"tests.perf.audit_{name} ended with {process.returncode}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
