"""The ground in memory, prepared once for all tests of this folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from dezky_operator.config import LogSettings
from dezky_operator.telemetry import logging as telemetry
from tests.properties.memory import Memory, memory


@pytest.fixture(autouse=True, scope="session")
def quiet() -> None:
    """Thousands of looks, most of them at something broken: what they log would bury the steps that failed."""
    telemetry.configure(LogSettings(level="critical"))
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logging.getLogger("kopf").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Memory]:
    with memory() as found:
        yield found
