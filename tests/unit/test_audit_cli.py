"""`dezky-operator audit` as a person runs it: what it prints, how it ends (C079, C116)."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from hashlib import sha256
from pathlib import Path

import pytest

from dezky_operator.audit.event import Outcome
from dezky_operator.audit.head_list import encode_heads
from dezky_operator.audit.merkle import leaf_hash
from dezky_operator.store.sqlite import SqliteStore
from tests.archiving import prune
from tests.audit.command import ENTRY, PATIENCE, audit, environment, second
from tests.audit.corpus import EXPORT_TOOL, OTHER_TENANT, TOOL
from tests.audit.events import login, own
from tests.audit.filled import append, appender, checkpoint
from tests.audit.golden import RAW, TENANT, VKEY
from tests.audit.guards import Memory
from tests.audit.rotated import rotated_twice

HOSTILE = "\x1b[2Jann\u202e@acme.test"


@pytest.fixture(scope="module")
async def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 13 lines: 12 events of three tenants and their heads, under one checkpoint."""
    path = tmp_path_factory.mktemp("log") / "audit.db"
    store = await SqliteStore.open(path)
    log = appender(store)
    await append(log, [login(f"l-{n}", tenant=(TENANT, OTHER_TENANT, "")[n % 3], values=_values(n)) for n in range(11)])
    await append(log, [own("o", "step.failed", outcome=Outcome.FAILURE)])
    await checkpoint(store, log, encode_heads, counter=0)
    await store.close()
    return path


def _values(n: int) -> dict[str, str]:
    slug = ("acme", "nord", "")[n % 3]
    return {"actor.id": str(n), "actor.email": f"p{n}@acme.test" if n else HOSTILE, "tenant.slug": slug}


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "audit.db"))


def listed(store: Path, *arguments: str) -> list[dict[str, object]]:
    ran = audit("list", "--store", store, "--format", "json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_events_are_listed_newest_first_in_a_hundred_columns(store: Path) -> None:
    ran = audit("list", "--store", store)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines)
    (row,) = [line for line in lines if "step.failed" in line]
    assert row.split() == ["2026-11-24", "04:00:00", "11", "failure", "step.failed", "operator"]
    assert "p10@acme.test" in ran.stdout


def test_what_a_stranger_wrote_moves_no_cursor(store: Path) -> None:
    for ran in (audit("list", "--store", store), audit("show", "0", "--store", store)):
        assert "\x1b" not in ran.stdout
        assert "\u202e" not in ran.stdout
        assert "\N{MIDDLE DOT}[2Jann" in ran.stdout


def test_filters_name_tenants_by_slug_and_pages_go_on(store: Path) -> None:
    assert [event["seq"] for event in listed(store, "--tenant", "acme")] == [9, 6, 3, 0]
    assert [event["seq"] for event in listed(store, "--tenant", TENANT, "--actor", "P3@acme.test")] == [3]
    assert [event["seq"] for event in listed(store, "--tenant", "none", "--action", "step.")] == [11]
    assert [event["seq"] for event in listed(store, "--since", "2026-11-24T04:00:00Z", "--outcome", "failure")] == [11]
    assert len(listed(store, "--all", "--limit", "2")) == 13
    assert audit("list", "--store", store, "--all", "--limit", "2").stdout.count("outcome") == 1
    ran = audit("list", "--store", store, "--format", "json", "--limit", "2", "--tenant", "acme")
    cursor = ran.stderr.split("--cursor ")[1].strip()
    assert [event["seq"] for event in listed(store, "--tenant", "acme", "--cursor", cursor)] == [3, 0]


