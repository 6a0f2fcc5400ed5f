"""Fixtures of all tiers: one control plane for the whole run, one fresh installation for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.controlplane.cluster import Cluster, test_cluster
from tests.ferretdb.server import served_by, was_asked
from tests.sandbox.workspace import Workspace
from tests.site import Site

ASKED = pytest.StashKey[bool]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells the first one whether a test of its own needed MongoDB."""
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["mongodb"] = was_asked()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of several processes has ended."""
    node.config.stash[ASKED] = node.config.stash.get(ASKED, False) or getattr(node, "workeroutput", {}).get(
        "mongodb", False
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say who answered where a test needed MongoDB."""
    if was_asked() or config.stash.get(ASKED, False):
        terminalreporter.write_line(f"MongoDB was {served_by()}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real API server with our CRDs."""
    with test_cluster() as found:
        yield found


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    """Fresh stand-ins."""
    async with Workspace() as found:
        yield found


@pytest.fixture
async def site(cluster: Cluster) -> AsyncIterator[Site]:
    """A fresh installation, prepared by bootstrap; its operator is not started yet."""
    async with Site(cluster) as found:
        yield found
