"""FerretDB's program: built once, kept outside the checkout by the content of its sources."""

from __future__ import annotations

from pathlib import Path

from tests.goprogram import GoProgram, Say, to_stderr

VERSION = "v1.24.2"
PROGRAM = GoProgram(
    sources=Path(__file__).resolve().parent,
    folder="ferretdb",
    binary="dezky-ferretdb",
    what=f"FerretDB {VERSION} for the tests of the store",
    takes="a minute",
    linked="",
    ways_out="or set DEZKY_TEST_MONGODB_URI to a MongoDB the tests may make databases in",
)


def binary(say: Say = to_stderr) -> Path:
    """The built program; builds it first when needed, telling what it does. Raises BuildError."""
    return PROGRAM.built(say)
