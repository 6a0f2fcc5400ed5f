"""One installation for all sweeps: bootstrap takes longer than a run."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator

import pytest

from dezky_operator.config import LogSettings
from dezky_operator.telemetry import logging as telemetry
from tests.controlplane.cluster import Cluster

pytest.register_assert_rewrite("tests.faults.ends", "tests.faults.receipts")
from tests.faults.sweep import Sweep  # noqa: E402 - its assertions are told in words only when they are known before


@pytest.fixture(scope="session")
async def sweep(cluster: Cluster) -> AsyncIterator[Sweep]:
    """Prepared by bootstrap, with strangers living in it."""
    async with Sweep(cluster) as found:
        yield found


@pytest.fixture
async def swept(sweep: Sweep) -> AsyncIterator[None]:
    """What ended lives left is collected before the next test, which would be blamed for it."""
    yield
    await sweep.bury()
    gc.collect()


@pytest.fixture(autouse=True, scope="session")
def quiet() -> None:
    """A process that ends in the middle leaves cut connections: their stack traces would bury what failed."""
    telemetry.configure(LogSettings(level="warning"))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("kopf").setLevel(logging.ERROR)
