"""The cluster that tests and the demo use: our own control plane, or the one ``DEZKY_TEST_KUBECONFIG`` names.

What is put there carries a run id, and only what carries it is taken away again. A plain ``KUBECONFIG`` is never looked
at, and never handed to a program started here: many people have a production cluster in theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.plane import ControlPlane
from tests.tools.kubectl import tool

LABEL = "dezky.eu/test-cluster"
CRDS = Path(__file__).resolve().parents[2] / "crds"
RUNS = "dezky-run-"


class ForeignCluster(Exception):  # noqa: N818 - it is what was found
    """The cluster holds Tenants that are not from a test. Nothing was changed."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to test on."""

    kubeconfig: Path
    run_id: str
    plane: ControlPlane | None = None

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - subprocess's own word
        """Run real kubectl against this cluster; its output, of both kinds."""
        done = self._kubectl(*arguments, input=input, check=check)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """What ``kubectl … -o json`` tells."""
        return json.loads(self._kubectl(*arguments, "-o", "json").stdout)  # warnings go to the other output

    def install_crds(self) -> None:
        """Install our CRDs with the run's label, and wait until the API server serves them."""
        self.refuse_foreign()
        for path in sorted(CRDS.glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            # The label comes with the object: a run killed between two writes would leave a CRD that is nobody's.
            crd["metadata"].setdefault("labels", {})[LABEL] = self.run_id
            self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(crd))
            # Right after the apply there are no conditions yet, which kubectl takes for an error: serving is the proof.
            established = ("--for=condition=Established", f"crd/{crd['metadata']['name']}", "--timeout=30s")
            self.kubectl("wait", *established, check=False)
            self._wait_served(crd["spec"]["names"]["plural"])

    def remove_crds(self) -> None:
        """Take away what :meth:`install_crds` brought, Tenants included; nothing else."""
        for crd in self.json("get", "crd", "-l", f"{LABEL}={self.run_id}")["items"]:
            for found in self.json("get", crd["metadata"]["name"])["items"]:
                patch = '{"metadata":{"finalizers":[]}}'  # nobody is left who would take them off
                name = f"{crd['metadata']['name']}/{found['metadata']['name']}"
                self.kubectl("patch", name, "--type=merge", "-p", patch, check=False)
            self.kubectl("delete", "crd", crd["metadata"]["name"], "--timeout=30s")

    def refuse_foreign(self) -> None:
        """Raise ForeignCluster where somebody else's CRDs of our group are."""
        for crd in self.json("get", "crd")["items"]:
            ours = crd["metadata"].get("labels", {}).get(LABEL) == self.run_id
            if crd["spec"]["group"] == "dezky.eu" and not ours:
                raise ForeignCluster(
                    f"this cluster has {crd['metadata']['name']} already, without label {LABEL}={self.run_id}: it is "
                    "not a cluster of this test run. Point DEZKY_TEST_KUBECONFIG to an empty test cluster."
                )

    def _kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - subprocess's own word
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(tool("kubectl")), "--kubeconfig", str(self.kubeconfig), *arguments],
            input=input,
            capture_output=True,
            text=True,
            env=child_env(),
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done

    def _wait_served(self, resource: str) -> None:
        """Right after a CRD changes its storage answers 429 for a moment."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            told = self.kubectl("get", resource, check=False)
            if "rror" not in told:
                return
            time.sleep(0.1)
        raise AssertionError(f"{resource} are not served: {told}")


def child_env() -> dict[str, str]:
    """The environment of programs started by tests: without an exported cluster."""
    return {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}


@contextlib.contextmanager
def test_cluster(**options: Any) -> Iterator[Cluster]:
    """A cluster for the time of the context; ``options`` are those of :class:`ControlPlane`."""
    given = os.environ.get("DEZKY_TEST_KUBECONFIG")
    run_id = uuid.uuid4().hex[:8]
    if given:
        cluster = Cluster(kubeconfig=Path(given), run_id=run_id)
        try:
            cluster.install_crds()
            yield cluster
        finally:
            cluster.remove_crds()  # of a foreign cluster: nothing, as nothing carries the run id
        return
    sweep_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{RUNS}{os.getpid()}-"))
    try:
        with ControlPlane(folder / "plane", **options) as plane:
            cluster = Cluster(kubeconfig=plane.kubeconfig, run_id=run_id, plane=plane)
            cluster.install_crds()
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


test_cluster.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def sweep_leftovers() -> None:
    """Remove the folders of runs whose process is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{RUNS}*"):
        pid = folder.name.removeprefix(RUNS).partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