def test_other_programs_get_csv_ocsf_ecs_and_cloud_events(store: Path) -> None:
    ran = audit("list", "--store", store, "--format", "csv", "--tenant", "acme", "--all", "--limit", "3")
    rows = list(csv.DictReader(io.StringIO(ran.stdout)))
    assert [row["seq"] for row in rows] == ["9", "6", "3", "0"]
    ocsf = json.loads(audit("list", "--store", store, "--format", "ocsf", "--limit", "1").stdout)
    made = ocsf["attestation"]
    assert made["fingerprint"]["value"] == sha256(b"\0" + ocsf["raw_data"].encode()).hexdigest()
    assert made["signatures"]
    found = json.loads(audit("list", "--store", store, "--format", "ecs", "--limit", "1").stdout)
    assert found["event"]["hash"] == sha256(b"\0" + found["event"]["original"].encode()).hexdigest()
    event = json.loads(audit("list", "--store", store, "--format", "cloudevents", "--limit", "1").stdout)
    assert (event["specversion"], event["id"]) == ("1.0", "12")


def test_one_event_is_shown_whole_and_its_line_byte_by_byte(store: Path) -> None:
    shown = audit("show", "3", "--store", store)
    assert shown.returncode == 0
    assert "p3@acme.test" in shown.stdout
    assert "sealed" in shown.stdout
    line = audit("show", "3", "--store", store, "--line").stdout
    (event,) = [event for event in listed(store) if event["seq"] == 3]
    assert leaf_hash(line.removesuffix("\n").encode()).hex() == event["hash"]
    assert audit("show", "99", "--store", store).returncode == 3


def key_file(path: Path) -> Path:
    def key(name: str) -> str:
        return base64.b64encode(sha256(name.encode()).digest()).decode()

    subjects = {f"{TENANT}/3": key(f"{TENANT}/3")}
    path.write_text(json.dumps({"vkeys": [VKEY], "tenants": {TENANT: key(TENANT)}, "subjects": subjects}))
    return path


def test_keys_open_the_texts_of_those_they_are_for(store: Path, tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys.json")
    events = {event["seq"]: event for event in listed(store, "--keys", str(keys))}
    assert (events[3]["metadata"], events[3]["sealed"]) == (RAW.decode(), False)
    assert (events[6]["metadata"], events[6]["sealed"]) == (None, True)
    found = listed(store, "--keys", str(keys), "--tenant", "acme", "--actor", "p3@acme.test")
    assert [event["seq"] for event in found] == [3]
    ran = audit("key", "--keys", keys)
    assert (ran.returncode, ran.stdout) == (0, f"{VKEY}\n")
    (tmp_path / "none.json").write_text('{"tenants": {"a": "secret"}}')
    refused = audit("key", "--keys", tmp_path / "none.json")
    assert refused.returncode == 2
    assert "secret" not in refused.stderr


def test_a_whole_store_is_valid_and_says_what_was_not_looked_at(store: Path) -> None:
    ran = audit("verify", "--store", store, "--key", VKEY)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines()[0] == ("VALID: 13 lines, 0 findings (the store begins with seq 0, nothing archived)")
    assert "not checked: the sealed texts of sources" in ran.stdout
    shallow = audit("verify", "--store", store, "--key", VKEY, "--shallow")
    assert "not checked: the canonical form of the lines" in shallow.stdout
    said = json.loads(audit("verify", "--store", store, "--key", VKEY, "--json").stdout)
    assert (said["verdict"], said["code"], said["lines"], said["findings"]) == ("VALID", 0, 13, [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "3", "--to", "7"], 0, "VALID: 5 lines"),
        (["--from", "3"], 0, "VALID: 10 lines"),
        (["--tenant", "acme"], 0, "VALID: 4 lines"),
        (["--tenant", "none"], 0, "nothing left out up to seq 11"),
        (["--to", "13"], 3, "the newest checkpoint is over 0..12"),
        (["--from", "13"], 3, "INCOMPLETE: 0 lines"),
        (["--tenant", "44444444-4444-4444-8444-444444444444"], 3, "has no line in the log"),
    ],
)
def test_a_part_that_is_asked_for_is_verified_or_not_valid(
    store: Path, arguments: list[str], code: int, words: str
) -> None:
    """Never 0 for less than was asked for."""
    ran = audit("verify", "--store", store, "--key", VKEY, *arguments)
    assert (ran.returncode, words in ran.stdout) == (code, True), ran.stdout + ran.stderr


