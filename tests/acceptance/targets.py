"""Which servers the acceptance suite talks to: real ones named by the environment, stand-ins for the rest.

======================================= ==========================================================================
``DEZKY_TEST_AUTHENTIK_URL``            e.g. ``https://auth.example.org``
``DEZKY_TEST_AUTHENTIK_TOKEN``          API token of a superuser
``DEZKY_TEST_INSTALLATION_ID``          for Authentik only: the installation it was, or may be, bootstrapped for (a
                                        UUID; has a default). What bootstrap makes there stays
``DEZKY_TEST_STALWART_URL``             e.g. ``https://mail.example.org``
``DEZKY_TEST_STALWART_ADMIN``           ``user:password`` of an administrator
``DEZKY_TEST_STALWART_SMTP``            ``host:port`` where other mail servers deliver (25)
``DEZKY_TEST_STALWART_SUBMISSION``      ``host:port`` where people log in to send; the one of SMTP when left out
``DEZKY_TEST_STALWART_IMAP``            ``host:port`` where people log in to read
``DEZKY_TEST_STALWART_BOOTSTRAP``       ``yes`` lets `bootstrap` run there too: it makes an account and changes settings
                                        of fixed names, and an operator at work there would lose its own
``DEZKY_TEST_OCIS_URL``                 e.g. ``https://files.example.org``
``DEZKY_TEST_OCIS_AUTH``                ``user:password``, or ``Bearer TOKEN`` where OCIS takes only Authentik's
                                        tokens; a user with the role Admin
``DEZKY_TEST_TLS``                      ``unchecked`` takes any certificate, as test servers often have
======================================= ==========================================================================

A ``host:port`` with ``tls://`` before it speaks TLS from the first byte; without, STARTTLS is used where offered.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from tests.sandbox.authentik.server import AuthentikStandIn
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.stalwart.server import StalwartStandIn

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
PREFIX = "DEZKY_TEST_"
SYSTEMS = ("AUTHENTIK", "STALWART", "OCIS")
NEEDED = {"AUTHENTIK": ("TOKEN",), "STALWART": ("ADMIN", "SMTP", "IMAP"), "OCIS": ("AUTH",)}


class IncompleteError(Exception):
    """The URL of a real server is given, but not what else is needed to use it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a mail protocol is spoken; ``tls`` from the first byte."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From ``host:port`` or ``tls://host:port``."""
        bare = text.removeprefix("tls://")
        host, _, port = bare.rpartition(":")
        return cls(host, int(port), tls=bare != text)


@dataclass(frozen=True, slots=True)
class Web:
    """An HTTP server and the header that opens it. ``checked``: whether its certificate must be good."""

    url: str
    header: str
    checked: bool = True

    def client(self, header: str | None = None) -> httpx2.AsyncClient:
        """A client that signs in with ``header`` (by default our own, "" for nobody)."""
        used = self.header if header is None else header
        headers = {"Authorization": used} if used else {}
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, verify=self.checked, trust_env=False, timeout=30.0
        )


@dataclass(frozen=True, slots=True)
class Mail:
    """Stalwart: management over HTTP, and the doors that mail and people use."""

    web: Web
    smtp: Endpoint
    submission: Endpoint
    imap: Endpoint


@dataclass(frozen=True, slots=True)
class Identity:
    """Authentik, and the installation it is bootstrapped for."""

    web: Web
    installation: str


def basic(user: str, password: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def is_real(environment: Mapping[str, str], system: str) -> bool:
    """Whether the environment names a real server. Raises IncompleteError when it only half does."""
    if not environment.get(f"{PREFIX}{system}_URL"):
        return False
    names = [f"{PREFIX}{system}_{name}" for name in NEEDED[system]]
    if missing := [name for name in names if not environment.get(name)]:
        raise IncompleteError(f"{PREFIX}{system}_URL is set, but {', '.join(missing)} is not.")
    return True


def lines(environment: Mapping[str, str]) -> list[str]:
    """What this run was made against, for a person."""
    return [
        f"{system.title():9} {'REAL     ' + environment[f'{PREFIX}{system}_URL'] if real else 'stand-in'}"
        for system in SYSTEMS
        for real in [is_real(environment, system)]
    ]


@asynccontextmanager
async def authentik(environment: Mapping[str, str]) -> AsyncIterator[Identity]:
    """The Authentik to test."""
    installation = environment.get(f"{PREFIX}INSTALLATION_ID", INSTALLATION)
    if is_real(environment, "AUTHENTIK"):
        yield Identity(
            _web(environment, "AUTHENTIK", f"Bearer {environment[f'{PREFIX}AUTHENTIK_TOKEN']}"), installation
        )
        return
    async with AuthentikStandIn(bootstrap_token="acceptance") as server:
        yield Identity(Web(server.url, "Bearer acceptance"), installation)


@asynccontextmanager
async def stalwart(environment: Mapping[str, str]) -> AsyncIterator[Mail]:
    """The Stalwart to test."""
    if is_real(environment, "STALWART"):
        user, _, password = environment[f"{PREFIX}STALWART_ADMIN"].partition(":")
        smtp, imap = (Endpoint.parse(environment[f"{PREFIX}STALWART_{name}"]) for name in ("SMTP", "IMAP"))
        given = environment.get(f"{PREFIX}STALWART_SUBMISSION")
        submission = Endpoint.parse(given) if given else smtp
        yield Mail(_web(environment, "STALWART", basic(user, password)), smtp, submission, imap)
        return
    async with StalwartStandIn(admin=("admin", "acceptance")) as server:
        smtp, imap = Endpoint("127.0.0.1", server.smtp_port), Endpoint("127.0.0.1", server.imap_port)
        yield Mail(Web(server.url, basic("admin", "acceptance")), smtp, smtp, imap)


@asynccontextmanager
async def ocis(environment: Mapping[str, str]) -> AsyncIterator[Web]:
    """The OCIS to test."""
    if is_real(environment, "OCIS"):
        given = environment[f"{PREFIX}OCIS_AUTH"]
        user, _, password = given.partition(":")
        yield _web(environment, "OCIS", given if given.startswith("Bearer ") else basic(user, password))
        return
    async with OcisStandIn(admin=("admin", "acceptance")) as server:
        yield Web(server.url, basic("admin", "acceptance"))


def _web(environment: Mapping[str, str], system: str, header: str) -> Web:
    checked = environment.get(f"{PREFIX}TLS") != "unchecked"
    return Web(environment[f"{PREFIX}{system}_URL"].rstrip("/"), header, checked=checked)
