"""`kubectl dezky audit …` runs the command where the log is, and ends as it ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = "from dezky_operator.cli.plugin import main; main()"
STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORD"
cat
echo said in the pod
exit "$STATUS"
"""


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with a kubectl that writes down what it was asked."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return program.parent


def environment(folder: Path, status: int = 0, **more: str) -> dict[str, str]:
    path = f"{folder}:/usr/bin:/bin"
    return {"PYTHONPATH": "operator", "PATH": path, "RECORD": str(folder / "asked"), "STATUS": str(status), **more}


def plugin(*arguments: str, env: dict[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ENTRY, "audit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env, input=given)


POD = ["exec", "-i", "-n", "dezky-system", "deploy/dezky-operator", "--", "dezky-operator", "audit"]


@pytest.mark.parametrize("status", [0, 1, 3, 4])
def test_arguments_input_and_exit_code_pass_through(bin_folder: Path, status: int) -> None:
    asked = ["verify", "--key", "a+b", "--json", "-q", "two words", "--help", "-n", "5"]
    ran = plugin(*asked, env=environment(bin_folder, status), given="input\n")
    assert (ran.returncode, ran.stdout) == (status, "input\nsaid in the pod\n")
    assert (bin_folder / "asked").read_text().splitlines() == [*POD, *asked]


def test_the_namespace_is_an_option_before_the_command(bin_folder: Path) -> None:
    plugin("-n", "elsewhere", "list", env=environment(bin_folder))
    assert (bin_folder / "asked").read_text().splitlines()[2:4] == ["-n", "elsewhere"]
    plugin("list", env=environment(bin_folder, DEZKY_NAMESPACE="third"))
    assert (bin_folder / "asked").read_text().splitlines()[2:4] == ["-n", "third"]


def test_with_a_terminal_the_command_in_the_pod_has_one_too(bin_folder: Path) -> None:
    outer, inner = pty.openpty()
    command = [sys.executable, "-c", ENTRY, "audit", "tail"]
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment(bin_folder))
    os.close(inner)
    os.write(outer, b"\x04")
    assert process.wait(60) == 0
    os.close(outer)
    assert "-t" in (bin_folder / "asked").read_text().splitlines()


def test_without_kubectl_it_says_so(tmp_path: Path) -> None:
    ran = plugin("list", env=environment(tmp_path, PATH=str(tmp_path)))
    assert (ran.returncode, "kubectl is not on PATH" in ran.stderr) == (2, True)
