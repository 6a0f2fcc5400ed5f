"""Events into the log, with keys that outlive the process (C076, C077, case 23)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.errors import EventError, SealError
from dezky_operator.audit.event import Event
from dezky_operator.audit.keystore import KeyStore
from dezky_operator.audit.log import AuditLog
from dezky_operator.audit.sealing import unseal
from dezky_operator.audit.times import TimeSource
from dezky_operator.store.interface import Reader, Store
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import KEYS, PII, KeyRow, PiiRow
from tests.audit.events import counting, login, ring
from tests.audit.golden import RAW, TENANT
from tests.logs import Clock, lines_of, sequencer
from tests.stores import Stepping

MASTER = bytes(range(32))


async def opened(directory: Path) -> SqliteStore:
    return await SqliteStore.open(directory / "audit.db")


def log_over(store: Store, keys: KeyStore | None = None) -> AuditLog:
    return AuditLog(sequencer(store, Clock()), keys or KeyStore(store, MASTER), counting())


async def rows_in(store: Store) -> tuple[list[KeyRow], list[PiiRow]]:
    async def look(rows: Reader) -> tuple[list[KeyRow], list[PiiRow]]:
        return await rows.scan(KEYS, limit=1_000), await rows.scan(PII, limit=1_000)

    return await store.read(look)


async def test_an_event_is_a_line_when_accept_returns_and_its_text_opens_in_another_process(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    appended = await log_over(store).accept([login("1"), login("2")])
    assert [one.fate for one in appended.placed] == ["stored", "stored"]
    assert [line.ext for line in await lines_of(store)] == ["1", "2"]
    await store.close()

    store = await opened(tmp_path)
    keys = KeyStore(store, MASTER)
    await keys.ensure([(TENANT, "42")])
    _, (first, _second) = await rows_in(store)
    assert unseal(first.raw, key=keys.ring.text_key(login("1").dk, TENANT, ["42"])) == RAW
    await store.close()


async def test_a_person_has_one_pseudonym_in_every_process_and_others_another(tmp_path: Path) -> None:
    for number in range(2):
        store = await opened(tmp_path)
        await log_over(store).accept([login(f"{number}"), login(f"{number}-ben", values={"actor.id": "43"})])
        lines = await lines_of(store)
        keys, _ = await rows_in(store)
        await store.close()
    assert [line.actor.ref for line in lines[:2]] == [line.actor.ref for line in lines[2:]]
    assert lines[0].actor.ref != lines[1].actor.ref
    assert len(keys) == 4  # two people, their tenant, and nobody's


async def test_keys_lie_wrapped_under_names_that_tell_nobody(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    keys = KeyStore(store, MASTER)
    await log_over(store, keys).accept([login("1", values={"actor.id": "ann@acme.test"})])
    rows, _ = await rows_in(store)
    key = keys.ring.subject(TENANT, "ann@acme.test").key
    await store.close()
    assert all("ann" not in row.id and key not in row.wrapped for row in rows)


async def test_another_key_of_the_installation_is_said_and_nothing_is_made_under_it(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await log_over(store).accept([login("1")])
    before = await rows_in(store)
    with pytest.raises(SealError, match="does not open under the installation's key"):
        await log_over(store, KeyStore(store, bytes(32))).accept([login("2")])
    assert len((await rows_in(store))[0]) == len(before[0])
    await store.close()


async def test_the_installations_key_has_its_length() -> None:
    with pytest.raises(SealError, match="has 32 bytes, found 5"):
        KeyStore(None, b"short")  # type: ignore[arg-type]  # the key is looked at first


async def test_two_processes_that_meet_somebody_at_once_agree_on_his_key(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    first, second = KeyStore(Stepping(store), MASTER), KeyStore(Stepping(store), MASTER, random=counting(7))
    wanted = [(TENANT, "42"), (TENANT, "43"), ("", "")]
    await asyncio.gather(first.ensure(wanted), second.ensure(wanted))
    for tenant, subject in wanted[:2]:
        assert first.ring.subject(tenant, subject).key == second.ring.subject(tenant, subject).key
    assert first.ring.tenant(TENANT) == second.ring.tenant(TENANT)
    await store.close()


async def test_a_key_nobody_made_sure_of_is_none(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    with pytest.raises(SealError, match="nobody made sure of"):
        KeyStore(store, MASTER).ring.tenant(TENANT)
    await store.close()


@pytest.mark.parametrize(
    "bad",
    [
        login("bad", data={"Not A Key": 1}),
        login("bad", data={"price": 2**60}),
        login("bad", values={"actor.name": "ann"}),
        login("bad", values={"actor.email": "half \ud800 of a pair"}, raw=b""),
        login("bad", values={"actor.id": "half \ud800 of a pair"}, raw=b""),
        login("bad", time_source=TimeSource.REC),
        login("b" * 2_000),
    ],
    ids=["key", "number", "path", "surrogate", "surrogate id", "time", "long id"],
)
async def test_an_event_that_can_be_no_line_is_kept_as_text_and_takes_no_other_with_it(
    tmp_path: Path, bad: Event
) -> None:
    with pytest.raises(EventError):
        prepare(bad, keys=ring(), random=counting())
    store = await opened(tmp_path)
    await log_over(store).accept([login("1"), bad, login("2")])
    await log_over(store).accept([bad])
    lines = await lines_of(store)
    await store.close()
    assert [line.action for line in lines] == ["authentik.login", "ingest.invalid", "authentik.login"]
    kept = lines[1]
    assert kept.src == bad.src
    assert kept.raw_len == kept.data["bytes"]
    assert "raw" in kept.c
