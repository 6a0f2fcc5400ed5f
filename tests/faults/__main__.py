"""``python -m tests.faults``: the sweeps, shared by one process more than cores, each with its own API server.

A cluster named by ``DEZKY_TEST_KUBECONFIG`` is one, and every operator there sees every Tenant: nothing is shared then.
Arguments are handed to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import IO

MOST = 3
"""Processes: half of the time each waits for the other programs. An API server and its etcd are no small guests."""


def main() -> int:
    """Run all shares; the worst exit status."""
    shares = 1 if os.environ.get("DEZKY_TEST_KUBECONFIG") else min(MOST, 1 + (os.cpu_count() or 1))
    started = time.monotonic()
    running = [_start(number, shares) for number in range(1, shares + 1)]
    worst = 0
    for number, (process, output) in enumerate(running, 1):
        status = process.wait()
        print(f"share {number} of {shares}, after {time.monotonic() - started:.0f} s:", flush=True)
        output.seek(0)
        sys.stdout.write(output.read())
        worst = max(worst, abs(status))
    return worst


def _start(number: int, shares: int) -> tuple[subprocess.Popen[str], IO[str]]:
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with this process
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/faults", *sys.argv[1:]]
    environment = {**os.environ, "DEZKY_FAULTS_SHARE": f"{number}/{shares}"}
    return subprocess.Popen(command, stdout=output, stderr=output, text=True, env=environment), output


if __name__ == "__main__":
    sys.exit(main())
