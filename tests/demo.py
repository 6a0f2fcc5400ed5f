"""`make demo`: a real API server, the operator as a process of its own, the three systems as stand-ins, two tenants.

`python -m tests.demo` shows it and takes it down again; `up` leaves it running until `down`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import httpx2
from rich.console import Console
from rich.table import Table

from dezky_operator import config
from dezky_operator.audit.keys import log_key
from dezky_operator.kube.bootstrap import Administrator, prepare
from dezky_operator.kube.transport import cluster_config
from tests.controlplane.cluster import Cluster, child_env, test_cluster
from tests.sandbox.ocis.server import OcisStandIn
from tests.sandbox.workspace import INSTALLATION, NAMESPACE, Workspace
from tests.smtp import recipient
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

    async def condition(self, name: str, kind: str, truth: str, reason: str | None = None) -> dict[str, Any]:
        """Until a condition of the current spec says so; the status."""
        deadline = time.monotonic() + PATIENCE
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            found = json.loads(await self.kubectl("get", "tenant", name, "-o", "json"))
            for condition in found.get("status", {}).get("conditions", []):
                current = condition.get("observedGeneration") == found["metadata"]["generation"]
                fits = (condition["type"], condition["status"]) == (kind, truth) and current
                if fits and reason in {None, condition["reason"]}:
                    return dict(found["status"])
            await asyncio.sleep(0.05)
        raise SystemExit(f"{name} never became {kind}={truth}: {json.dumps(found.get('status'), indent=1)}")


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Demo]:
    """Control plane, stand-ins and the operator's process; all of them end with the context."""
    console.rule("[bold]Dezky[/]: a tenant, from one kubectl apply")
    console.print("starting a Kubernetes API server, Authentik, Stalwart, OCIS and DNS on this machine …")
    with test_cluster() as cluster, tempfile.TemporaryDirectory(prefix="dezky-demo-") as folder:
        async with Workspace(ocis=OcisStandIn(audit_file=Path(folder) / "ocis-audit.log")) as workspace:
            path = workspace.write_settings(Path(folder) / "settings.yaml", audit=audit_settings(Path(folder)))
            demo = Demo(cluster=cluster, workspace=workspace, settings=path)
            prepared = await prepare(
                config.load(path),
                cluster_config(str(cluster.kubeconfig)),
                Administrator(
                    authentik_token=workspace.authentik.bootstrap_token, stalwart=":".join(workspace.stalwart.admin)
                ),
            )
            demo.say(f"dezky-operator bootstrap prepared the three systems ({len(prepared.lines)} things)")
            await demo.kubectl(
                *("-n", NAMESPACE, "create", "secret", "generic", "stalwart-webhook"),
                f"--from-literal=key={secrets.token_hex(32)}",
            )
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
                    raise SystemExit(f"the operator ended with status {status}, expected 0")


async def show() -> None:
    """The whole story."""
    async with contextlib.AsyncExitStack() as stack:
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dezky-audit-")))
        await _shown(kept)
        _tampered(kept)


async def _shown(kept: Path) -> None:
    async with running() as demo:
        await _two_tenants(demo)
        await _sources(demo)
        await _anna(demo)
        await _drift(demo)
        await _refused(demo)
        await _suspended(demo)
        await _deleted(demo)
        await _audited(demo, kept)
        demo.say("taking everything down")


async def _two_tenants(demo: Demo) -> None:
    applied = time.monotonic()
    await demo.kubectl("apply", "-f", str(SAMPLES))
    table = Table("tenant", "ready after", "application", "mail", "files")
    for name in ("acme", "nord"):
        status = await demo.ready(name)
        mail, files = status["mail"], status["files"]
        domains = "\n".join(domain["name"] for domain in mail["domains"])
        spaces = "\n".join(space["driveAlias"] for space in files["spaces"])
        application = status["identity"]["applicationSlug"]
        table.add_row(name, f"{time.monotonic() - applied:.2f} s", application, domains, spaces)
    demo.say("kubectl apply -f manifests/samples/")
    console.print(table)
    console.print(await demo.kubectl("get", "tenants"))


