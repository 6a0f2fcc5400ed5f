"""The control plane's program: built once, kept outside the checkout by the content of its sources."""

from __future__ import annotations

from pathlib import Path

from tests.goprogram import BuildError, GoProgram, Say, cache_root, to_stderr

__all__ = ["BuildError", "binary", "cache_root", "check_go", "content_hash"]

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.36.3"
BINARY = "dezky-controlplane"
_STAMP = "k8s.io/component-base/version.git"


def _program() -> GoProgram:
    return GoProgram(
        sources=HERE,
        folder="controlplane",
        binary=BINARY,
        what="the test control plane",
        takes="6 minutes",
        # Without the stamp the server calls itself v0.0.0 and Helm refuses every chart.
        linked=f"-X {_STAMP}Version={KUBERNETES} -X {_STAMP}Major=1 -X {_STAMP}Minor=36",
        ways_out=(
            "or set DEZKY_TEST_KUBECONFIG to a test cluster, or KUBEBUILDER_ASSETS to a folder with kube-apiserver "
            "and etcd"
        ),
    )


def content_hash() -> str:
    """Changes when any source or pinned dependency of the control plane does."""
    return _program().content_hash()


def binary(say: Say = to_stderr) -> Path:
    """The built program; builds it first when needed, telling what it does. Raises BuildError."""
    return _program().built(say)


def check_go() -> None:
    """Raise BuildError when Go is missing or too old."""
    _program().check_go()
