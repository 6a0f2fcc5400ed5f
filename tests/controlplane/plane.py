"""A running control plane: etcd, kube-apiserver and, if asked for, the controller manager, on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.controlplane import build, pki

READY_WITHIN = 60.0
STOP_WITHIN = 10.0
# Runs a program so that it ends when the process that holds the other end of its standard input does, even by SIGKILL,
# and even while the program is stopped. The kernel's parent-death signal would fire when the starting thread ends.
GUARDED = 'exec 3<&0; (read -r _ <&3 || kill -KILL $$) & exec "$@" 3<&- </dev/null'


class StartError(Exception):
    """The control plane did not become ready. Holds the last lines of the program that failed."""


@dataclass
class ControlPlane:
    """Start with :meth:`start`, or as a context manager. Everything lives in ``folder`` and goes with :meth:`stop`.

    Its programs end with the process that started them, however that one ends: a killed test run leaves nothing behind.
    """

    folder: Path
    flags: tuple[str, ...] = ()
    """Further flags of the API server, such as ``--max-mutating-requests-inflight=10``."""
    controller_manager: bool = False
    port: int = 0
    _etcd_port: int = 0
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's way in."""
        return self.folder / "kubeconfig"

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run, by program."""
        return {name: process.pid for name, process in self._processes.items()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Return once `/readyz` answers ok. Raises StartError or BuildError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pki = pki.make(self.folder / "pki")
        self.port, self._etcd_port, peer = _free_ports(3)
        self._write_kubeconfig("kubeconfig", "admin")
        try:
            self._run("etcd", *_etcd_flags(self.folder / "etcd", self._etcd_port, peer))
            self._run("kube-apiserver", *self._apiserver_flags())
            self._wait_ready()
            if self.controller_manager:
                self._write_kubeconfig("controller-manager.kubeconfig", "controller-manager")
                self._run("kube-controller-manager", *self._controller_manager_flags())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process, the API server before etcd: one that lost its etcd hangs in its shutdown."""
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            if process := self._processes.pop(name, None):
                _end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        """Freeze the API server: connections stay open and nothing answers."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen API server go on."""
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def restart_apiserver(self) -> None:
        """End the API server and start it again on the same port and data."""
        _end(self._processes.pop("kube-apiserver"))
        self._run("kube-apiserver", *self._apiserver_flags())
        self._wait_ready()

    def _apiserver_flags(self) -> list[str]:
        path = self._pki.path
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={path('apiserver.crt')}",
            f"--tls-private-key-file={path('apiserver.key')}",
            f"--client-ca-file={path('ca.crt')}",
            f"--service-account-key-file={path('service-account.pub')}",
            f"--service-account-signing-key-file={path('service-account.key')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--v=0",
            *self.flags,
        ]

    def _controller_manager_flags(self) -> list[str]:
        path = self._pki.path
        return [
            f"--kubeconfig={self.folder / 'controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={path('service-account.key')}",
            f"--root-ca-file={path('ca.crt')}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
        ]

    def _run(self, program: str, *flags: str) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
        with (self.folder / f"{program}.log").open("ab") as log:
            self._processes[program] = subprocess.Popen(
                ["sh", "-c", GUARDED, "guarded", *_command(program), *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE,  # held open for as long as we live, and never inherited by another program
                env=environment,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C ends the test run, which then ends these in order
            )

    def _wait_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self._pki.path("ca.crt")))
        context.load_cert_chain(self._pki.path("admin.crt"), self._pki.path("admin.key"))
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            self._check_alive()
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(  # noqa: S310 - our own https address
                    f"{self.url}/readyz", context=context, timeout=2
                ) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.05)
        raise StartError(f"the API server was not ready after {READY_WITHIN:.0f} s:\n{self._tail('kube-apiserver')}")

    def _check_alive(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StartError(f"{name} ended with status {process.returncode}:\n{self._tail(name)}")

    def _tail(self, program: str) -> str:
        return "\n".join((self.folder / f"{program}.log").read_text(errors="replace").splitlines()[-15:])

    def _write_kubeconfig(self, name: str, user: str) -> None:
        path = self._pki.path
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "clusters": [
                {"name": "test", "cluster": {"server": self.url, "certificate-authority": str(path("ca.crt"))}}
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate": str(path(f"{user}.crt")),
                        "client-key": str(path(f"{user}.key")),
                    },
                }
            ],
        }
        target = self.folder / name
        target.touch(mode=0o600)
        target.write_text(json.dumps(document, indent=1))  # JSON is YAML


def _command(program: str) -> list[str]:
    """How to start ``program``: from ``KUBEBUILDER_ASSETS`` where that is set, else our own build."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        found = Path(assets) / program
        if not found.exists():
            raise StartError(f"KUBEBUILDER_ASSETS is {assets}, but there is no {program} in it.")
        return [str(found)]
    return [str(build.binary()), program]


def _etcd_flags(data: Path, client: int, peer: int) -> list[str]:
    client_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    if os.environ.get("KUBEBUILDER_ASSETS"):
        return [
            f"--data-dir={data}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
        ]
    return [f"--data-dir={data}", f"--listen-client-url={client_url}", f"--listen-peer-url={peer_url}"]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listening in sockets:
            listening.bind(("127.0.0.1", 0))
        return [listening.getsockname()[1] for listening in sockets]


def _end(process: subprocess.Popen[bytes]) -> None:
    alive = process.poll() is None
    if alive:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    _dismiss_guard(process)
    if alive:
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _dismiss_guard(process: subprocess.Popen[bytes]) -> None:
    """A line on its pipe tells the guard that it is no longer needed; the bare end of the pipe would make it kill."""
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"\n")
        process.stdin.close()
