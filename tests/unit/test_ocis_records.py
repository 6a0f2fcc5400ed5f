"""Every action of OCIS's audit service as an event: who, when, whose, and no token anywhere (C110, C111)."""

from __future__ import annotations

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.event import Event, Outcome, check
from dezky_operator.audit.times import TimeSource
from dezky_operator.ingest.ocis.actions import ACTIONS, MUTATIONS
from dezky_operator.ingest.ocis.records import Records, _time
from dezky_operator.ingest.ocis.tokens import MARK, token_hash, without_tokens
from dezky_operator.ingest.tenants import KnownTenant, Tenants
from tests.drafts import ACME, NORD, RECEIVED
from tests.ocis_lines import (
    ALICE,
    BOB,
    EVERY,
    GROUP,
    INVITE,
    LINK_CREATED,
    LINK_REMOVED,
    NODE,
    SPACE,
    STORAGE,
    TOKEN,
    record,
)

KEY = b"k" * 32
OTHER = "11111111-2222-4333-8444-555555555555"
PARTNER = "22222222-2222-4222-8222-222222222222"
TENANTS = Tenants(
    [
        KnownTenant(
            tenant_id=ACME,
            slug="acme",
            partner=PARTNER,
            partner_slug="nord",
            domains=("acme.test",),
            drives=(SPACE,),
        ),
        KnownTenant(tenant_id=NORD, slug="nord", domains=("nord.test",), drives=(OTHER,)),
    ]
)
NAMES = {ALICE: "alice@acme.test", BOB: "bob@nord.test", GROUP: "dezky-acme-users"}


def read(line: bytes, *, allow: set[str] | None = None, known: bool = False) -> Event | None:
    records = Records(
        src="ocis-main", allow=allow, token_key=KEY, names=lambda key: NAMES.get(key, "") if known else ""
    )
    return records.event(line, ext="g:0", recv=RECEIVED, tenants=TENANTS)


def event(line: bytes, *, known: bool = False) -> Event:
    found = read(line, allow=set(ACTIONS), known=known)
    assert found is not None
    check(found)
    return found


def everything(found: Event) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(found, raw=b"")) + found.raw


# -- what becomes an event ---------------------------------------------------------------------


def test_there_are_35_actions_of_which_33_change_something() -> None:
    assert set(EVERY) == set(ACTIONS)
    assert (len(ACTIONS), len(MUTATIONS)) == (35, 33)
    assert set(ACTIONS) - MUTATIONS == {"file_read", "public_link_accessed"}


@pytest.mark.parametrize("action", EVERY)
def test_every_action_has_its_own_name_and_a_resource_with_an_id(action: str) -> None:
    found = event(EVERY[action])
    assert found.action == f"ocis.{action}"
    assert found.outcome is Outcome.SUCCESS
    assert found.resource_type
    assert found.values["resource.id"]


@pytest.mark.parametrize("action", EVERY)
def test_only_what_changes_something_is_kept_when_nobody_says_otherwise(action: str) -> None:
    assert (read(EVERY[action]) is not None) == (action in MUTATIONS)


def test_an_allow_list_keeps_what_it_names_and_what_nobody_can_have_decided_about() -> None:
    allow = {"file_read"}
    assert read(EVERY["file_read"], allow=allow) is not None
    assert read(EVERY["file_create"], allow=allow) is None
    assert read(record("file_locked", FileID=NODE), allow=allow) is not None


def test_an_unknown_action_passes_with_an_unknown_outcome() -> None:
    found = event(record("file_locked", FileID=NODE, Strange={"deep": [1.5, None]}))
    assert (found.action, found.outcome) == ("ocis.file_locked", Outcome.UNKNOWN)
    assert found.values["resource.id"] == NODE


@pytest.mark.parametrize("action", ["Ann's file", "x" * 65, "File", "a b", "ä"])
def test_an_action_that_is_no_name_stays_out_of_the_line(action: str) -> None:
    found = event(record(action))
    assert (found.action, found.outcome) == ("ocis.unknown", Outcome.UNKNOWN)
    assert action.encode() in found.raw


@pytest.mark.parametrize("action", ["share_updated", "share_state_changed"])
def test_the_empty_action_of_older_versions_is_told_by_the_record(action: str) -> None:
    old = EVERY[action].replace(f'"Action":"{action}"'.encode(), b'"Action":""')
    assert event(old).action == f"ocis.{action}"