def audit_settings(folder: Path) -> dict[str, Any]:
    """The log in ``folder``, signed often enough for a short story, and a port for Stalwart's events."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "directory": str(folder / "audit"),
        "checkpoint": {"atMostEverySeconds": 0.5, "atLeastSeconds": 1},
        "webhook": {
            "host": "127.0.0.1",
            "port": port,
            "url": f"http://127.0.0.1:{port}",
            "secretRef": {"name": "stalwart-webhook", "key": "key"},
        },
    }


async def _sources(demo: Demo) -> None:
    """The three systems tell the log what happens in them."""
    path = str(demo.settings.parent / "ocis-audit.log")
    specs: dict[str, dict[str, Any]] = {
        "authentik": {"type": "authentik", "intervalSeconds": 1},
        "stalwart": {"type": "stalwart"},
        "ocis": {"type": "ocis", "intervalSeconds": 1, "ocis": {"path": path}},
    }
    items = [
        {"apiVersion": "dezky.eu/v1alpha1", "kind": "AuditSource", "metadata": {"name": name}, "spec": spec}
        for name, spec in specs.items()
    ]
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    await asyncio.to_thread(demo.cluster.kubectl, "apply", "-f", "-", input=document)
    demo.say("three AuditSources: what happens in Authentik, Stalwart and OCIS comes into one log")


async def _audited(demo: Demo, kept: Path) -> None:
    """All of it on one timeline, verified, and taken out for an auditor."""
    store = demo.settings.parent / "audit" / "audit-1.db"
    deadline = time.monotonic() + PATIENCE
    while not {"authentik", "stalwart", "ocis", "operator"} <= await asyncio.to_thread(_told_by, store):
        if time.monotonic() > deadline:
            raise SystemExit(f"not every source is in the log: {_told_by(store)}")
        await asyncio.sleep(0.1)
    console.print(await demo.kubectl("get", "auditsources"))
    demo.say("one timeline of all four, by `dezky-operator audit list`:")
    for chosen in (("--action", "tenant."), ("--source", "authentik"), ("--source", "stalwart"), ("--source", "ocis")):
        told = await audit("list", "--store", str(store), *chosen, "--limit", "4")
        console.print("\n".join(line for line in told.splitlines() if "--cursor" not in line))
    kept_keys = await demo.kubectl("-n", NAMESPACE, "get", "secret", "dezky-audit-keys", "-o", "json")
    seed = base64.b64decode(json.loads(kept_keys)["data"]["log"])
    origin = f"{INSTALLATION}/audit/1"
    vkey = log_key(origin, seed).verify_key.vkey
    (kept / "vkey").write_text(vkey)
    await audit("export", "--store", str(store), "--key", vkey, "--out", str(kept / "export"))
    demo.say(f"exported for an auditor, who has the key from elsewhere: {vkey[-24:]}")


def _told_by(store: Path) -> set[str]:
    """Whose events are in the log."""
    connection = apsw.Connection(str(store))
    try:
        return {str(source) for (source,) in connection.execute("SELECT DISTINCT source FROM audit_log")}
    finally:
        connection.close()


async def audit(*arguments: str) -> str:
    """``dezky-operator audit …``; what it told."""
    command = [sys.executable, "-m", "dezky_operator.main", "audit", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=STDOUT, env={**child_env(), "COLUMNS": "140"}
    )
    told, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"audit {' '.join(arguments)} ended with {process.returncode}: {told.decode()}")
    return told.decode()


def _tampered(kept: Path) -> None:
    """The auditor's own program, with nothing but Python: the export, and a copy in which one word was changed."""
    vkey = (kept / "vkey").read_text()
    found = _second(kept / "export", vkey)
    console.print(f"tools/verify_audit.py, which shares no code with the operator: [green]{found[0]}[/]")
    (path,) = (kept / "export").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b'"tenant.suspended"' in line)
    lines[place] = lines[place].replace(b'"tenant.suspended"', b'"tenant.resumed"')
    path.write_bytes(b"".join(lines))
    told = _second(kept / "export", vkey)
    console.print(f"line {place} changed from tenant.suspended to tenant.resumed:")
    for line in told[:4]:
        console.print(f"         [red]{line}[/]")
    if not found[0].startswith("VALID") or not any(f"seq {place + 1} " in line for line in told):
        raise SystemExit(f"the verifier said {found} and {told}")


def _second(export: Path, vkey: str) -> list[str]:
    tool = Path(__file__).resolve().parents[1] / "tools" / "verify_audit.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(export), "--key", vkey], capture_output=True, text=True, check=False
    )
    return (done.stdout or done.stderr).splitlines()


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


async def _suspended(demo: Demo) -> None:
    """One field locks all three systems, and says what was tried before and after."""
    begun = time.monotonic()
    await demo.kubectl("patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"suspended":true}}')
    status = await demo.condition("acme", "Suspended", "True")
    demo.say(
        f"acme suspended: locked in all three systems and proven from outside after {time.monotonic() - begun:.2f} s"
    )
    table = Table("system", "tried by an account of the tenant", "before", "after")
    for receipt in status["suspension"]["receipts"]:
        table.add_row(receipt["system"], ", ".join(receipt["tried"]), receipt["before"], receipt["after"])
    console.print(table)
    demo.say(f"mail to anna@acme.test meanwhile: {await recipient(demo.workspace, 'anna@acme.test')}")
    await demo.kubectl("patch", "tenant", "acme", "--type=merge", "-p", '{"spec":{"suspended":false}}')
    await demo.condition("acme", "Suspended", "False", "NotSuspended")
    demo.say("acme resumed: exactly what was locked is open again")


async def _deleted(demo: Demo) -> None:
    """A soft delete locks, keeps everything, and is undone by applying the manifest again."""
    await demo.kubectl("delete", "tenant", "nord")
    listing = (
        "-n",
        NAMESPACE,
        "get",
        "configmaps",
        "-l",
        "dezky.eu/record=tenant",
        "-L",
        "dezky.eu/tenant,dezky.eu/state",
    )
    deadline = time.monotonic() + PATIENCE
    while "Locked" not in (told := await demo.kubectl(*listing)):
        if time.monotonic() > deadline:
            raise SystemExit(f"nord was not locked: {told}")
        await asyncio.sleep(0.05)
    demo.say("nord deleted: gone from Kubernetes, locked everywhere, nothing destroyed; its tombstone:")
    console.print(told.strip())
    await demo.kubectl("apply", "-f", str(SAMPLES / "nord.yaml"))
    await demo.ready("nord")
    demo.say("nord applied again: the same tenant is back, with its mail and files")


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
