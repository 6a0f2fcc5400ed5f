"""Programs in Go that the tests run against: built once and kept outside the checkout by their sources' content."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

GO_AT_LEAST = (1, 26)
Say = Callable[[str], None]


class BuildError(Exception):
    """A program can not be built. One line, with the way out."""


def cache_root() -> Path:
    """Where everything that is built or downloaded once is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dezky-operator"


def to_stderr(line: str) -> None:
    """Tell it at once."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class GoProgram:
    """A Go module of ours that is one program.

    Attributes:
        sources: its folder.
        folder: of the cache.
        binary: name of the program.
        what: what it is, in a sentence about building it.
        takes: how long that takes.
        linked: more flags of the linker.
        ways_out: what to do where there is no Go.
    """

    sources: Path
    folder: str
    binary: str
    what: str
    takes: str
    linked: str
    ways_out: str

    def content_hash(self) -> str:
        """Changes when any source or pinned dependency does."""
        digest = hashlib.sha256()
        for path in sorted([*self.sources.glob("*.go"), self.sources / "go.mod", self.sources / "go.sum"]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def built(self, say: Say) -> Path:
        """The built program; builds it first when needed, telling what it does. Raises BuildError."""
        target = cache_root() / self.folder / self.content_hash() / self.binary
        if target.exists():
            return target
        self.check_go()
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / "lock").open("w") as lock:
            self._lock(lock, say)
            if not target.exists():
                self._build(target, say)
        return target

    def _lock(self, lock: TextIO, say: Say) -> None:
        """Two runs at once build it once; the second one says why nothing happens."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is building {self.what}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)

    def check_go(self) -> None:
        """Raise BuildError when Go is missing or too old."""
        go = shutil.which("go")
        if go is None:
            raise BuildError(f"Go >= 1.26 is needed once to build {self.what}; install it, {self.ways_out}.")
        told = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
        found = re.match(r"go(\d+)\.(\d+)", told)
        if found is None or (int(found[1]), int(found[2])) < GO_AT_LEAST:
            raise BuildError(
                f"Go >= 1.26 is needed to build {self.what}, found {told or go}; update it, {self.ways_out}."
            )

    def _build(self, target: Path, say: Say) -> None:
        say(f"building {self.what}: about {self.takes} the first time, then never again")
        partial = target.with_suffix(".partial")
        log = target.parent / "build.log"
        command = ["go", "build", "-trimpath", "-ldflags", f"-s -w {self.linked}".strip(), "-o", str(partial), "."]
        started = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=self.sources,
                env={**os.environ, "CGO_ENABLED": "0"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _watch(process, started, say)
        if process.returncode != 0:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise BuildError(f"{self.what} did not build (whole output in {log}):\n{tail}")
        partial.rename(target)
        say(f"built in {time.monotonic() - started:.0f} s")


def _watch(process: subprocess.Popen[bytes], started: float, say: Say) -> None:
    """Tell every 15 seconds that the build goes on."""
    while True:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            say(f"  still building, {time.monotonic() - started:.0f} s so far")
        else:
            return