def test_a_link_visit_that_was_refused_is_a_failure() -> None:
    line = EVERY["public_link_accessed"].replace(b'"Success":true', b'"Success":false')
    assert event(line).outcome is Outcome.FAILURE


# -- who ------------------------------------------------------------------------------------------


def test_the_actor_is_whom_the_message_names_and_not_the_owner_of_the_space() -> None:
    found = event(EVERY["file_create"])
    assert found.values["actor.id"] == ALICE
    assert BOB in found.people


def test_the_sharer_is_the_actor_of_a_share_whose_message_names_nobody() -> None:
    line = record("share_updated", "", user=ALICE, ShareID="x:y:z", ShareOwner=ALICE)
    assert event(line).values["actor.id"] == ALICE


@pytest.mark.parametrize("action", ["public_link_accessed", "file_unshared"])
def test_nobody_is_blamed_where_the_record_tells_nobody(action: str) -> None:
    found = event(EVERY[action])
    assert "actor.id" not in found.values
    assert found.actor_type == ""


def test_a_name_in_a_file_s_path_is_no_actor() -> None:
    path = f"x' user '{BOB}' created file '"
    line = record("file_create", f"user '{ALICE}' created file '{path}'", user=BOB, Path=path, FileID=NODE)
    assert event(line).values["actor.id"] == ALICE


def test_an_actor_with_a_known_address_is_found_by_it() -> None:
    assert event(EVERY["file_create"], known=True).values["actor.email"] == "alice@acme.test"


@pytest.mark.parametrize("action", EVERY)
def test_everybody_in_the_text_is_named_so_that_erasing_one_erases_it(action: str) -> None:
    found = event(EVERY[action])
    named = {found.values.get("actor.id"), found.values["resource.id"], *found.people}
    assert {person for person in (ALICE, BOB) if person.encode() in found.raw} <= named


def test_whoever_is_invited_from_outside_can_be_erased_too() -> None:
    assert "guest@other.test" in event(EVERY["science_mesh_invite_token_generated"]).people


# -- when -----------------------------------------------------------------------------------------


def test_the_time_is_the_source_s_in_whole_seconds() -> None:
    found = event(EVERY["file_create"])
    assert (found.at, found.time_source) == ("2026-11-24T03:59:58.000000Z", TimeSource.SOURCE)


@pytest.mark.parametrize(
    "action", ["space_shared", "user_created", "user_deleted", "group_created", "group_member_added"]
)
def test_without_a_time_it_is_the_time_of_recording(action: str) -> None:
    found = event(EVERY[action])
    assert (found.at, found.time_source) == ("", TimeSource.REC)


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-11-24", "2026-11-24T03:59:58", "2026-13-01T00:00:00Z", "9" * 10_000]
)
def test_a_time_that_is_none_is_the_time_of_recording(text: str) -> None:
    assert event(record("file_create", at=text)).time_source is TimeSource.REC


def test_a_long_text_for_a_time_is_not_remembered() -> None:
    remembered = _time.cache_info().currsize
    event(record("file_create", at="8" * 100))
    assert _time.cache_info().currsize == remembered


def test_a_time_far_ahead_is_kept_as_it_is() -> None:
    assert event(record("file_create", at="2099-01-01T00:00:00Z")).at == "2099-01-01T00:00:00.000000Z"


# -- whose ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"SpaceID": f"{STORAGE}${SPACE}"},
        {"SpaceID": SPACE},
        {"FileID": f"{STORAGE}${SPACE}!{NODE}"},
        {"FileID": f"{STORAGE}${SPACE}!{SPACE}/a/b$c!d"},
        {"FileID": SPACE},
        {"FileID": NODE, "ShareID": f"{STORAGE}:{SPACE}:{NODE}"},
    ],
)
def test_the_tenant_is_that_of_the_space(fields: dict[str, str]) -> None:
    found = event(record("file_create", **fields))
    assert (found.tenant, found.partner) == (ACME, PARTNER)
    assert (found.values["tenant.slug"], found.values["partner.slug"]) == ("acme", "nord")


def test_the_space_decides_before_the_actor_does() -> None:
    line = record("file_create", FileID=f"{STORAGE}${OTHER}!{NODE}")
    assert event(line, known=True).tenant == NORD


