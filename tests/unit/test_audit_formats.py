"""Events as other programs read them: CSV, OCSF, ECS, CloudEvents (facts/audit-log.md 2.9, 6.1; C073)."""

from __future__ import annotations

import csv
import io
import string
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.chain import EMPTY, linked
from dezky_operator.audit.draft import Draft
from dezky_operator.audit.event import Event, Outcome
from dezky_operator.audit.export.cloudevents import cloud_event
from dezky_operator.audit.export.ecs import ecs
from dezky_operator.audit.export.ocsf import kind_of, ocsf
from dezky_operator.audit.export.tabular import COLUMNS, header, plain, record, safe
from dezky_operator.audit.view import View, viewed
from dezky_operator.store.tables import LogRow, PiiRow
from tests.audit.events import drafted, login, note_of, own
from tests.audit.golden import LEAVES, LINES, NOTE, ORIGIN, RAW, ROOT, TENANT

FORMULA = set("=+-@\t\r\n\0|%")


def stored(event: Event) -> tuple[LogRow, PiiRow]:
    draft: Draft = drafted(event)
    (row,) = linked([draft], tip=EMPTY, heads={}, origin=ORIGIN, now="2026-11-24T04:00:00.000000Z").rows
    return row, PiiRow(row.seq, *msgspec.structs.astuple(draft.private))


def seen(event: Event) -> View:
    return viewed(*stored(event), text=RAW)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
CELLS = st.one_of(TEXTS, st.sampled_from(["=1+1", "@SUM(A1)", "-2", "'=1", "''+", "a,b", 'a"b', "a\r\nb", "'"]))


@given(cells=st.lists(CELLS, min_size=3, max_size=3))
def test_a_line_of_csv_gives_back_what_was_written(cells: list[str]) -> None:
    email, name, text = cells
    view = msgspec.structs.replace(seen(login()), actor_email=email, resource_name=name, metadata=text)
    lines = list(csv.reader(io.StringIO(header() + record(view), newline="")))
    assert len(lines) == 2
    read = {name: plain(cell) for name, cell in zip(*lines, strict=True)}
    assert (read["actorEmail"], read["resourceName"], read["metadata"]) == (email, name, text)
    assert read["seq"] == "0"


@given(cell=st.one_of(CELLS, st.text()))
def test_no_cell_is_a_formula(cell: str) -> None:
    assert not safe(cell) or safe(cell)[0] not in FORMULA
    assert plain(safe(cell)) == cell


def test_the_columns_are_the_names_of_the_view_and_lists_are_words() -> None:
    assert next(csv.reader([header()])) == list(COLUMNS)
    view = msgspec.structs.replace(seen(login()), erased=("actorEmail", "actorId"), actor_email=None)
    cells = dict(zip(COLUMNS, next(csv.reader([record(view)])), strict=True))
    assert (cells["erased"], cells["actorEmail"]) == ("actorEmail actorId", "")
    assert (cells["sealed"], cells["data"]) == ("false", '{"method":"password"}')


def test_a_cloud_event_has_what_the_specification_requires() -> None:
    event = cloud_event(seen(login()), ORIGIN)
    required = {"id": "0", "source": f"/dezky/{ORIGIN}/authentik-main", "specversion": "1.0"}
    assert required.items() <= event.items()
    assert event["type"] == "eu.dezky.audit.authentik.login"
    assert (event["time"], event["subject"]) == ("2026-11-24T03:59:58.123456Z", f"tenant/{TENANT}")
    assert event["data"]["actorEmail"] == "ann@acme.test"
    attributes = [name for name in event if name != "data"]
    assert all(set(name) <= set(string.ascii_lowercase + string.digits) for name in attributes)
    assert "subject" not in cloud_event(seen(own("o", "step.done")), ORIGIN)


REQUIRED = {
    "activity_id",
    "category_uid",
    "class_uid",
    "metadata",
    "severity_id",
    "time",
    "type_uid",
}


@pytest.mark.parametrize(
    ("action", "class_uid", "activity"),
    [
        ("authentik.login", 3002, 1),
        ("authentik.login_failed", 3002, 1),
        ("authentik.logout", 3002, 2),
        ("stalwart.auth_success", 3002, 1),
        ("stalwart.auth_banned", 3002, 99),
        ("authentik.password_changed", 3007, 8),
        ("stalwart.account_created", 3007, 1),
        ("tenant.suspended", 3004, 3),
        ("tenant.created", 3004, 1),
        ("ocis.file_uploaded", 6006, 1),
        ("ocis.file_shared", 6006, 12),
        ("ocis.share_updated", 6006, 99),
        ("step.done", 6003, 99),
        ("anything", 6003, 99),
    ],
)
def test_an_action_has_its_class_in_ocsf(action: str, class_uid: int, activity: int) -> None:
    kind = kind_of(action)
    assert (kind.class_uid, kind.activity) == (class_uid, activity)
    event = ocsf(seen(own("o", action)), line=b"{}", origin=ORIGIN)
    assert event.keys() >= REQUIRED
    assert (event["class_uid"], event["type_uid"]) == (class_uid, class_uid * 100 + activity)
    asked = {3002: "user", 3004: "entity", 3007: "user", 6003: "api", 6006: "file"}[class_uid]
    assert asked in event
    assert {"version", "product", "profiles"} <= event["metadata"].keys()


