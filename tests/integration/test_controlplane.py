"""The test control plane itself, and the rules about whose cluster may be touched."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.controlplane.cluster import LABEL, Cluster, ForeignCluster, test_cluster
from tests.controlplane.plane import ControlPlane, StartError

ROOT = Path(__file__).resolve().parents[2]
OURS = ("auditsources.dezky.eu", "tenants.dezky.eu")
OWNER = """
import sys, time
from pathlib import Path
from tests.controlplane.plane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]))
plane.start()
plane.pause()
print("paused", flush=True)
while True:
    time.sleep(60)
"""


def until(true: Callable[[], bool], what: str, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Command lines of every process that works on ``folder``; an ended one has none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder / "etcd") in line or str(folder / "pki") in line:
                found.append(line)
    return found


def answers(plane: ControlPlane, timeout: float = 2.0) -> bool:
    pki = plane.folder / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    try:
        with urllib.request.urlopen(f"{plane.url}/readyz", context=context, timeout=timeout) as answer:  # noqa: S310 - our own https address
            return bool(answer.status == 200)
    except OSError:
        return False


def crds(cluster: Cluster) -> dict[str, str | None]:
    """The label of every CRD, by name."""
    items = cluster.json("get", "crd")["items"]
    return {item["metadata"]["name"]: item["metadata"].get("labels", {}).get(LABEL) for item in items}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane without anything of ours; started while KUBECONFIG is exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", "/nonexistent/production")
        with ControlPlane(tmp_path_factory.mktemp("empty") / "plane") as plane:
            yield Cluster(kubeconfig=plane.kubeconfig, run_id="empty", plane=plane)


@pytest.fixture
def plane(empty: Cluster) -> ControlPlane:
    assert empty.plane is not None
    return empty.plane


def test_the_server_is_the_release_it_says_and_serves_mutating_admission_policies(empty: Cluster) -> None:
    assert json.loads(empty.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"] == "v1.36.3"
    served = empty.kubectl("get", "--raw", "/apis/admissionregistration.k8s.io/v1")
    assert "mutatingadmissionpolicies" in {found["name"] for found in json.loads(served)["resources"]}


def test_an_exported_kubeconfig_is_neither_used_nor_handed_on(plane: ControlPlane) -> None:
    for pid in plane.pids.values():
        assert b"\0KUBECONFIG=" not in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


def test_without_an_own_variable_a_cluster_of_our_own_is_made_even_with_kubeconfig_exported(
    empty: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEZKY_TEST_KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(empty.kubeconfig))
    with test_cluster() as found:
        assert found.plane is not None
        assert found.plane.url != (empty.plane and empty.plane.url)
        assert crds(found) == dict.fromkeys(OURS, found.run_id)
        folder = found.plane.folder
    assert processes_of(folder) == []
    assert not folder.parent.exists()
    assert crds(empty) == {}


def test_a_named_cluster_gets_our_crds_and_loses_them_again_but_nothing_else(
    empty: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEZKY_TEST_KUBECONFIG", str(empty.kubeconfig))
    empty.kubectl("create", "-f", "-", input=json.dumps(a_crd("dezkysaurs", "dinosaurs.test")))
    with test_cluster() as found:
        assert found.plane is None
        assert crds(found) == {"dezkysaurs.dinosaurs.test": None, **dict.fromkeys(OURS, found.run_id)}
        held = {"name": "held", "finalizers": ["dezky.eu/operator"]}
        tenant = {"apiVersion": "dezky.eu/v1alpha1", "kind": "Tenant", "metadata": held, "spec": SPEC}
        found.kubectl("create", "-f", "-", input=json.dumps(tenant))
    assert crds(empty) == {"dezkysaurs.dinosaurs.test": None}
    empty.kubectl("delete", "crd", "dezkysaurs.dinosaurs.test")


def test_a_cluster_with_somebody_elses_tenants_is_refused_and_left_alone(
    empty: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEZKY_TEST_KUBECONFIG", str(empty.kubeconfig))
    empty.kubectl("create", "-f", "-", input=json.dumps(a_crd("tenants", "dezky.eu")))
    with pytest.raises(ForeignCluster, match=r"has tenants\.dezky\.eu already"), test_cluster():
        pass
    assert crds(empty) == {"tenants.dezky.eu": None}
    empty.kubectl("delete", "crd", "tenants.dezky.eu")


def test_a_paused_api_server_keeps_silent_until_it_goes_on(plane: ControlPlane) -> None:
    plane.pause()
    assert not answers(plane, timeout=0.5)
    plane.resume()
    until(lambda: answers(plane), "the API server did not go on")


def test_a_restarted_api_server_has_its_old_port_and_data(empty: Cluster, plane: ControlPlane) -> None:
    empty.kubectl("create", "namespace", "kept")
    url, pid = plane.url, plane.pids["kube-apiserver"]
    plane.restart_apiserver()
    assert plane.url == url
    assert plane.pids["kube-apiserver"] != pid
    assert "kept" in empty.kubectl("get", "namespace", "kept")


def test_a_failed_start_tells_what_the_program_said_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    with pytest.raises(StartError, match=r"kube-apiserver ended with status 1:[\s\S]*no-such-flag"):
        ControlPlane(folder, flags=("--no-such-flag",)).start()
    assert processes_of(folder) == []
    assert not folder.exists()


def test_the_controller_manager_runs_when_asked_for_and_everything_ends_with_stop(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    with ControlPlane(folder, controller_manager=True) as plane:
        cluster = Cluster(kubeconfig=plane.kubeconfig, run_id="cm", plane=plane)
        cluster.kubectl("create", "namespace", "served")
        account = ("-n", "served", "get", "serviceaccount", "default")
        until(lambda: "NotFound" not in cluster.kubectl(*account, check=False), "no controller made a service account")
    assert processes_of(folder) == []
    assert not folder.exists()


def test_a_killed_owner_leaves_no_process_not_even_a_paused_one(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "paused\n"
        assert len(processes_of(folder)) >= 2
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    until(lambda: not processes_of(folder), "a program outlived its killed owner")


SPEC = {
    "displayName": "Held",
    "plan": "standard",
    "domains": ["held.test"],
    "seats": 5,
    "admin": {"email": "anna@held.test", "name": "Anna"},
}


def a_crd(plural: str, group: str) -> dict[str, object]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].title()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
