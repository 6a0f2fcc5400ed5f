"""Builds the control plane once and keeps the binary outside the checkout, by the content of its sources."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.36.3"
GO_AT_LEAST = (1, 26)
BINARY = "dezky-controlplane"


class BuildError(Exception):
    """The control plane can not be built. One line, with the way out."""


def cache_root() -> Path:
    """Where everything that is built or downloaded once is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dezky-operator"


def content_hash() -> str:
    """Changes when any source or pinned dependency of the control plane does."""
    digest = hashlib.sha256()
    for path in sorted([*HERE.glob("*.go"), HERE / "go.mod", HERE / "go.sum"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def binary(say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)) -> Path:
    """The built program; builds it first when needed, telling what it does. Raises BuildError."""
    target = cache_root() / "controlplane" / content_hash() / BINARY
    if target.exists():
        return target
    check_go()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        _lock(lock, say)
        if not target.exists():
            _build(target, say)
    return target


def _lock(lock: TextIO, say: Callable[[str], None]) -> None:
    """Two runs at once build it once; the second one says why nothing happens."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another run is building the test control plane: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def check_go() -> None:
    """Raise BuildError when Go is missing or too old."""
    ways_out = (
        "or set DEZKY_TEST_KUBECONFIG to a test cluster, or KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd"
    )
    go = shutil.which("go")
    if go is None:
        raise BuildError(f"Go >= 1.26 is needed once to build the test control plane; install it, {ways_out}.")
    told = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", told)
    if found is None or (int(found[1]), int(found[2])) < GO_AT_LEAST:
        raise BuildError(
            f"Go >= 1.26 is needed to build the test control plane, found {told or go}; update it, {ways_out}."
        )


def _build(target: Path, say: Callable[[str], None]) -> None:
    say(f"building the test control plane (Kubernetes {KUBERNETES}): about 6 minutes the first time, then never again")
    stamp = "k8s.io/component-base/version.git"
    # Without the stamp the server calls itself v0.0.0 and Helm refuses every chart.
    flags = f"-s -w -X {stamp}Version={KUBERNETES} -X {stamp}Major=1 -X {stamp}Minor=36"
    partial = target.with_suffix(".partial")
    log = target.parent / "build.log"
    command = ["go", "build", "-trimpath", "-ldflags", flags, "-o", str(partial), "."]
    started = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=HERE, env={**os.environ, "CGO_ENABLED": "0"}, stdout=output, stderr=subprocess.STDOUT
        )
        _watch(process, started, say)
    if process.returncode != 0:
        tail = "\n".join(log.read_text().splitlines()[-20:])
        raise BuildError(f"the test control plane did not build (whole output in {log}):\n{tail}")
    partial.rename(target)
    say(f"built in {time.monotonic() - started:.0f} s")


def _watch(process: subprocess.Popen[bytes], started: float, say: Callable[[str], None]) -> None:
    """Tell every 15 seconds that the build goes on."""
    while True:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            say(f"  still building, {time.monotonic() - started:.0f} s so far")
        else:
            return