async def test_what_is_in_the_archive_is_not_called_valid(store: Path) -> None:
    opened = await SqliteStore.open(store)
    await prune(opened, end=4)
    await opened.close()
    ran = audit("verify", "--store", store, "--key", VKEY)
    assert ran.returncode == 3
    assert ran.stdout.splitlines()[0] == "seq 0..4 archived: not in the store; verify the archive"
    assert "(the store begins with seq 5, archived up to seq 4)" in ran.stdout
    assert audit("verify", "--store", store, "--key", VKEY, "--from", "5").returncode == 0
    assert audit("export", "--store", store, "--out", store.parent / "whole").returncode == 3


async def test_events_after_the_checkpoint_are_valid_but_unanchored(store: Path) -> None:
    opened = await SqliteStore.open(store)
    await append(appender(opened), [own("new", "step.done")])
    await opened.close()
    ran = audit("verify", "--store", store, "--key", VKEY)
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (4, "seq 13 unanchored")


USAGE = [
    (["list", "--store", "{store}", "--texts"], "the installation's keys are in its cluster"),
    (["key", "--store", "{store}"], "the installation's keys are in its cluster"),
    (["list"], "name the settings file"),
    (["list", "--store", "absent.db"], "no such file"),
    (["list", "--config", "absent.yaml"], "can not be read"),
    (["list", "--store", "{store}", "--since", "yesterday"], "--since: a time like"),
    (["list", "--store", "{store}", "--tenant", "nobody"], "no tenant 'nobody' is known"),
    (["list", "--store", "{store}", "--partner", "nobody"], "the uid of a Partner"),
    (["list", "--store", "{store}", "--limit", "501"], "501"),
    (["list", "--store", "{store}", "--cursor", "x"], "a cursor is"),
    (["verify", "--store", "{store}"], "--key"),
    (["verify", "--store", "{store}", "--key", "x"], "--key: a vkey looks like"),
    (["verify", "--store", "{store}", "--key", VKEY, "--from", "5", "--to", "4"], "is after"),
    (["verify", "--store", "{store}", "--key", VKEY, "--tenant", "acme", "--to", "4"], "leave out --from and --to"),
    (["verify", "--store", "{store}", "--key", VKEY, "--checkpoint", "absent"], "can not be read"),
    (["verify", "--export", "absent", "--key", VKEY], "no directory"),
    (["export", "--store", "{store}", "--out", "{folder}"], "is not empty"),
    (["export", "--store", "{store}", "--out", "{folder}/x", "--values"], "go with --tenant"),
    (["export", "--store", "{store}", "--out", "{folder}/x", "--tenant", "acme", "--from", "1"], "leave out"),
    (["prove", "--store", "{store}", "--seq", "1", "--out", "{folder}/no/such/place"], "can not be written"),
]


@pytest.mark.parametrize(("arguments", "words"), USAGE, ids=[" ".join(case[0][:4]) for case in USAGE])
def test_what_can_not_be_done_is_said_in_a_sentence(store: Path, arguments: list[str], words: str) -> None:
    ran = audit(*(one.format(store=store, folder=store.parent) for one in arguments))
    assert ran.returncode == 2, ran.stderr
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_settings_file_leads_to_the_store(store: Path, tmp_path: Path) -> None:
    store = store.rename(store.with_name("audit-1.db"))
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS.format(audit=f"audit: {{directory: {store.parent}}}"))
    assert audit("list", "--config", settings).returncode == 0
    assert audit("list", DEZKY_CONFIG=str(settings)).returncode == 0
    settings.write_text(SETTINGS.format(audit=""))
    assert "keeps no audit log" in audit("list", "--config", settings).stderr


def test_the_operators_entry_has_the_commands(store: Path) -> None:
    command = [sys.executable, "-m", "dezky_operator.main", "audit", "show", "3", "--line", "--store", str(store)]
    ran = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE, env=environment())
    assert (ran.returncode, b'"seq":3' in ran.stdout) == (0, True), ran.stderr


