"""Processes that are measured from outside: the operator as in production, and the bare libraries beside it."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import httpx2

from tests import lean
from tests.controlplane.cluster import child_env
from tests.site import Site

PATIENCE = 60.0
MIB = 1024.0
Condition = Callable[[], Awaitable[bool]]


class OperatorProcess:
    """``dezky-operator run`` without the ``kubernetes`` package, as in production. Start with ``async with``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        folder = Path(self._open.enter_context(TemporaryDirectory()))
        port = _free_port()
        changes = {**_quiet(self._site.workspace.dns.port), "metrics": {"host": "127.0.0.1", "port": port}}
        path = self._site.workspace.write_settings(
            folder / "settings.yaml", namespace=self._site.namespace, **{**changes, **self._site.changes}
        )
        command = [*lean.COMMAND, "run", "--config", str(path), "--kubeconfig", str(self._site.cluster.kubeconfig)]
        self._process = await _start(command)
        base = f"http://127.0.0.1:{port}"
        self._probe = await self._open.enter_async_context(httpx2.AsyncClient(base_url=base, trust_env=False))
        await self.until(self._works, "the operator works")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await asyncio.wait_for(self._process.wait(), PATIENCE)
        await self._open.aclose()

    async def samples(self, name: str) -> dict[str, float]:
        """A metric's samples by their labels as the page writes them: ``what="secrets"``."""
        page = (await self._probe.get("/metrics")).text
        found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", page, flags=re.MULTILINE)
        return {labels: float(value) for labels, value in found}

    async def api_writes(self) -> dict[str, float]:
        """Writes to the API server so far, by resource."""
        samples = await self.samples("dezky_kube_writes_total")
        return {labels.removeprefix('what="').removesuffix('"'): value for labels, value in samples.items()}

    async def reaches(self, name: str, value: float, *, labelled: str = "") -> None:
        """Until a metric, of its samples those whose labels contain ``labelled``, has reached ``value``."""

        async def reached() -> bool:
            samples = await self.samples(name)
            return sum(found for labels, found in samples.items() if labelled in labels) >= value

        # Seldom: writing and reading the page is work that would be measured along.
        await self.until(reached, f"{name} is {value}", patience=600.0, pause=0.2)

    async def until(self, condition: Condition, what: str, *, patience: float = PATIENCE, pause: float = 0.02) -> None:
        """Until ``condition`` holds; times in seconds. Raises AssertionError, also when the process ended."""
        deadline = asyncio.get_running_loop().time() + patience
        while not await condition():
            told = f"never came about: {what} (exit status {self._process.returncode})"
            assert self._process.returncode is None, told
            assert asyncio.get_running_loop().time() < deadline, told
            await asyncio.sleep(pause)

    def resident(self) -> float:
        """Its memory, in MiB."""
        return _memory(self._process.pid, "VmRSS")

    def peak(self) -> float:
        """The most it ever had, in MiB."""
        return _memory(self._process.pid, "VmHWM")

    async def _works(self) -> bool:
        try:
            answer = await self._probe.get("/readyz")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200 and answer.json().get("role") == "working"


async def bare_memory(site: Site) -> float:
    """MiB of a process that only has kopf and lightkube connected to the same API server (:mod:`tests.perf.bare`)."""
    process = await _start([sys.executable, "-m", "tests.perf.bare", str(site.cluster.kubeconfig)])
    assert process.stdout is not None
    try:
        told = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert told == b"connected\n", told
        return _memory(process.pid, "VmRSS")
    finally:
        process.kill()
        await process.wait()


async def _start(command: list[str]) -> Process:
    environment = {**child_env(), **lean.ENVIRONMENT}
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=lean.ROOT, env=environment)


def _quiet(dns_port: int) -> dict[str, Any]:
    """Nobody publishes the records in a bench: looking for them every two seconds would be a load of its own."""
    return {
        "log": {"format": "json", "level": "error"},
        "dns": {"servers": [f"127.0.0.1:{dns_port}"], "timeoutSeconds": 1.0, "recheckSeconds": 3600.0},
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _memory(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / MIB
