"""``python -m tests.lean run …``: the operator's process as it is in production, without the test client's package.

kopf imports ``kubernetes`` wherever it is installed, which costs 40 MiB and half a second (facts/operator-practice.md
0.3); in production it is not installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "tests.lean")
"""To be run in ``ROOT``, with ``ENVIRONMENT`` over a clean one."""
ENVIRONMENT = {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}

if __name__ == "__main__":
    sys.modules["kubernetes"] = None  # type: ignore[assignment]  # Python's own way to say: there is no such module
    from dezky_operator.main import main

    main(prog_name="dezky-operator")
