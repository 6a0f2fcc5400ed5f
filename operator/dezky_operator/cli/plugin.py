"""`kubectl dezky`: a tenant on one screen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

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


def _tenant(name: str) -> dict[str, Any]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        click.echo("kubectl dezky: kubectl is not on PATH", err=True)
        sys.exit(2)
    told = subprocess.run(  # noqa: S603 - kubectl itself, with one name that it checks
        [kubectl, "get", "tenant", name, "-o", "json"], capture_output=True, text=True, check=False
    )
    if told.returncode != 0:
        click.echo(told.stderr.strip(), err=True)
        sys.exit(told.returncode)
    return dict(json.loads(told.stdout))
