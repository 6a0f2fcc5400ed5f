"""The process's entry: `dezky-operator run`, and what people do with its log: `dezky-operator audit`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import httpx2
import structlog
from lightkube import ConfigError

from dezky_operator import __version__, config
from dezky_operator.cli.audit import Program, audit_group
from dezky_operator.cli.audit.installed import Installed
from dezky_operator.config import Settings, SettingsError
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.kube.bootstrap import Administrator, prepare
from dezky_operator.kube.process import LostLease, Operator
from dezky_operator.kube.transport import cluster_config
from dezky_operator.telemetry import logging

log = structlog.get_logger(__name__)
MISUSED = 2
"""Exit status for settings that can not be used: a restart would not help."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dezky-operator")
def main() -> None:
    """Control plane of the Dezky workspace."""


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="The settings file.")
@click.option("--kubeconfig", help="The API server; without it the pod's service account. $KUBECONFIG is not read.")
@click.option("--identity", help="The name this process holds the Lease under; the pod's name by default.")
def run(path: Path, kubeconfig: str | None, identity: str | None) -> None:
    """Watch Tenants and keep them as declared."""
    settings = _settings(path)
    logging.configure(settings.log)
    with _in_a_sentence(path):
        asyncio.run(_run(settings, kubeconfig, identity or _identity()))


async def _run(settings: Settings, kubeconfig: str | None, identity: str) -> None:
    operator = Operator(settings, cluster_config(kubeconfig), identity=identity)
    await operator.check()
    await operator.run()


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="The settings file.")
@click.option("--kubeconfig", help="The API server; without it the pod's service account. $KUBECONFIG is not read.")
@click.option("--authentik-token", envvar="AUTHENTIK_BOOTSTRAP_TOKEN", required=True, help="A superuser's API token.")
@click.option("--stalwart-admin", envvar="STALWART_ADMIN", required=True, help="user:password of an administrator.")
@click.option("--allow-network", multiple=True, help="A source address of the operator that Stalwart must never ban.")
def bootstrap(
    path: Path,
    kubeconfig: str | None,
    authentik_token: str,
    stalwart_admin: str,
    allow_network: tuple[str, ...],
) -> None:
    """Prepare Authentik, Stalwart and OCIS once; running it again makes only what is missing."""
    settings = _settings(path)
    logging.configure(settings.log)
    admin = Administrator(authentik_token=authentik_token, stalwart=stalwart_admin, networks=allow_network)
    with _in_a_sentence(path):
        done = asyncio.run(prepare(settings, cluster_config(kubeconfig), admin))
    for line in done.lines:
        click.echo(line)
    sys.exit(0 if done.complete else 1)


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    """Whatever is expected to go wrong ends the process with one sentence; a traceback would be a defect of ours."""
    try:
        yield
    except SettingsError as error:
        _refuse(f"{path}: {error}")
    except ConfigError as error:
        _refuse(f"no way to the API server: {error}. Give --kubeconfig, or run in a pod with a service account.")
    except LostLease as error:
        log.error("ended", reason=str(error))  # noqa: TRY400 - the place in our code tells nothing
        sys.exit(1)
    except IntegrationError as error:
        _end(str(error))
    except httpx2.HTTPStatusError as error:  # lightkube's ApiError is one
        _end(f"the API server refused: {error}")
    except httpx2.HTTPError as error:
        _end(f"the API server did not answer ({type(error).__name__}: {error}). Is it up, and its address right?")


def _settings(path: Path) -> Settings:
    try:
        return config.load(path)
    except SettingsError as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    click.echo(f"dezky-operator: {message}", err=True)
    sys.exit(MISUSED)


def _end(message: str) -> NoReturn:
    click.echo(f"dezky-operator: {message}", err=True)
    sys.exit(1)


def _identity() -> str:
    """The pod's name. Outside a pod two processes of one machine must not take each other's Lease."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"


main.add_command(audit_group(Program(installation=Installed)))

if __name__ == "__main__":
    main()
