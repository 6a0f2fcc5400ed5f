"""A suspension over time, the brake on deletions, and what a tombstone keeps: pure rules of the lifecycle."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dezky_operator.crd.conditions import Reason
from dezky_operator.crd.tenant import ReceiptStatus, SuspensionStatus, Tenant, parse
from dezky_operator.integrations.steps import Plan, Step, System, Verb
from dezky_operator.tenant import burial
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.identity import Candidate, Identity, Refused, identify
from dezky_operator.tenant.record import Record, RecordState, decode, encode
from dezky_operator.tenant.retention import Clocks
from dezky_operator.tenant.suspension import begun, closing, hold_active, hold_ends_in, holding, settled, with_drives
from dezky_operator.tenant.world import World
from tests.builders import Manifest, annotated, deletion, spec, suspended, tenant

INSTALLATION = "5a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
WHO = Identity(tenant_id=uuid.uuid5(uuid.UUID(INSTALLATION), "acme"))


def a_tenant(manifest: Manifest, *, deleted: datetime | None = None, status: dict[str, Any] | None = None) -> Tenant:
    metadata = {**manifest["metadata"], "uid": "11111111-1111-1111-1111-111111111111", "generation": 1}
    if deleted is not None:
        metadata["deletionTimestamp"] = deleted.strftime("%Y-%m-%dT%H:%M:%SZ")
    return parse({**manifest, "metadata": metadata, "status": status or {}})


def held(hours: str | None = None) -> Tenant:
    how = {"mailPolicy": "Hold", **({"holdFor": hours} if hours else {})}
    return a_tenant(tenant("acme", suspended(), spec(suspension=how)))


def a_record(slug: str, deleted: datetime, **more: Any) -> Record:
    return Record(
        tenant_id=str(uuid.uuid4()),
        slug=slug,
        state=more.pop("state", RecordState.LOCKING),
        spec={"displayName": slug, "domains": [f"{slug}.test"]},
        created_at="2026-01-01T00:00:00Z",
        deleted_at=deleted.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **more,
    )


def a_world(*records: Record) -> World:
    return World(installation_id=INSTALLATION, others=(), records=records)


# -- holding mail ------------------------------------------------------------------------------


def test_mail_is_held_for_72_hours_unless_the_spec_says_otherwise() -> None:
    assert begun(held(), NOW).hold_until == "2026-11-28T12:00:00Z"
    assert begun(held("5h"), NOW).hold_until == "2026-11-25T17:00:00Z"


def test_no_hold_is_longer_than_96_hours_even_where_an_older_schema_let_one_in() -> None:
    assert begun(held("400h"), NOW).hold_until == "2026-11-29T12:00:00Z"


def test_mail_is_accepted_again_once_the_time_is_over() -> None:
    suspension = begun(held("5h"), NOW)
    assert holding(suspension, NOW + timedelta(hours=4, minutes=59))
    assert not holding(suspension, NOW + timedelta(hours=5))
    assert hold_ends_in(suspension, NOW + timedelta(hours=4)) == 3600.0
    assert hold_ends_in(suspension, NOW + timedelta(hours=6)) is None


def test_a_hold_counts_from_the_beginning_of_the_suspension_and_a_spec_edit_begins_none_anew() -> None:
    running = SuspensionStatus(since="2026-11-25T10:00:00Z")
    edited = a_tenant(
        tenant("acme", suspended(), spec(suspension={"mailPolicy": "Hold", "holdFor": "5h"})),
        status={"suspension": msgspec.to_builtins(running)},
    )
    assert begun(edited, NOW).hold_until == "2026-11-25T15:00:00Z"


@pytest.mark.parametrize(("word", "known"), [(None, False), ("Ended", False), ("Held", True), ("Loading", None)])
def test_a_hold_written_ahead_is_not_known_to_be_in_force(word: str | None, known: bool | None) -> None:  # noqa: FBT001
    assert hold_active(word) is known


# -- what was closed -------------------------------------------------------------------------


def test_only_spaces_that_a_plan_closes_are_written_ahead() -> None:
    steps = (
        Step(system=System.OCIS, kind="drive", key="a", verb=Verb.DISABLE, name="A", reason="", target="id-a"),
        Step(system=System.OCIS, kind="drive", key="b", verb=Verb.ENABLE, name="B", reason="", target="id-b"),
        Step(system=System.AUTHENTIK, kind="user", key="1", verb=Verb.DISABLE, name="anna", reason="", target="1"),
    )
    assert closing(Plan(steps)) == ("id-a",)


def test_ids_are_added_and_never_forgotten_while_it_runs() -> None:
    one = with_drives(SuspensionStatus(since="2026-11-25T10:00:00Z"), ["a", "b"])
    assert with_drives(one, ["b", "c"]).disabled_drive_ids == ("a", "b", "c")


def test_the_first_moment_of_being_locked_is_kept() -> None:
    begins = SuspensionStatus(since="2026-11-25T10:00:00Z")
    locked = settled(begins, locked=True, held=False, receipts=(), now=NOW)
    later = settled(locked, locked=False, held=None, receipts=(), now=NOW + timedelta(hours=1))
    assert (locked.locked_at, later.locked_at) == ("2026-11-25T12:00:00Z", "2026-11-25T12:00:00Z")


def test_receipts_stand_in_the_order_of_the_systems_and_a_newer_one_replaces_the_older() -> None:
    def receipt(system: str, result: str) -> ReceiptStatus:
        return ReceiptStatus(system=system, at="2026-11-25T12:00:00Z", result=result)

    begins = SuspensionStatus(since="2026-11-25T10:00:00Z", receipts=(receipt("ocis", "Open"),))
    now = settled(
        begins, locked=True, held=None, receipts=(receipt("ocis", "Refused"), receipt("authentik", "Refused")), now=NOW
    )
    assert [(one.system, one.result) for one in now.receipts] == [("authentik", "Refused"), ("ocis", "Refused")]


# -- tombstones ---------------------------------------------------------------------------------


def test_a_soft_delete_is_kept_for_its_retention_days() -> None:
    record, notice = burial.tombstone(a_tenant(tenant("acme"), deleted=NOW), WHO, None, confirmed=False, held=None)
    assert (record.state, record.purge_at) == (RecordState.LOCKING, "2026-12-25T12:00:00Z")
    assert "kept until 2026-12-25T12:00:00Z" in notice.message


def test_zero_retention_days_keep_it_until_a_person_purges_it() -> None:
    gone = a_tenant(tenant("acme", spec(retentionDays=0)), deleted=NOW)
    record, notice = burial.tombstone(gone, WHO, None, confirmed=False, held=None)
    assert record.purge_at is None
    assert "until a person purges it" in notice.message


def test_retain_changes_nothing_and_has_no_date() -> None:
    gone = a_tenant(tenant("acme", deletion("Retain")), deleted=NOW)
    record, notice = burial.tombstone(gone, WHO, None, confirmed=False, held=None)
    assert (record.state, record.purge_at, notice.reason) == (RecordState.RETAINED, None, "Retained")


def test_an_unconfirmed_purge_is_a_soft_delete_and_says_so() -> None:
    gone = a_tenant(tenant("acme", deletion("Purge")), deleted=NOW)
    record, notice = burial.tombstone(gone, WHO, None, confirmed=False, held=None)
    assert (record.state, record.purge_confirmed) == (RecordState.LOCKING, False)
    assert "not confirmed by dezky.eu/confirm-purge: acme" in notice.message


def test_a_confirmed_purge_goes_through_the_same_tombstone() -> None:
    gone = a_tenant(tenant("acme", deletion("Purge"), annotated("confirm-purge", "acme")), deleted=NOW)
    record, _ = burial.tombstone(gone, WHO, None, confirmed=True, held=None)
    assert (record.state, record.purge_confirmed) == (RecordState.LOCKING, True)
    assert burial.progress(record)[0] is Reason.DELETING


def test_a_deletion_among_many_is_held_and_says_how_to_release_it() -> None:
    gone = a_tenant(tenant("acme"), deleted=NOW)
    record, notice = burial.tombstone(gone, WHO, None, confirmed=False, held="Too many.")
    assert (record.state, notice.reason) == (RecordState.HELD, "DeletionHeld")
    assert "release-deletions" in burial.progress(record)[1]


def test_a_detached_space_is_in_the_tombstone_too() -> None:
    status = {
        "files": {"spaces": [{"name": "main", "id": "m"}]},
        "detached": [{"kind": "Space", "name": "sales", "id": "s"}, {"kind": "Domain", "name": "old.test"}],
    }
    gone = a_tenant(tenant("acme"), deleted=NOW, status=status)
    built = burial.tombstone(gone, WHO, None, confirmed=False, held=None)[0].as_built
    assert (built.spaces, "old.test" in built.domains) == ({"main": "m", "sales": "s"}, True)


def test_what_a_suspension_closed_goes_into_the_tombstone() -> None:
    running = SuspensionStatus(since="2026-11-25T10:00:00Z", disabled_drive_ids=("a",))
    gone = a_tenant(tenant("acme"), deleted=NOW, status={"suspension": msgspec.to_builtins(running)})
    record, _ = burial.tombstone(gone, WHO, None, confirmed=False, held=None)
    assert decode(encode(record)).suspension == running


def test_a_record_of_the_version_before_is_still_understood() -> None:
    old = (
        '{"tenantId":"11111111-1111-1111-1111-111111111111","slug":"acme","state":"Retained","spec":{"displayName":"Acme","domains":["acme.test"]},'
        '"createdAt":"2026-01-01T00:00:00Z","schemaVersion":1}'
    )
    record = decode(old)
    assert (record.state, record.tenant().spec.domains) == (RecordState.RETAINED, ("acme.test",))


def test_a_tenant_that_is_being_destroyed_can_not_be_restored() -> None:
    record = a_record("acme", NOW, state=RecordState.PURGING)
    same = Candidate(slug="acme", uid="2", primary_domain="acme.test", partner=None, restore=record.tenant_id)
    found = identify(same, installation_id=INSTALLATION, record=record, held_by={})
    assert isinstance(found, Refused)
    assert "being destroyed" in found.message


@pytest.mark.parametrize("state", [RecordState.LOCKING, RecordState.LOCKED, RecordState.PURGE_DUE, RecordState.HELD])
def test_until_then_the_same_customer_is_restored_from_every_state(state: RecordState) -> None:
    record = a_record("acme", NOW, state=state)
    same = Candidate(slug="acme", uid="2", primary_domain="acme.test", partner=None, restore=None)
    found = identify(same, installation_id=INSTALLATION, record=record, held_by={})
    assert found == Identity(tenant_id=uuid.UUID(record.tenant_id), restores=True)


# -- the brake --------------------------------------------------------------------------------


def test_six_deletions_within_ten_minutes_are_held_and_five_are_not() -> None:
    brake, at = MassDeletion(most=5), "2026-11-25T12:00:00Z"
    others = [a_record(f"t{number}", NOW - timedelta(minutes=number)) for number in range(5)]
    assert brake.why(at, a_world(*others[:4])) is None
    why = brake.why(at, a_world(*others))
    assert why is not None
    assert "6 tenants were deleted within ten minutes, more than 5" in why


def test_deletions_of_an_hour_ago_and_retained_and_released_ones_do_not_count() -> None:
    brake = MassDeletion(most=1)
    records = (
        a_record("a", NOW - timedelta(hours=1)),
        a_record("b", NOW, state=RecordState.RETAINED),
        a_record("c", NOW, released=True),
    )
    assert brake.why("2026-11-25T12:00:00Z", a_world(*records)) is None


# -- clocks --------------------------------------------------------------------------------------


def test_a_time_is_past_only_when_both_clocks_say_so() -> None:
    due = "2026-11-25T12:00:00Z"
    after, before = NOW + timedelta(seconds=30), NOW - timedelta(seconds=20)
    assert Clocks(local=after, server=after, boot=0).both_past(due)
    assert not Clocks(local=after, server=before, boot=0).both_past(due)
    assert not Clocks(local=before, server=after, boot=0).both_past(due)
    assert not Clocks(local=after, server=None, boot=0).both_past(due)


def test_clocks_more_than_a_minute_apart_say_nothing() -> None:
    far = Clocks(local=NOW + timedelta(days=365), server=NOW + timedelta(days=364), boot=0)
    assert not far.agree
    assert not far.both_past("2026-11-25T12:00:00Z")
