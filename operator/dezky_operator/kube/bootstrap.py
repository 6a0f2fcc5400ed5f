"""`dezky-operator bootstrap`: the three systems, and the Secrets with the credentials made for every day."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lightkube import ApiError, AsyncClient
from lightkube.config.kubeconfig import SingleConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Secret

from dezky_operator.config import OcisAuth, SecretRef, Settings
from dezky_operator.integrations.authentik.bootstrap import AuthentikBootstrap
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.connection import Connection, Credential, Limits, NoFence
from dezky_operator.integrations.errors import AuthFailed, NoPermission
from dezky_operator.integrations.ocis.bootstrap import check, environment
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.stalwart.bootstrap import Plan, StalwartBootstrap
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.steps import System
from dezky_operator.kube.credentials import SecretReader, UnusableSecret, basic, bearer
from dezky_operator.kube.lease import Fence, boottime
from dezky_operator.kube.resources import is_status
from dezky_operator.kube.systems import Wiring, ocis_connection, stalwart_connection
from dezky_operator.kube.transport import connect
from dezky_operator.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """Credentials that are used once and not kept."""

    authentik_token: str = field(repr=False)
    stalwart: str = field(repr=False)
    """`user:password`."""
    networks: tuple[str, ...] = ()


@dataclass(slots=True)
class Done:
    """What was done, for a person; ``complete`` is False when somebody has to do something."""

    lines: list[str] = field(default_factory=list)
    complete: bool = True


class _Given:
    """A credential from the command line."""

    def __init__(self, header: str, source: str) -> None:
        self._credential = Credential(
            header=header, version="given", source=source, remedy="Give a valid one, then run this again."
        )

    async def credential(self) -> Credential:
        """It."""
        return self._credential


async def prepare(settings: Settings, config: SingleConfig, admin: Administrator) -> Done:
    """Prepare everything. Raises IntegrationError, httpx2.HTTPError (of which ApiError is one), ConfigError."""
    fence = Fence()
    fence.extend(boottime() + 600.0)  # runs beside no other bootstrap; the Lease is the daily process's
    metrics, done = Metrics(), Done()
    client = connect(config, fence=fence, metrics=metrics)
    reader = SecretReader(client, settings.namespace, clock=time.monotonic, freshness=0.0)
    wiring = Wiring(reader=reader, fence=NoFence(), metrics=metrics, clock=time.monotonic)
    try:
        await _namespace(client, settings.namespace)
        identity = AuthentikBootstrap(
            AuthentikClient(_connection(settings, System.AUTHENTIK, bearer(admin.authentik_token), wiring)),
            installation_id=str(settings.installation_id),
            base_domain=settings.base_domain,
        )
        made = await identity.run()
        done.lines += [f"authentik: {line}" for line in made.lines] or ["authentik: nothing was missing"]
        await _keep(client, settings, settings.authentik.token_secret_ref, made.token, done)
        mail = StalwartBootstrap(
            StalwartClient(_connection(settings, System.STALWART, basic(admin.stalwart), wiring)),
            Plan(
                installation_id=str(settings.installation_id),
                networks=admin.networks,
                issuer=f"{_public(settings)}/application/o/dezky-mail/",
                key_kept=await _stalwart_key_kept(settings, wiring),
            ),
        )
        result = await mail.run()
        done.lines += [f"stalwart: {line}" for line in result.lines] or ["stalwart: nothing was missing"]
        if result.key:
            await _keep(client, settings, settings.stalwart.token_secret_ref, result.key, done)
        if settings.ocis.auth is OcisAuth.OIDC:
            await _keep(client, settings, settings.ocis.secret_ref, made.ocis_secret, done)
        await _check_ocis(settings, wiring, done)
    finally:
        await wiring.close()
        await client.close()
    return done


async def _check_ocis(settings: Settings, wiring: Wiring, done: Done) -> None:
    problem = await check(OcisClient(ocis_connection(settings, wiring)))
    if problem is None:
        done.lines.append("ocis: the operator gets in")
        return
    done.complete = False
    done.lines += [f"ocis: {problem}", "ocis: start it with this environment, then run this again:"]
    done.lines += [
        f"  {line}" for line in environment(settings.ocis.issuer or f"{_public(settings)}/application/o/dezky-ocis/")
    ]


async def _stalwart_key_kept(settings: Settings, wiring: Wiring) -> bool:
    """Whether the Secret has the daily key, and Stalwart takes it. One that is lost is shown by nobody any more."""
    try:
        await StalwartClient(stalwart_connection(settings, wiring)).probe()
    except AuthFailed:
        return False
    except NoPermission:
        pass  # a key all the same; bootstrap puts its role right
    return True


def _connection(settings: Settings, system: System, header: str, wiring: Wiring) -> Connection:
    url = settings.authentik.url if system is System.AUTHENTIK else settings.stalwart.url
    return Connection(
        system=system,
        client=wiring.client(system, base_url=url.rstrip("/")),
        authorizer=_Given(header, "the command line"),
        limits=Limits(concurrency=4),
        fence=NoFence(),
        metrics=wiring.metrics,
    )


def _public(settings: Settings) -> str:
    url = urlsplit(settings.authentik.public_url or settings.authentik.url)
    return f"{url.scheme}://{url.netloc}"


async def _namespace(client: AsyncClient, name: str) -> None:
    try:
        await client.create(Namespace(metadata=ObjectMeta(name=name)))
    except ApiError as error:
        if not is_status(error, 409):
            raise


async def _keep(client: AsyncClient, settings: Settings, ref: SecretRef, value: str, done: Done) -> None:
    """Put a credential where the settings look for it; one that is the same already is not written."""
    secret = Secret(
        metadata=ObjectMeta(name=ref.name, namespace=settings.namespace), stringData=_string_data(ref, value)
    )
    try:
        await client.create(secret)
    except ApiError as error:
        if not is_status(error, 409):
            raise
        if await _holds(client, settings, ref, value):
            return
        await client.patch(Secret, ref.name, {"stringData": _string_data(ref, value)}, namespace=settings.namespace)
    done.lines.append(f"kubernetes: wrote Secret {settings.namespace}/{ref.name}, key {ref.key}")


def _string_data(ref: SecretRef, value: str) -> dict[str, str]:
    return {ref.key: value}


async def _holds(client: AsyncClient, settings: Settings, ref: SecretRef, value: str) -> bool:
    reader = SecretReader(client, settings.namespace, clock=time.monotonic, freshness=0.0)
    try:
        known = await reader.read(ref)
    except UnusableSecret:
        return False
    return known is not None and known.value == value
