"""The operator as a program of its own, as a pod runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from typing import Any

from tests.controlplane.cluster import child_env
from tests.site import Site

PATIENCE = 60.0


async def start(site: Site, folder: Path, *more: str, **changes: Any) -> Process:
    """``dezky-operator run`` for a site; ``changes`` replace whole sections of its settings."""
    settings = {"namespace": site.namespace, **site.changes, **changes}
    path = site.workspace.write_settings(folder / "settings.yaml", **settings)
    return await run("run", "--config", str(path), "--kubeconfig", str(site.cluster.kubeconfig), *more)


async def run(*arguments: str) -> Process:
    """Any command of it."""
    environment = {**child_env(), "PYTHONPATH": "operator"}
    command = [sys.executable, "-m", "dezky_operator.main", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment)


async def ended(process: Process) -> tuple[int, str]:
    """Its status and what it told, once it has ended by itself."""
    told, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, told.decode()


def kubeconfig(path: Path, **document: Any) -> Path:
    """A file that is taken for a kubeconfig."""
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **document}))
    return path


def leads_to(server: str) -> dict[str, Any]:
    """The content of a kubeconfig without TLS."""
    return {
        "clusters": [{"name": "one", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "nobody"}}],
        "current-context": "one",
    }