# https://www.elastic.co/docs/reference/ecs/ecs-allowed-values-event-category, "expected event types".
EXPECTED = {
    "authentication": {"start", "end", "info"},
    "iam": {"admin", "change", "creation", "deletion", "group", "info", "user"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "file": {"access", "change", "creation", "deletion", "info"},
    "api": {"access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start", "user"},
}


@pytest.mark.parametrize(
    ("action", "category", "types"),
    [
        ("authentik.login", "authentication", ["start"]),
        ("authentik.logout", "authentication", ["end"]),
        ("stalwart.auth_banned", "authentication", ["info"]),
        ("authentik.password_changed", "iam", ["change", "user"]),
        ("stalwart.account_deleted", "iam", ["deletion", "user"]),
        ("tenant.created", "configuration", ["creation"]),
        ("ocis.file_delete", "file", ["deletion"]),
        ("ocis.file_shared", "file", ["info"]),
        ("step.done", "api", ["info"]),
    ],
)
def test_an_action_has_its_category_in_ecs(action: str, category: str, types: list[str]) -> None:
    event = ecs(seen(own("o", action)), line=b"{}", origin=ORIGIN)["event"]
    assert (event["category"], event["type"]) == ([category], types)
    assert set(types) <= EXPECTED[category]


def test_what_was_denied_failed_in_ecs_and_says_so() -> None:
    found = ecs(seen(own("o", "step.failed", outcome=Outcome.DENIED)), line=b"{}", origin=ORIGIN)
    assert (found["event"]["outcome"], found["event"]["type"]) == ("failure", ["info", "denied"])
    assert found["dezky"]["outcome"] == "denied"


def test_an_ecs_event_carries_its_line_and_who_it_is_about() -> None:
    row = stored(login())[0]
    found = ecs(seen(login()), line=row.body, origin=ORIGIN)
    assert found["@timestamp"] == "2026-11-24T03:59:58.123456Z"
    assert found["event"]["hash"] == sha256(b"\0" + found["event"]["original"].encode()).hexdigest()
    assert found["user"] == {"id": "42", "email": "ann@acme.test"}
    assert found["organization"] == {"id": TENANT, "name": "acme"}
    assert found["related"]["user"] == ["ann@acme.test", "42"]
    bare = ecs(seen(own("o", "step.done")), line=b"{}", origin=ORIGIN)
    assert not {"user", "source", "organization", "related"} & bare.keys()


def test_an_ocsf_event_carries_the_chain_and_its_line() -> None:
    row = stored(login())[0]
    event = ocsf(seen(login()), line=row.body, origin=ORIGIN)
    made = event["attestation"]
    assert made["chain_uid"] == ORIGIN
    assert made["fingerprint"]["value"] == sha256(b"\0" + event["raw_data"].encode()).hexdigest()
    assert "prev_event" not in made
    assert "signatures" not in made
    assert event["time"] == 1795492798123


def test_an_ocsf_event_names_the_line_before_and_the_checkpoint_it_is_under() -> None:
    view = msgspec.structs.replace(seen(login()), seq=1, prev_hash=LEAVES[0], hash=LEAVES[1])
    event = ocsf(view, line=LINES[1], origin=ORIGIN, note=NOTE)
    made = event["attestation"]
    assert made["fingerprint"]["value"] == sha256(b"\0" + LINES[1]).hexdigest()
    assert made["prev_event"]["fingerprint"]["value"] == sha256(b"\0" + LINES[0]).hexdigest()
    assert [signature["digest"]["value"] for signature in made["signatures"]] == [ROOT]
    assert event["unmapped"]["checkpoint"] == NOTE.decode()
    assert note_of(LINES).splitlines()[:3] == NOTE.splitlines()[:3]


def test_a_value_that_was_erased_is_named_in_ocsf() -> None:
    row, private = stored(login())
    view = viewed(row, msgspec.structs.replace(private, f={}), erased=("actor.email",))
    event = ocsf(view, line=row.body, origin=ORIGIN)
    assert event["unmapped"]["erased"] == ["actorEmail"]
    assert event["unmapped"]["missing"] == ["actorId", "tenantSlug"]
    assert "email_addr" not in event["user"]