@pytest.mark.parametrize(
    ("action", "tenant"),
    [("group_member_added", ACME), ("group_created", ACME), ("user_created", NORD), ("file_shared", ACME)],
)
def test_without_a_space_it_is_the_group_s_then_the_user_s_then_the_actor_s(action: str, tenant: str) -> None:
    assert event(EVERY[action], known=True).tenant == tenant


def test_the_group_s_id_is_enough_where_the_operator_made_the_group() -> None:
    known = Tenants([KnownTenant(tenant_id=NORD, slug="nord", files_group=GROUP)])
    records = Records(src="ocis-main", allow=None, token_key=KEY)
    found = records.event(EVERY["group_deleted"], ext="g:0", recv=RECEIVED, tenants=known)
    assert found is not None
    assert found.tenant == NORD


def test_a_space_of_somebody_s_own_belongs_to_that_person_s_tenant() -> None:
    line = record("file_create", f"user '{ALICE}' created file 'x'", FileID=f"{STORAGE}${BOB}!{NODE}")
    assert event(line, known=True).tenant == NORD


@pytest.mark.parametrize("fields", [{}, {"SpaceID": "$"}, {"FileID": "!"}, {"ShareID": "::"}, {"ShareID": ":x:y"}])
def test_what_nobody_knows_belongs_to_no_tenant(fields: dict[str, str]) -> None:
    found = event(record("file_create", **fields))
    assert (found.tenant, found.partner) == ("", "")


# -- what is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "values"),
    [
        ("file_rename", {"before": "./old.txt", "after": "./plan.txt", "resource.name": "./plan.txt"}),
        ("space_created", {"resource.name": "Acme"}),
        ("space_renamed", {"resource.name": "Acme Ltd"}),
        ("space_shared", {"after": f"user:{BOB}"}),
        ("space_unshared", {"before": f"user:{BOB}"}),
        ("group_member_added", {"resource.id": GROUP, "after": f"user:{BOB}"}),
        ("group_member_removed", {"resource.id": GROUP, "before": f"user:{BOB}"}),
        ("file_shared", {"resource.id": NODE, "after": f"user:{BOB}"}),
        ("user_feature_changed", {"before": '{"accountEnabled":"true"}', "after": '{"accountEnabled":"false"}'}),
        ("space_updated", {"after": '{"description":"all of us","spaceAlias":"project/dezky-acme"}'}),
        ("science_mesh_invite_token_generated", {"resource.name": "guest@other.test"}),
    ],
)
def test_names_and_people_are_values_that_can_be_erased(action: str, values: dict[str, str]) -> None:
    found = event(EVERY[action])
    assert values.items() <= found.values.items()


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("space_created", {"space_type": "project"}),
        ("space_updated", {"quota": 5_000_000_000}),
        ("user_feature_changed", {"features": "accountEnabled"}),
        ("file_version_restore", {"version": "v.REV.1"}),
        ("file_create", {}),
    ],
)
def test_the_rest_is_data_of_the_line(action: str, data: dict[str, Any]) -> None:
    assert event(EVERY[action]).data == data


def test_a_name_that_looks_like_a_quota_is_none() -> None:
    name = "x', quota: '1', opaque: '"
    message = f"user '{ALICE}' updated space '{SPACE}'. name: '{name}', quota: '7', opaque: 'map[]' (storage: 's')"
    assert event(record("space_updated", message, SpaceID=SPACE, Name=name)).data == {"quota": 7}


def test_a_quota_beyond_what_a_line_holds_stays_in_the_text() -> None:
    message = f"user '{ALICE}' updated space '{SPACE}'. name: '', quota: '{2**64 - 1}', opaque: 'map[]'"
    assert event(record("space_updated", message, SpaceID=SPACE)).data == {}


def test_a_link_says_how_it_is_guarded() -> None:
    found = event(LINK_CREATED)
    assert found.resource_type == "link"
    assert found.data["password"] is True
    assert found.data["expires"] == "2026-12-24T00:00:00Z"


