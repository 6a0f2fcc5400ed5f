"""MongoDB's own: which servers are accepted, what is made at the start, and what is doubt when a connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from dezky_operator.audit.fates import Fate
from dezky_operator.audit.inbox import Inbox
from dezky_operator.store.interface import EVERYTHING, ConflictError, Reader, Rows, StartError, UnavailableError
from dezky_operator.store.mongodb import MongoStore, Options
from dezky_operator.store.mongodb.layout import KEPT
from dezky_operator.store.mongodb.server import accepted
from dezky_operator.store.mongodb.shape import Document, shape_of
from dezky_operator.store.tables import CURSORS, LOG, PII, CursorRow, Generation, LogRow, PiiRow
from tests.drafts import drafts
from tests.ferretdb import server
from tests.logs import Clock, lines_of, sequencer
from tests.mongowire import Cut, Wire, wire

MONGODB = {"version": "7.0.14", "versionArray": [7, 0, 14, 0]}
FERRETDB = {**MONGODB, "ferretdbVersion": "v1.24.2"}
IN_A_SET = {"setName": "rs0", "isWritablePrimary": True}
ALONE = {"isWritablePrimary": True}
WRITES = {"insert", "update", "delete"}


@pytest.fixture
async def database() -> AsyncIterator[str]:
    async with server.database() as name:
        yield name


@pytest.fixture
async def between() -> AsyncIterator[Wire]:
    """A way to the server."""
    async with wire(server.uri()) as found:
        yield found


def event(seq: int) -> LogRow:
    return LogRow(seq, b"h", b"dk-%d" % seq, "rec", "at", "", "", 0, "login", "success", "", "authentik", "main", b"{}")


def inserting(*rows: LogRow) -> Callable[[Rows], Any]:
    async def work(store: Rows) -> None:
        await store.insert(LOG, rows)

    return work


def test_a_replica_set_is_accepted_and_what_it_cannot_do_is_named() -> None:
    found = accepted(IN_A_SET, MONGODB, Options())
    assert (found.validates, found.compares) == (True, True)
    assert [word in found.lacks[0] for word in ("deleted", "encrypt")] == [True, True]


@pytest.mark.parametrize("build", [{"version": "4.4.29", "versionArray": [4, 4, 29, 0]}, {}])
def test_a_server_that_is_too_old_or_of_no_version_is_refused(build: Document) -> None:
    with pytest.raises(StartError, match=r"too old.*5\.0 or later"):
        accepted(IN_A_SET, build, Options(standalone=True))


@pytest.mark.parametrize("build", [MONGODB, FERRETDB])
def test_a_single_server_is_refused_unless_it_is_declared(build: Document) -> None:
    with pytest.raises(StartError, match=r"no replica set.*audit\.mongodb\.standalone"):
        accepted(ALONE, build, Options())
    assert "one machine" in accepted(ALONE, build, Options(standalone=True)).lacks[0]


def test_a_sharded_cluster_is_refused() -> None:
    with pytest.raises(StartError, match="sharded"):
        accepted({"msg": "isdbgrid"}, MONGODB, Options(standalone=True))


def test_ferretdb_is_known_by_its_own_version_and_what_it_lacks_is_named() -> None:
    found = accepted(ALONE, FERRETDB, Options(standalone=True))
    assert (found.validates, found.compares, len(found.lacks)) == (False, False, 4)


@pytest.mark.parametrize("uri", ["http://ann:geheim@x", "mongodb://ann:ge@heim@x:1", "mongodb://ann:geheim@x:99999999"])
async def test_a_connection_string_that_cannot_be_used_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(StartError, match="mongodb://") as refused:
        await MongoStore.open(uri, "x", 1)
    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_server_that_is_not_there_is_no_refusal() -> None:
    with pytest.raises(UnavailableError, match="primary"):
        await MongoStore.open("mongodb://127.0.0.1:9/", "x", 1, Options(seconds=0.2))


async def test_a_single_server_is_refused_before_anything_is_made(database: str) -> None:
    async with AsyncMongoClient[Document](server.uri()) as client:
        if (await client.admin.command("hello")).get("setName"):
            pytest.skip(f"{server.served_by()} is a replica set")
        with pytest.raises(StartError, match="no replica set"):
            await MongoStore.open(server.uri(), database, 1)
        assert database not in await client.list_database_names()


def cutting(cut: Cut, *, at: int, of: Collection[str]) -> Callable[[str], Cut | None]:
    """The connection ends with command number ``at`` of some kinds, once."""
    numbers = count()
    return lambda name: cut if name in of and next(numbers) == at else None


async def indexes(database: str) -> dict[str, list[str]]:
    async with AsyncMongoClient[Document](server.uri()) as client:
        there = client[database]
        return {name: sorted(await there[name].index_information()) for name in await there.list_collection_names()}


async def test_everything_is_made_at_the_first_start_and_left_alone_at_the_next(database: str, between: Wire) -> None:
    """C074."""
    await (await server.opened(database)).close()
    made = await indexes(database)
    assert made["e1_audit_log"] == ["_id_", "action", "at", "dk", "partner", "tenant"]
    assert made["e1_audit_pii"] == ["_id_", "bi"]
    assert made.keys() == {f"e1_{table.name}" for table in KEPT} | {"e1_schema"}
    await (await server.opened(database, between.uri)).close()
    assert not {"create", "createIndexes", "collMod", "insert", "update"} & set(between.seen)
    assert await indexes(database) == made


async def test_a_start_that_was_broken_off_anywhere_is_made_to_the_end_by_the_next(
    database: str, between: Wire
) -> None:
    for _ in range(3):
        between.cut = cutting(Cut.UNANSWERED, at=5, of={"create", "createIndexes"})
        with pytest.raises(UnavailableError):
            await server.opened(database, between.uri)
    between.cut = lambda _name: None
    await (await server.opened(database, between.uri)).close()
    assert (await indexes(database)).keys() == {f"e1_{table.name}" for table in KEPT} | {"e1_schema"}


async def test_epochs_are_kept_apart(database: str) -> None:
    first = await server.opened(database)
    await first.run(inserting(event(0)))
    second = await MongoStore.open(server.uri(), database, 2, Options(standalone=True))

    async def look(rows: Reader) -> int:
        return await rows.count(LOG)

    assert (await first.read(look), await second.read(look)) == (1, 0)
    for store in (first, second):
        await store.close()


async def test_a_schema_of_a_later_version_is_refused(database: str) -> None:
    async with AsyncMongoClient[Document](server.uri()) as client:
        await client[database]["e1_schema"].insert_one({"_id": 0, "version": 99})
    with pytest.raises(StartError, match="has schema 99"):
        await server.opened(database)


async def test_an_index_that_is_not_ours_is_refused_by_its_name(database: str) -> None:
    async with AsyncMongoClient[Document](server.uri()) as client:
        await client[database]["e1_audit_log"].create_index([("dk", 1)], name="dk")
    with pytest.raises(StartError, match=r"index dk of .*e1_audit_log"):
        await server.opened(database)


def pretending(between: Wire) -> list[Document]:
    """The server answers as a replica set of MongoDB does; the validators it is asked for are kept here."""
    asked: list[Document] = []

    def told(name: str, answer: Document) -> Document:
        if name == "buildInfo":
            return {key: value for key, value in answer.items() if not key.startswith("ferretdb")}
        return {**answer, **IN_A_SET} if name == "hello" else answer

    def ask(command: Document) -> Document:
        asked.append(command)
        if "collMod" in command:
            return {"ping": 1, "$db": command["$db"]}
        return {key: value for key, value in command.items() if key != "validator"}

    between.told, between.asked = told, ask
    return asked


async def test_where_the_server_checks_documents_every_collection_has_its_validator(
    database: str, between: Wire
) -> None:
    """C073. Collections that an earlier start made without one get theirs."""
    asked = pretending(between)
    for command in ("create", "collMod"):
        await (await MongoStore.open(between.uri, database, 1)).close()
        found = {one[command]: one["validator"] for one in asked if command in one}
        assert found == {f"e1_{table.name}": shape_of(table).schema for table in KEPT}


KINDS: dict[str, type] = {"int": int, "long": int, "string": str, "binData": bytes, "array": list, "object": dict}


def fits(schema: Document, value: object) -> bool:
    """As the server judges, as far as our schemas go."""
    kinds = schema["bsonType"] if isinstance(schema["bsonType"], list) else [schema["bsonType"]]
    if not any(type(value) is KINDS[kind] for kind in kinds):
        return False
    if isinstance(value, list):
        return all(fits(schema["items"], one) for one in value)
    if isinstance(value, dict):
        exact = schema["additionalProperties"] or value.keys() <= schema["properties"].keys()
        there = all(name in value for name in schema["required"])
        return exact and there and all(fits(schema["properties"][name], one) for name, one in value.items())
    return True


ROWS = (
    (LOG, event(3)),
    (PII, PiiRow(3, {"actor.email": (b"\x00salt", "ann@acme.test")}, b"\xff", b"", (b"a", b"b"), ("42",))),
    (CURSORS, CursorRow("ocis", "g:17", "now", (Generation("g", 1, bytes(32), 1, b"k", 2, 3, ended=False),))),
)


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_document_of_ours_fits_its_validator_and_one_with_another_field_or_type_does_not(
    table: Any, row: Any
) -> None:
    """C073. The evidence and every hash are binary: nothing may give them back another way."""
    shape = shape_of(table)
    schema, document = shape.schema["$jsonSchema"], shape.document(row)
    assert fits(schema, document)
    assert not fits(schema, {**document, "more": 1})
    for name in document:
        assert not fits(schema, {one: value for one, value in document.items() if one != name})
        assert not fits(schema, {**document, name: 1.5})
    assert all(type(document[name]) is bytes for name in {"body", "h", "dk", "raw", "f"} & document.keys())


def doubtful(name: str) -> Callable[[str, Document], Document]:
    """The server did it, and says that no majority has it."""
    error = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out"}
    return lambda command, answer: {**answer, "writeConcernError": error} if command == name else answer


async def test_a_write_that_no_majority_confirmed_is_doubt_also_beside_a_taken_key(
    database: str, between: Wire
) -> None:
    store = await server.opened(database, between.uri)
    between.told = doubtful("insert")
    for _ in range(2):  # the second time every key is taken as well
        with pytest.raises(UnavailableError, match="64"):
            await store.run(inserting(event(0), event(1)))
    between.told = lambda _name, answer: answer
    with pytest.raises(ConflictError):
        await store.run(inserting(event(1)))
    await store.close()


async def test_what_the_server_says_of_a_document_is_not_in_the_error(database: str, between: Wire) -> None:
    """A validator's answer shows the values it refused."""
    store = await server.opened(database, between.uri)
    refused = {"index": 0, "code": 121, "errmsg": "ann@acme.test", "errInfo": {"considered": "ann@acme.test"}}
    between.told = lambda name, answer: {"ok": 1.0, "n": 0, "writeErrors": [refused]} if name in WRITES else answer

    async def swapping(rows: Rows) -> None:
        await rows.swap(LOG, event(0), event(0))

    for work in (inserting(event(0)), swapping):
        with pytest.raises(UnavailableError, match="121") as error:
            await store.run(work)
        assert "ann" not in str(error.value)
        assert (error.value.__cause__, error.value.__suppress_context__) == (None, True)
    await store.close()