SETTINGS = """
installationId: 6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5
namespace: dezky-system
baseDomain: dezky.test
authentik: {{url: http://127.0.0.1:1, tokenSecretRef: {{name: a}}}}
stalwart: {{url: http://127.0.0.1:1, tokenSecretRef: {{name: a}}}}
ocis: {{url: http://127.0.0.1:1, auth: Basic, secretRef: {{name: a}}}}
{audit}
"""


def test_one_line_is_proved_to_somebody_without_the_log(store: Path, tmp_path: Path) -> None:
    ran = audit("prove", "--store", store, "--seq", "3", "--out", tmp_path / "three")
    assert ran.returncode == 0, ran.stderr
    proof, line = tmp_path / "three.tlog-proof", tmp_path / "three.line"
    given = ("verify-proof", proof, "--line", line, "--key", VKEY)
    valid = audit(*given)
    assert (valid.returncode, valid.stdout.startswith("VALID")) == (0, True)
    line.write_bytes(line.read_bytes().replace(b"l-3", b"l-4"))
    assert (audit(*given).returncode, audit(*given).stdout.startswith("INVALID")) == (1, True)


async def test_what_is_taken_out_after_a_rotation_is_checked_with_the_first_key(tmp_path: Path) -> None:
    there = await SqliteStore.open(tmp_path / "audit.db")
    await rotated_twice(there, Memory())
    await there.close()
    store = ("--store", tmp_path / "audit.db")
    assert audit("verify", *store, "--key", VKEY).returncode == 0
    assert audit("verify", *store, "--key", VKEY, "--tenant", TENANT).returncode == 0
    parts = {"whole": (), "range": ("--from", "3", "--to", "9"), "tenant": ("--tenant", TENANT)}
    for name, asked in parts.items():
        out = tmp_path / name
        assert audit("export", *store, *asked, "--out", out).returncode == 0
        tool = TOOL if name == "whole" else EXPORT_TOOL
        for ran in (audit("verify", "--export", out, "--key", VKEY), second(out, "--key", VKEY, tool=tool)):
            assert (ran.returncode, ran.stdout.startswith("VALID")) == (0, True), ran.stdout
    ran = audit("prove", *store, "--seq", "3", "--out", tmp_path / "three")
    assert ran.returncode == 0, ran.stderr
    given = ("verify-proof", tmp_path / "three.tlog-proof", "--line", tmp_path / "three.line", "--key", VKEY)
    assert audit(*given).returncode == 1
    assert audit(*given, "--trust", tmp_path / "three.trust").returncode == 0


def test_an_empty_file_is_no_log_and_is_not_made_one(tmp_path: Path) -> None:
    empty = tmp_path / "audit.db"
    empty.touch()
    ran = audit("list", "--store", empty)
    assert (ran.returncode, "is empty" in ran.stderr, empty.stat().st_size) == (2, True, 0)


def test_a_key_is_made_where_the_installation_is() -> None:
    ran = audit("rotate-key")
    assert (ran.returncode, "--config" in ran.stderr) == (2, True)


async def test_tail_shows_what_comes_until_it_is_stopped(store: Path) -> None:
    # In the background of a script that signal is ignored, and a child inherits it.
    entry = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {ENTRY}"
    command = [sys.executable, "-c", entry, "tail", "--store", str(store), "--format", "json", "-n", "2"]
    process = await asyncio.create_subprocess_exec(
        *command, "--interval", "0.05", stdout=PIPE, stderr=PIPE, env=environment()
    )
    assert process.stdout
    assert [json.loads(await process.stdout.readline())["seq"] for _ in range(2)] == [11, 12]
    opened = await SqliteStore.open(store)
    await append(appender(opened), [own("new", "step.done")])
    await opened.close()
    assert json.loads(await process.stdout.readline())["externalId"] == "new"
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert (process.returncode, told) == (130, b"")


async def test_a_reader_that_has_seen_enough_is_no_error(store: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        f"'{sys.executable}' -c '{ENTRY}' list --store '{store}' --format json --all --limit 1 | head -n 1",
        stdout=PIPE,
        stderr=PIPE,
        env=environment(),
    )
    out, told = await process.communicate()
    assert (out.count(b"\n"), told) == (1, b"")
