"""`dezky-operator audit …` and the second verifier as somebody starts them: processes, with exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.audit.corpus import TOOL

PATIENCE = 60
ENTRY = "from dezky_operator.cli.audit import audit_group; audit_group()()"
"""The commands alone: the operator's entry brings all of Kubernetes along, which is a second for each process."""


def environment(**more: str) -> dict[str, str]:
    """What the process needs and nothing of the shell's settings."""
    return {"PYTHONPATH": "operator", "PATH": "/usr/bin:/bin", "COLUMNS": "100", "LANG": "C.UTF-8", **more}


def audit(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = [sys.executable, "-c", ENTRY, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment(**more)
    )


def second(*arguments: str | Path, tool: Path = TOOL) -> subprocess.CompletedProcess[str]:
    """The second verifier, isolated from everything that is installed."""
    command = [sys.executable, "-I", "-S", str(tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