async def test_a_server_that_does_not_answer_is_doubt_within_the_time_that_was_set(
    database: str, between: Wire
) -> None:
    await (await server.opened(database)).close()
    store = await MongoStore.open(between.uri, database, 1, Options(seconds=0.5, standalone=True))
    never = asyncio.Event()
    between.hold = never
    with pytest.raises(UnavailableError):
        await asyncio.wait_for(store.run(inserting(event(0))), 20)
    never.set()
    await store.close()


async def test_a_closed_store_says_so_and_finishes_what_it_was_given(database: str, between: Wire) -> None:
    store = await server.opened(database, between.uri)
    never = asyncio.Event()
    between.hold = never
    running = asyncio.create_task(store.run(inserting(event(0))))
    await between.held.wait()
    closing = asyncio.create_task(store.close())
    await indexes(database)  # time enough to close
    assert not closing.done()
    never.set()
    await running
    await closing
    with pytest.raises(UnavailableError, match="closed"):
        await store.run(inserting(event(1)))


async def test_a_task_that_is_ended_during_a_call_ends_and_one_that_ends_may_still_call(database: str) -> None:
    """Whenever the end comes: sent half, waiting, with the answer. One in twenty was forgotten."""
    store = await server.opened(database)

    async def look(rows: Reader) -> int:
        return await rows.count(LOG)

    last: list[int] = []

    async def ending() -> None:
        try:
            await store.read(look)
        except asyncio.CancelledError:
            last.append(await store.read(look))
            raise

    ended = 0
    for steps in range(200):
        task = asyncio.create_task(ending())
        for _ in range(steps % 40):
            await asyncio.sleep(0)
        ended += task.cancel()
        await asyncio.wait({task})
        assert task.cancelled() == (task.cancelling() > 0)
    assert ended > 100
    assert 0 < len(last) <= ended
    await store.close()


