"""The commands about the audit log: `dezky-operator audit …`, and through it `kubectl dezky audit …`."""

from __future__ import annotations

import click

from dezky_operator.cli.audit import looking, proving, verifying
from dezky_operator.cli.audit.program import Program

__all__ = ["Program", "audit_group"]


def audit_group(program: Program | None = None) -> click.Group:
    """The group of commands; ``program`` is what stands behind them."""

    @click.group("audit", context_settings={"help_option_names": ["-h", "--help"]})
    @click.pass_context
    def audit(context: click.Context) -> None:
        """Read the audit log, take parts of it out, and prove that nothing was changed."""
        context.obj = program or Program()

    for command in (*looking.COMMANDS, *proving.COMMANDS, *verifying.COMMANDS):
        audit.add_command(command)
    return audit
