"""`kubectl dezky`: a tenant on one screen, and the audit log of the installation."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

OPERATOR = "deploy/dezky-operator"
COLORS = {"True": "green", "False": "red", "Unknown": "yellow"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at Dezky's tenants."""


@main.command()
@click.argument("name")
def status(name: str) -> None:
    """Show the conditions of one Tenant, and what to do."""
    found = _tenant(name)
    table = Table("condition", "status", "reason", "what it means", title=f"{name}: {found['spec']['displayName']}")
    for condition in found.get("status", {}).get("conditions", []):
        color = COLORS.get(condition["status"], "white")
        table.add_row(
            condition["type"], f"[{color}]{condition['status']}[/]", condition["reason"], condition["message"]
        )
    Console().print(table)


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
)
@click.option("--namespace", "-n", envvar="DEZKY_NAMESPACE", default="dezky-system", show_default=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def audit(namespace: str, arguments: tuple[str, ...]) -> None:
    """Run `dezky-operator audit ARGUMENTS` in the operator's pod, where the log is; ends as it ends.

    The log is read where it is stored, so nobody needs a copy of it, and files it writes are written there.
    """
    # With a terminal Ctrl-C reaches the command in the pod, and it sees how wide the screen is.
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    command = ["exec", "-i", *terminal, "-n", namespace, OPERATOR, "--", "dezky-operator", "audit", *arguments]
    sys.exit(subprocess.run([_kubectl(), *command], check=False).returncode)  # noqa: S603 - kubectl itself, no shell


def _kubectl() -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        click.echo("kubectl dezky: kubectl is not on PATH", err=True)
        sys.exit(2)
    return kubectl


def _tenant(name: str) -> dict[str, Any]:
    told = subprocess.run(  # noqa: S603 - kubectl itself, with one name that it checks
        [_kubectl(), "get", "tenant", name, "-o", "json"], capture_output=True, text=True, check=False
    )
    if told.returncode != 0:
        click.echo(told.stderr.strip(), err=True)
        sys.exit(told.returncode)
    return dict(json.loads(told.stdout))