async def test_every_write_asks_for_a_majority_and_its_journal_and_every_read_for_what_a_majority_has(
    database: str, between: Wire
) -> None:
    """Whatever the connection string asks for."""
    store = await server.opened(database, f"{between.uri}&w=0&journal=false&readConcernLevel=local")
    asked: list[Document] = []

    def ask(command: Document) -> Document:
        asked.append(command)
        return command

    between.asked = ask

    async def work(rows: Rows) -> None:
        await rows.insert(LOG, [event(0)])
        await rows.put(LOG, [event(0)])
        await rows.swap(LOG, event(0), event(0))
        await rows.remove(LOG, event(0))
        await rows.delete(LOG, EVERYTHING, limit=1)
        await rows.count(LOG)
        await rows.find(LOG, "tenant", "", limit=1)

    await store.run(work)
    ours = [one for one in asked if next(iter(one)) in {"insert", "update", "delete", "find", "aggregate"}]
    assert {next(iter(one)) for one in ours} == {"insert", "update", "delete", "find", "aggregate"}
    for one in ours:
        if next(iter(one)) in {"find", "aggregate"}:
            assert one["readConcern"] == {"level": "majority"}
        else:
            assert one["writeConcern"] == {"w": "majority", "j": True}
        assert one["maxTimeMS"] > 0
    await store.close()