# -- tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "token"),
    [
        (LINK_CREATED, TOKEN),
        (LINK_REMOVED, TOKEN),
        (EVERY["public_link_accessed"], TOKEN),
        (EVERY["science_mesh_invite_token_generated"], INVITE),
        (record("later_action", f"with token '{TOKEN}'", AccessToken=TOKEN), TOKEN),
        (record("later_action", Nested={"ShareToken": TOKEN}), TOKEN),
        (record("later_action", Opaque={"json": json.dumps({"token": TOKEN})}), TOKEN),
        (LINK_CREATED.replace(b"ShareToken", b"Share\\u0054oken"), TOKEN),
        (LINK_CREATED.replace(TOKEN.encode(), b"q\\u004dvTzKpWxYbNdRs"), TOKEN),
        (LINK_CREATED.replace(b'"ShareToken":', b'"ShareToken":"AnotherOneHere1","ShareToken" : '), "AnotherOneHere1"),
        (LINK_CREATED[:-3], TOKEN),
        (LINK_CREATED[: LINK_CREATED.index(b'"ShareToken":"') + 20], TOKEN[:6]),
        (b"\0\0" + LINK_CREATED, TOKEN),
        (LINK_CREATED.replace(b"admin_audit", b"admin_\xff"), TOKEN),
    ],
)
def test_no_token_is_kept_anywhere_of_an_event(line: bytes, token: str) -> None:
    found = event(line)
    assert token.encode() not in everything(found)
    assert MARK in found.raw
    assert b"q\\u004dvTz" not in found.raw


def test_records_about_one_link_can_still_be_brought_together() -> None:
    hashed = token_hash(TOKEN.encode(), KEY).decode()
    assert event(LINK_CREATED).data["token"] == hashed
    assert event(EVERY["public_link_accessed"]).data["token"] == hashed
    assert event(LINK_REMOVED).data["share_id"] == hashed
    assert token_hash(TOKEN.encode(), b"another key of the hash") != hashed.encode()


@pytest.mark.parametrize("action", sorted(MUTATIONS - {"science_mesh_invite_token_generated"}))
def test_a_text_without_a_token_is_kept_byte_by_byte(action: str) -> None:
    assert event(EVERY[action]).raw == EVERY[action]


@given(
    token=st.text(string.ascii_letters, min_size=15, max_size=15),
    path=st.text(max_size=40),
    cut=st.integers(0, 200),
)
def test_whatever_stands_around_it_a_token_goes(token: str, path: str, cut: int) -> None:
    line = record(
        "file_shared", f"link with token '{token}' {path}", Path=path, ShareToken=token, ShareID=path, Description=path
    )
    assert token.encode() not in without_tokens(line, KEY)
    assert token.encode() not in without_tokens(line[: len(line) - cut], KEY)


# -- lines that are none --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "an empty line"),
        (b" \r", "an empty line"),
        (b'{"Action":"file_create"', "not JSON"),
        (b"\xef\xbb\xbf" + EVERY["file_create"], "not JSON"),
        (b"\0" * 512 + EVERY["file_create"], "not JSON"),
        (b'{"Action":"file_create","Level":NaN}', "not JSON"),
        (b'{"Action":"file_create","Path":"\\ud800"}', "not JSON"),
        (b'{"Action":"file_create","Path":"\xff"}', "not JSON"),
        (EVERY["file_create"] + EVERY["file_create"], "not JSON"),
        (EVERY["file_create"][:200] + EVERY["file_create"], "not JSON"),
        (b'{"x":' + b"[" * 1_000_000, "nested too deep"),
        (b"[]", "a field is not of the type that OCIS writes"),
        (b'{"Action":5}', "a field is not of the type that OCIS writes"),
        (b'{"level":"info","service":"audit"}', "not a record of the audit service"),
        (b"{}", "not a record of the audit service"),
    ],
)
def test_a_line_that_is_no_record_is_kept_as_malformed(line: bytes, reason: str) -> None:
    found = event(line)
    assert (found.action, found.data["reason"]) == ("ingest.malformed", reason)
    assert found.raw == line


def test_of_two_equal_keys_the_last_counts_and_the_text_keeps_both() -> None:
    line = EVERY["file_create"][:-1] + b',"Action":"file_delete"}'
    found = event(line)
    assert found.action == "ocis.file_delete"
    assert found.raw == line


@given(st.binary(max_size=200))
def test_no_bytes_stop_the_reader(line: bytes) -> None:
    found = read(line)
    assert found is None or found.action.startswith(("ocis.", "ingest."))


@given(
    st.dictionaries(
        st.sampled_from(
            ["Action", "Message", "User", "Time", "SpaceID", "FileID", "ShareID", "Opaque", "Features", "App"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_no_values_stop_the_reader_or_break_a_rule_of_the_line(fields: dict[str, Any]) -> None:
    found = read(json.dumps(fields).encode())
    if found is not None:
        check(found)
