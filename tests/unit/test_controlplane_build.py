"""Building the control plane once, and finding kubectl, told by small programs that stand for go and kubectl."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from tests.controlplane import build, cluster, pki, plane
from tests.controlplane.build import BuildError
from tests.ferretdb import build as ferretdb
from tests.tools import kubectl

GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo built >> "$BUILDS"
{act}
while [ "$1" != -o ]; do shift; done
echo program > "$2"
"""


def a_program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH beside the system's own; an empty cache; a list of builds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    (tmp_path / "tools").mkdir()
    return tmp_path / "tools"


def test_the_program_is_built_once_and_kept_by_the_content_of_its_sources(tools: Path, tmp_path: Path) -> None:
    a_program(tools, "go", GO.format(version="go1.26.8", act=""))
    told: list[str] = []
    first = build.binary(told.append)
    assert first == tmp_path / "cache" / "dezky-operator" / "controlplane" / build.content_hash() / build.BINARY
    assert build.binary(told.append) == first
    assert (tmp_path / "builds").read_text() == "built\n"
    assert "6 minutes the first time" in told[0]


def test_two_runs_at_once_build_once_and_the_second_says_that_it_waits(tools: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    a_program(tools, "go", GO.format(version="go1.26.8", act=f'read _ < "{gate}"'))
    waiting = threading.Event()
    first: list[str] = []
    second: list[str] = []

    def hear(line: str) -> None:
        second.append(line)
        if "another run" in line:
            waiting.set()

    threads = [threading.Thread(target=build.binary, args=(first.append,))]
    threads[0].start()
    builds = tmp_path / "builds"
    while not builds.exists():
        threads[0].join(0.01)
    threads.append(threading.Thread(target=build.binary, args=(hear,)))
    threads[1].start()
    assert waiting.wait(10)
    gate.write_text("go on\n")
    for thread in threads:
        thread.join(10)
    assert builds.read_text() == "built\n"
    assert second == ["another run is building the test control plane: waiting for it"]


def test_the_hash_changes_with_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("main.go", "go.mod", "go.sum"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(build, "HERE", tmp_path)
    before = build.content_hash()
    assert before == build.content_hash()
    (tmp_path / "main.go").write_text("other")
    assert build.content_hash() != before


def test_a_failed_build_tells_its_last_lines_and_leaves_no_program(tools: Path) -> None:
    a_program(tools, "go", GO.format(version="go1.26.8", act="echo undefined: x; exit 1"))
    with pytest.raises(BuildError, match="undefined: x"):
        build.binary(lambda _: None)
    with pytest.raises(BuildError, match="undefined: x"):
        build.binary(lambda _: None)


@pytest.mark.parametrize("version", ["go1.25.9", "go1.9", "devel"])
def test_an_old_go_is_refused_in_one_line_with_the_ways_around(tools: Path, version: str) -> None:
    a_program(tools, "go", GO.format(version=version, act=""))
    with pytest.raises(BuildError) as refused:
        build.check_go()
    line = str(refused.value)
    assert "\n" not in line
    assert all(word in line for word in (version, "1.26", "DEZKY_TEST_KUBECONFIG", "KUBEBUILDER_ASSETS"))


def test_a_missing_go_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"^Go >= 1\.26 is needed once.*DEZKY_TEST_KUBECONFIG.*KUBEBUILDER_ASSETS"):
        build.check_go()


def test_kubebuilder_assets_are_used_instead_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    a_program(tmp_path, "etcd", "")
    assert plane._command("etcd") == [str(tmp_path / "etcd")]
    assert "--unsafe-no-fsync" in plane._etcd_flags(tmp_path, 1, 2)
    with pytest.raises(plane.StartError, match="no kube-apiserver in it"):
        plane._command("kube-apiserver")


def test_a_guarded_program_gets_its_arguments_and_ends_when_its_owner_is_gone() -> None:
    command = ["sh", "-c", plane.GUARDED, "guarded", "sh", "-c", 'echo "$1"; exec sleep 60', "x", "two words; $HOME"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"two words; $HOME\n"
    process.stdin.close()  # what the kernel does when the owner dies
    assert process.wait(10) == -9
    process.stdout.close()


def test_a_dismissed_guard_leaves_the_program_alone() -> None:
    command = ["sh", "-c", plane.GUARDED, "guarded", "sh", "-c", "echo up; exec sleep 60"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    plane._dismiss_guard(process)
    guard = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    assert not [pid for pid in guard.read_text().split() if Path(f"/proc/{pid}/cmdline").read_bytes()]
    process.terminate()
    assert process.wait(10) == -15
    process.stdout.close()


def test_the_serving_certificate_names_every_way_to_reach_the_server(tmp_path: Path) -> None:
    made = pki.make(tmp_path / "pki")
    command = ["openssl", "x509", "-in", str(made.path("apiserver.crt")), "-noout", "-ext", "subjectAltName"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", told))
    assert names == {"localhost", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", "10.0.0.1"}


def test_programs_are_started_without_an_exported_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somewhere/production")
    monkeypatch.setenv("KEPT", "1")
    assert "KUBECONFIG" not in cluster.child_env()
    assert cluster.child_env()["KEPT"] == "1"


def test_folders_of_dead_runs_are_swept_and_those_of_living_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, alive = tmp_path / f"{cluster.RUNS}{ended.pid}-x", tmp_path / f"{cluster.RUNS}{os.getpid()}-x"
    other = tmp_path / f"{cluster.RUNS}notes"
    for folder in (dead, alive, other):
        folder.mkdir()
    cluster.sweep_leftovers()
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()


@pytest.mark.parametrize("version", ["v1.34.0", "v1.37.1+k3s1"])
def test_a_kubectl_on_path_that_is_new_enough_wins(tools: Path, version: str) -> None:
    a_program(tools, "kubectl", f"""#!/bin/sh\necho '{{"clientVersion": {{"gitVersion": "{version}"}}}}'\n""")
    assert kubectl.look_for("kubectl") == tools / "kubectl"


@pytest.mark.parametrize("answer", ['{"clientVersion": {"gitVersion": "v1.32.4-dispatcher"}}', "not JSON", "{}"])
def test_an_older_or_silent_kubectl_is_passed_over_for_the_cached_one(tools: Path, answer: str) -> None:
    a_program(tools, "kubectl", f"#!/bin/sh\necho '{answer}'\n")
    cached = build.cache_root() / "tools"
    digest = hashlib.sha256((kubectl.WHEEL + kubectl.WHEEL_HASH).encode()).hexdigest()[:16]
    cached.mkdir(parents=True)
    a_program(cached / digest, "kubectl", "")
    assert kubectl.look_for("kubectl") == cached / digest / "kubectl"


def test_a_helm_on_path_is_asked_its_own_way(tools: Path) -> None:
    a_program(tools, "helm", '#!/bin/sh\n[ "$2" = --short ] && echo v3.16.2+g1\n')
    assert kubectl.look_for("helm") == tools / "helm"


def test_a_machine_the_wheel_does_not_serve_is_told_before_any_download(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tools, "helm", "#!/bin/sh\necho v2.0.0\n")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(kubectl.ToolError, match="has none for Linux aarch64"):
        kubectl.look_for("helm")


def test_a_missing_go_for_ferretdb_is_an_error_that_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BuildError, match=r"^Go >= 1\.26 is needed once to build FerretDB.*DEZKY_TEST_MONGODB_URI"):
        ferretdb.binary(lambda _: None)
