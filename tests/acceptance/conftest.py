"""The suite that knows the three systems only by URL and credentials; see :mod:`tests.acceptance.targets`.

What it sees, it sees over HTTP, JMAP, SMTP, IMAP and WebDAV. Everything it makes has a name of this run and is removed
again, so it can run against a shared test server. The one exception is what `bootstrap` makes in Authentik: without
that no tenant can be made there, and the next run finds it again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest

from tests.acceptance import targets
from tests.acceptance.graph import Graph
from tests.acceptance.jmap import Jmap
from tests.acceptance.rest import Rest
from tests.acceptance.targets import Identity, Mail, Web

Fresh = Callable[[], str]


def pytest_report_header() -> list[str]:
    """Said before, so that nobody takes a run against stand-ins for one against real servers."""
    return [f"acceptance: {line}" for line in targets.lines(os.environ)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Said again after the run: this is what is read."""
    terminalreporter.section("acceptance was run against")
    for line in targets.lines(os.environ):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def fresh() -> Fresh:
    """Names nobody has used: a prefix of this run, and a number."""
    run, numbers = f"t{secrets.token_hex(3)}", count(1)
    return lambda: f"{run}n{next(numbers)}"


@pytest.fixture
def slug(fresh: Fresh) -> str:
    """A name of this test alone."""
    return fresh()


@pytest.fixture(scope="session")
async def stalwart() -> AsyncIterator[Mail]:
    """Where Stalwart is."""
    async with targets.stalwart(os.environ) as found:
        yield found


@pytest.fixture(scope="session")
async def ocis() -> AsyncIterator[Web]:
    """Where OCIS is."""
    async with targets.ocis(os.environ) as found:
        yield found


@pytest.fixture(scope="session")
async def authentik() -> AsyncIterator[Identity]:
    """Where Authentik is."""
    async with targets.authentik(os.environ) as found:
        yield found


@pytest.fixture
async def jmap(stalwart: Mail) -> AsyncIterator[Jmap]:
    """Stalwart's administrator; what it makes is destroyed after the test."""
    async with stalwart.web.client() as http:
        found = Jmap(http)
        yield found
        await found.tidy()


@pytest.fixture
async def graph(ocis: Web) -> AsyncIterator[Graph]:
    """OCIS's administrator; what it makes is removed after the test."""
    async with ocis.client() as http:
        found = Graph(http)
        yield found
        await found.tidy()


@pytest.fixture
async def rest(authentik: Identity) -> AsyncIterator[Rest]:
    """Authentik's superuser; what it makes is removed after the test."""
    async with authentik.web.client() as http:
        found = Rest(http)
        yield found
        await found.tidy()
