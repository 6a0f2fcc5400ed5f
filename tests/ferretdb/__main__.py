"""`python -m tests.ferretdb` builds FerretDB when it is not built yet."""

from __future__ import annotations

import os
import sys

from tests.ferretdb.build import binary
from tests.goprogram import BuildError

if __name__ == "__main__" and not os.environ.get("DEZKY_TEST_MONGODB_URI"):
    try:
        binary()
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
