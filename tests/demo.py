"""`make demo`: a real API server, the operator as a process of its own, the three systems as stand-ins, two tenants.

`python -m tests.demo` shows it and takes it down again; `up` leaves it running until `down`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from dezky_operator import config
from dezky_operator.kube.bootstrap import Administrator, prepare
from dezky_operator.kube.transport import cluster_config
from tests.controlplane.cluster import Cluster, child_env, test_cluster
from tests.sandbox.workspace import NAMESPACE, Workspace
from tests.tools.kubectl import tool

SAMPLES = Path(__file__).resolve().parents[1] / "manifests" / "samples"
STATE = Path(tempfile.gettempdir()) / f"dezky-up-{os.getuid()}.json"
PATIENCE = 30.0
console = Console(highlight=False, soft_wrap=True)


@dataclass
class Demo:
    """Everything that runs, and the story told about it."""

    cluster: Cluster
    workspace: Workspace
    settings: Path
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line with the time since the start."""
        console.print(f"[dim]{time.monotonic() - self.started:5.1f} s[/]  {text}")

    async def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Real kubectl, beside the stand-ins that run here."""
        return await asyncio.to_thread(self.cluster.kubectl, *arguments, check=check)

    async def ready(self, name: str) -> dict[str, Any]:
        """Until a tenant is ready; its status."""
        deadline = time.monotonic() + PATIENCE
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            status = json.loads(await self.kubectl("get", "tenant", name, "-o", "json")).get("status", {})
            conditions = status.get("conditions", [])
            if any((found["type"], found["status"]) == ("Ready", "True") for found in conditions):
                return status
            await asyncio.sleep(0.05)
        raise SystemExit(f"tenant {name} did not become ready: {json.dumps(status, indent=1)}")


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Demo]:
    """Control plane, stand-ins and the operator's process; all of them end with the context."""
    console.rule("[bold]Dezky[/]: a tenant, from one kubectl apply")
    console.print("starting a Kubernetes API server, Authentik, Stalwart, OCIS and DNS on this machine …")
    with test_cluster() as cluster, tempfile.TemporaryDirectory(prefix="dezky-demo-") as folder:
        async with Workspace() as workspace:
            path = workspace.write_settings(Path(folder) / "settings.yaml")
            demo = Demo(cluster=cluster, workspace=workspace, settings=path)
            prepared = await prepare(
                config.load(path),
                cluster_config(str(cluster.kubeconfig)),
                Administrator(
                    authentik_token=workspace.authentik.bootstrap_token, stalwart=":".join(workspace.stalwart.admin)
                ),
            )
            demo.say(f"dezky-operator bootstrap prepared the three systems ({len(prepared.lines)} things)")
            log = (Path(folder) / "operator.log").open("w")
            command = [sys.executable, "-m", "dezky_operator.main", "run", "--config", str(path)]
            process = await asyncio.create_subprocess_exec(
                *command, "--kubeconfig", str(cluster.kubeconfig), stdout=log, stderr=log, env=child_env()
            )
            demo.say(f"dezky-operator run, process {process.pid}")
            try:
                yield demo
            finally:
                process.send_signal(signal.SIGTERM)
                status = await process.wait()
                log.close()
                console.print(f"operator stopped with status {status}, its Lease given back")
                if status != 0:
                    console.print((Path(folder) / "operator.log").read_text()[-4000:])


async def show() -> None:
    """The whole story."""
    async with running() as demo:
        await _two_tenants(demo)
        await _anna(demo)
        await _drift(demo)
        await _refused(demo)
        demo.say("taking everything down")


async def _two_tenants(demo: Demo) -> None:
    applied = time.monotonic()
    await demo.kubectl("apply", "-f", str(SAMPLES))
    table = Table("tenant", "ready after", "sign-in", "mail", "files")
    for name in ("acme", "nord"):
        status = await demo.ready(name)
        mail, files = status["mail"], status["files"]
        domains = ", ".join(domain["name"] for domain in mail["domains"])
        spaces = ", ".join(space["driveAlias"] for space in files["spaces"])
        issuer = status["identity"]["issuerURL"].partition("/application")[2]
        table.add_row(name, f"{time.monotonic() - applied:.2f} s", f"…/application{issuer}", domains, spaces)
    demo.say("kubectl apply -f manifests/samples/")
    console.print(table)
    console.print(await demo.kubectl("get", "tenants"))


