"""`python -m tests.controlplane` builds the control plane when it is not built yet."""

from __future__ import annotations

import os
import sys

from tests.controlplane.build import BuildError, binary

if __name__ == "__main__" and not (os.environ.get("DEZKY_TEST_KUBECONFIG") or os.environ.get("KUBEBUILDER_ASSETS")):
    try:
        binary()
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
