"""What stands behind the audit commands: the installation's keys, and who hears that the log was read."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from dezky_operator.audit.checkpoint import KeyChain
from dezky_operator.audit.draft import prepare
from dezky_operator.audit.findings import Finding, Report, Verdict
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.taking import Readable
from dezky_operator.cli.audit import Program, audit_group
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.config import Settings
from dezky_operator.store.interface import Reader, Rows, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import KEYS, LOG
from tests.audit.corpus import OTHER_TENANT
from tests.audit.events import login
from tests.audit.filled import appender, checkpoint
from tests.audit.golden import RAW, TENANT, VKEY
from tests.unit.test_audit_cli import SETTINGS

MASTER = bytes(range(32))


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """An installation with a log of two sign-ins, whose second person was erased since."""
    asyncio.run(_filled(tmp_path / "audit-1.db"))
    path = tmp_path / "settings.yaml"
    path.write_text(SETTINGS.format(audit=f"audit: {{directory: {tmp_path}}}"))
    return path


async def _filled(path: Path) -> None:
    store = await SqliteStore.open(path)
    people = KeyStore(store, MASTER)
    await people.ensure([(TENANT, "42"), (OTHER_TENANT, "43")])
    events = [login("a"), login("b", tenant=OTHER_TENANT, values={"actor.id": "43", "actor.email": "bob@acme.test"})]
    log = appender(store)
    await log.append([prepare(event, keys=people.ring, random=os.urandom) for event in events])
    await checkpoint(store, log, encode_heads, counter=0)

    async def erase(rows: Rows) -> None:
        for key in await rows.find(KEYS, "tenant", OTHER_TENANT, limit=9):
            if not key.id.startswith("tenant/"):
                await rows.remove(KEYS, key)

    await store.run(erase)
    await store.close()


class InMemory:
    """An installation without a cluster."""

    def __init__(self, _settings: Settings, _kubeconfig: str | None) -> None:
        pass

    async def store(self) -> Store:
        raise AssertionError("it is a file")

    async def keys(self, store: Store) -> Keys:
        """What the Secret of a cluster holds."""
        people = KeyStore(store, MASTER)
        return Keys(people.ring, (VKEY,), people.find)

    async def add_key(self) -> str:
        return VKEY


async def _keys(path: Path) -> list[str]:
    store = await SqliteStore.open(path)

    async def look(rows: Reader) -> list[str]:
        return [row.id for row in await rows.scan(KEYS, limit=9)]

    found = await store.read(look)
    await store.close()
    return found


def run(program: Program, *arguments: str | Path) -> tuple[int, str]:
    ran = CliRunner().invoke(audit_group(program), [str(one) for one in arguments], catch_exceptions=False)
    return ran.exit_code, ran.output


def test_the_installations_keys_open_what_is_left_and_make_no_new_ones(settings: Path, tmp_path: Path) -> None:
    before = asyncio.run(_keys(tmp_path / "audit-1.db"))
    code, out = run(Program(installation=InMemory), "list", "--config", settings, "--texts", "--format", "json")
    events = {event["seq"]: event for event in map(json.loads, out.splitlines())}
    assert code == 0
    assert (events[0]["metadata"], events[0]["sealed"]) == (RAW.decode(), False)
    assert (events[1]["metadata"], events[1]["sealed"]) == (None, True)
    assert asyncio.run(_keys(tmp_path / "audit-1.db")) == before
    assert len(before) == 3


def test_an_address_is_found_by_the_installations_keys_in_any_tenant(settings: Path) -> None:
    arguments = ("list", "--config", settings, "--texts", "--format", "json", "--actor", "BOB@acme.test")
    code, out = run(Program(installation=InMemory), *arguments)
    assert (code, [json.loads(line)["seq"] for line in out.splitlines()]) == (0, [1])


def test_the_logs_key_is_printed_to_be_kept_elsewhere(settings: Path) -> None:
    assert run(Program(installation=InMemory), "key", "--config", settings) == (0, f"{VKEY}\n")


def test_a_new_key_is_printed_to_be_noted(settings: Path) -> None:
    code, out = run(Program(installation=InMemory), "rotate-key", "--config", settings)
    assert (code, out.splitlines()[0]) == (0, VKEY)
    code, out = run(Program(), "rotate-key", "--config", settings)
    assert (code, "no way to a cluster" in out) == (2, True)


def test_whoever_is_to_be_told_hears_what_was_read_without_anything_personal(settings: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, Mapping[str, str | int]]] = []

    async def told(action: str, about: Mapping[str, str | int]) -> None:
        heard.append((action, about))

    program, where = Program(told=told), ("--config", settings)
    run(program, "list", *where, "--actor", "ann@acme.test", "--tenant", "acme")
    run(program, "show", "0", *where)
    run(program, "tail", "--once", *where)
    run(program, "export", *where, "--tenant", TENANT, "--out", tmp_path / "export")
    run(program, "prove", *where, "--seq", "1", "--out", tmp_path / "one")
    run(program, "verify", *where, "--key", VKEY)
    assert heard == [
        ("audit.read", {"filters": "tenant,email,limit", "format": "table"}),
        ("audit.read", {"seq": 0}),
        ("audit.read", {"filters": "tail", "format": "table"}),
        ("log.export", {"tenant": TENANT, "lines": 1}),
        ("log.export", {"seq": 1, "lines": 1}),
        ("log.verify", {"verdict": "VALID", "lines": 3}),
    ]


def test_reading_an_installations_log_is_an_event_of_it_and_reading_a_copy_is_none(
    settings: Path, tmp_path: Path
) -> None:
    """Who read the log is asked for as often as what is in it."""
    copy = Path(shutil.copy(tmp_path / "audit-1.db", tmp_path / "copy.db"))
    run(Program(), "list", "--store", copy, "--actor", "ann@acme.test")
    run(Program(), "list", "--config", settings)
    run(Program(), "verify", "--config", settings, "--key", VKEY)
    _, out = run(Program(), "list", "--config", settings, "--format", "json")
    actions = [event["action"] for event in map(json.loads, out.splitlines())]
    assert {"audit.read", "log.verify"} <= set(actions)
    _, out = run(Program(), "list", "--store", copy, "--format", "json")
    assert len(out.splitlines()) == 3


def test_another_verifier_of_stores_may_stand_behind_the_command(settings: Path) -> None:
    asked: list[object] = []

    async def verify(store: Readable, *, chain: KeyChain, **more: object) -> Report:
        asked.append((chain.origin, more, await store.read(_count)))
        return Report(7, (Finding("plaintext missing: raw", 3, verdict=Verdict.TAMPERED),))

    program = Program(verify=verify)
    code, out = run(program, "verify", "--config", settings, "--key", VKEY, "--from", "1", "--to", "2", "--shallow")
    assert (code, out.splitlines()[0]) == (1, "seq 3 plaintext missing: raw")
    assert asked == [(VKEY.split("+")[0], {"first": 1, "last": 2, "held": (), "shallow": True}, 3)]


async def _count(rows: Reader) -> int:
    return await rows.count(LOG)