async def _anna(demo: Demo) -> None:
    """The first administrator: recovery link, sign-in, mailbox, file."""
    status = await demo.ready("acme")
    told = await demo.kubectl("-n", NAMESPACE, "get", "secret", "dezky-tenant-acme", "-o", "json")
    link = base64.b64decode(json.loads(told)["data"]["recovery-link"]).decode()
    username = status["identity"]["adminUsername"]
    async with httpx2.AsyncClient() as browser:
        token = await sign_in(demo.workspace, browser, link)
        demo.say(f"{username} followed the recovery link, set a password and signed in")
        accepted = await recipient(demo.workspace, str(username))
        demo.say(f"mail to {username}: {accepted}")
        drive = status["files"]["spaces"][0]["id"]
        url = f"{demo.workspace.ocis.url}/dav/spaces/{drive}/hello.txt"
        put = await browser.put(url, content=b"Hello", headers={"Authorization": f"Bearer {token}"})
        demo.say(f"WebDAV PUT hello.txt as {username}: {put.status_code}")
        if put.status_code != 201 or not accepted.startswith("250"):
            raise SystemExit("the tenant's user can not work")


async def sign_in(workspace: Workspace, browser: httpx2.AsyncClient, link: str) -> str:
    """What a person does: follow the link, set a password, open the files application; the access token."""
    base = workspace.authentik.url
    (await browser.get(link)).raise_for_status()
    executor = f"{base}/api/v3/flows/executor/dezky-recovery/"
    await browser.get(executor)
    await browser.post(executor, json={"password": "correct horse battery", "password_repeat": "correct horse battery"})
    redirect = "https://files.dezky.test/"
    query = {
        "client_id": "dezky-ocis",
        "redirect_uri": redirect,
        "response_type": "code",
        "scope": "openid profile email",
    }
    answer = await browser.get(f"{base}/application/o/authorize/", params=query)
    code = answer.headers["location"].partition("code=")[2].partition("&")[0]
    provider = workspace.authentik.store.find("oauth2provider", "name", "dezky-ocis") or {}
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "client_id": "dezky-ocis"}
    form["client_secret"] = provider["client_secret"]
    return str((await browser.post(f"{base}/application/o/token/", data=form)).json()["access_token"])


async def recipient(workspace: Workspace, address: str) -> str:
    """What the mail server says to a message for ``address``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", workspace.stalwart.smtp_port)
    writer.write(f"EHLO demo\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<{address}>\r\nQUIT\r\n".encode())
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    return lines[-2]


async def _drift(demo: Demo) -> None:
    """Somebody changes an object by hand; the next look puts it back."""
    application = demo.workspace.authentik.store.objects["application"]["dezky-acme"]
    application["policy_engine_mode"] = "any"
    demo.say("somebody sets policy_engine_mode=any on Authentik's application dezky-acme")
    await demo.kubectl("annotate", "tenant", "acme", "dezky.eu/reconcile-requested-at=demo")
    deadline = time.monotonic() + PATIENCE
    while application["policy_engine_mode"] != "all":
        if time.monotonic() > deadline:
            raise SystemExit("the drift was not repaired")
        await asyncio.sleep(0.02)
    demo.say("the operator put it back")


async def _refused(demo: Demo) -> None:
    told = await demo.kubectl("apply", "-f", str(SAMPLES / "bad" / "duplicate-domain.yaml"), check=False)
    if "only once" not in told:
        raise SystemExit(f"the bad manifest was not refused: {told}")
    demo.say("a bad manifest is refused:")
    console.print(f"         [red]{told.strip()}[/]")


async def stay() -> None:
    """Bring everything up with the samples, tell how to look around, and wait for `down`."""
    async with running() as demo:
        await _two_tenants(demo)
        kubectl = tool("kubectl")
        STATE.write_text(json.dumps({"pid": os.getpid(), "kubeconfig": str(demo.cluster.kubeconfig)}))
        console.print(f"running. Look around with\n\n  {kubectl} --kubeconfig {demo.cluster.kubeconfig} get tenants\n")
        console.print("and stop it with `make down`, or Ctrl-C here.")
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()
    STATE.unlink(missing_ok=True)


def down() -> None:
    """Stop what `up` left running: that process and no other."""
    if not STATE.exists():
        console.print("nothing is up")
        return
    pid = json.loads(STATE.read_text())["pid"]
    command = Path(f"/proc/{pid}/cmdline")
    if not command.exists() or b"tests.demo" not in command.read_bytes():
        STATE.unlink()
        console.print("it is gone already")
        return
    os.kill(pid, signal.SIGTERM)
    while STATE.exists():
        time.sleep(0.1)
    console.print("everything is down")


def main() -> None:
    """The command line."""
    what = sys.argv[1] if len(sys.argv) > 1 else "show"
    if what == "down":
        down()
    else:
        asyncio.run(stay() if what == "up" else show())


if __name__ == "__main__":
    main()