CUTS = [(cut, at) for cut in Cut for at in range(6)]
"""Of the writes from accepting to leaving the inbox. A read is repeated by the driver."""


async def test_a_connection_that_is_cut_at_any_write_loses_nothing_that_was_acknowledged(
    database: str, between: Wire
) -> None:
    """Case 12, on the wire: half of a request, or a request done and its answer lost, one after another."""
    clock = Clock()
    store = await server.opened(database, between.uri)
    inbox, log = Inbox(store, lambda: clock.ns), sequencer(store, clock)
    acknowledged: list[str] = []
    stored = broken = 0
    for turn, (cut, at) in enumerate(CUTS):
        between.cut = cutting(cut, at=at, of=WRITES)
        with suppress(UnavailableError):
            await inbox.accept(drafts(f"{turn}-a", f"{turn}-b"))
            acknowledged += [f"{turn}-a", f"{turn}-b"]
        try:
            placed = (await inbox.drain(log)).placed
        except UnavailableError:
            broken += 1
        else:
            stored += sum(one.fate is Fate.STORED for one in placed)
    between.cut = lambda _name: None
    while placed := (await inbox.drain(log)).placed:
        stored += sum(one.fate is Fate.STORED for one in placed)
    exts = [line.ext for line in await lines_of(store)]
    assert set(acknowledged) <= set(exts)
    assert stored == len(exts) == len(set(exts))

    async def values(rows: Reader) -> list[int]:
        return [row.seq for row in await rows.scan(PII, limit=1_000)]

    assert await store.read(values) == list(range(len(exts)))
    assert broken >= len(Cut)
    await store.close()
