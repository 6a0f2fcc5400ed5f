"""Every way a tombstone can go, and that no clock alone makes it go there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dezky_operator.config import PurgeSettings
from dezky_operator.kube.tombstones import PurgePace
from dezky_operator.tenant.brake import MassDeletion
from dezky_operator.tenant.proof import Proofs
from dezky_operator.tenant.record import Blocked, Record, RecordState
from dezky_operator.tenant.retention import Clocks, Rest, Retention, Waited, Wishes, nothing_to_read
from dezky_operator.tenant.suspension import text_of
from tests.builders import admin, tenant
from tests.fleet import Fleet, NobodyTries, fleet

YEARS = timedelta(days=3650)
HOUR = 3600.0
CHANGES = {
    "deletion": {"graceSeconds": 10.0, "lookSeconds": 10.0, "brake": 2},
    "purge": {"perHour": 10, "waitSeconds": HOUR, "auditWaitSeconds": 300.0, "lookSeconds": 300.0},
}
NOTHING = Wishes()


@dataclass
class Undertaker:
    """Remembers what was written; tells the time it is told. ``local`` and ``server`` are set apart by tests."""

    record: Record | None
    now: datetime
    ahead: timedelta = timedelta()
    server_ahead: timedelta = timedelta()
    silent: bool = False
    boot: float = 1000.0
    may: bool = True
    written: list[Record] = field(default_factory=list)
    released: bool = False

    async def keep(self, record: Record) -> None:
        if record != self.record:
            self.written.append(record)
        self.record = record

    async def forget(self) -> None:
        self.record = None

    async def release_tenant(self) -> None:
        self.released = True

    async def clocks(self) -> Clocks:
        server = None if self.silent else self.now + self.server_ahead
        return Clocks(local=self.now + self.ahead, server=server, boot=self.boot)

    def may_purge_now(self) -> bool:
        return self.may

    def pass_by(self, seconds: float) -> None:
        """Time passes, on every clock."""
        self.now += timedelta(seconds=seconds)
        self.boot += seconds

    @property
    def state(self) -> RecordState | None:
        return self.record.state if self.record else None

    @property
    def blocked(self) -> Blocked | None:
        return self.record.blocked if self.record else None


@dataclass
class Grave:
    """The tombstone of one deleted tenant, and who looks at it."""

    town: Fleet
    hand: Undertaker
    monotonic: float = 0.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process."""
        settings = self.town.settings
        self.town.rounds.now = lambda: self.hand.now + self.hand.ahead
        self.retention = Retention(
            self.town.rounds,
            Proofs(NobodyTries(), waiting=lambda: 0.0, clock=time.monotonic),
            deletion=settings.deletion,
            purge=settings.purge,
            audit=Waited(settings.purge, nothing_to_read),
            brake=MassDeletion(most=settings.deletion.brake),
            clock=lambda: self.monotonic,
        )

    async def look(self, wishes: Wishes = NOTHING) -> Rest:
        """One look."""
        record = self.hand.record
        assert record is not None
        self.town.records["acme"] = record
        return await self.retention.reconcile(record, wishes, self.town.world("acme"), self.hand)

    async def becomes(self, state: RecordState, wishes: Wishes = NOTHING) -> Rest:
        """One look that leads to a state."""
        rest = await self.look(wishes)
        assert self.hand.state is state, self.hand.record
        return rest

    def change(self, **fields: Any) -> None:
        """Another record than that of before."""
        assert self.hand.record is not None
        self.hand.record = msgspec.structs.replace(self.hand.record, **fields)
        self.hand.written.clear()

    @property
    def objects(self) -> int:
        """How much of the tenant is left in the three systems."""
        workspace = self.town.scene.workspace
        return (
            sum("acme" in str(found) for found in workspace.authentik.store.objects["group"].values())
            + sum(name.endswith("acme.test") for name in workspace.stalwart.objects.names)
            + sum("acme" in space.alias for space in workspace.ocis.store.spaces.values())
        )

    @property
    def writes(self) -> dict[str, int]:
        """How often the systems were written to since the last question."""
        found = self.town.scene.workspace.writes()
        self.town.scene.workspace.forget()
        return found


@pytest.fixture
async def grave() -> AsyncIterator[Grave]:
    """Of a tenant that is deleted and locked since a moment, and kept for 30 days."""
    async with fleet(**CHANGES) as town:
        await town.apply(tenant("acme", admin("anna@acme.test", "Anna")))
        now = datetime.now(UTC).replace(microsecond=0)
        town.rounds.now = lambda: now + timedelta(seconds=60)
        await town.delete("acme")
        found = Grave(town, Undertaker(town.records["acme"], now + timedelta(seconds=60)))
        _ = found.writes
        yield found


UNTOUCHED = {"authentik": 0, "stalwart": 0, "ocis": 0}


def due(grave: Grave) -> None:
    """Its time was over a minute ago."""
    grave.change(purge_at=text_of(grave.hand.now - timedelta(seconds=90)))


def not_due(grave: Grave) -> None:
    """It has a year."""
    grave.change(purge_at=text_of(grave.hand.now + timedelta(days=365)))


# -- what nobody asked for ---------------------------------------------------------------------


@pytest.mark.parametrize("state", [RecordState.RESTORED, RecordState.RETAINED, RecordState.HELD])
async def test_what_rests_is_left_alone_however_late_it_is(grave: Grave, state: RecordState) -> None:
    due(grave)
    grave.change(state=state)
    assert await grave.look() == Rest()
    assert (grave.hand.written, grave.writes) == ([], UNTOUCHED)


@pytest.mark.parametrize(
    ("state", "wishes"),
    [(RecordState.RETAINED, Wishes(purge=True)), (RecordState.HELD, Wishes(release=True))],
)
async def test_a_person_lets_it_go_on(grave: Grave, state: RecordState, wishes: Wishes) -> None:
    grave.change(state=state)
    assert (await grave.becomes(RecordState.LOCKING, wishes)).again == 0.0
    assert grave.hand.record is not None
    assert (grave.hand.record.released, grave.hand.record.purge_confirmed) == (True, wishes.purge)
    assert grave.writes == UNTOUCHED


async def test_a_wish_that_does_not_belong_to_the_state_changes_nothing(grave: Grave) -> None:
    grave.change(state=RecordState.HELD)
    assert await grave.look(Wishes(purge=True)) == Rest()
    grave.change(state=RecordState.RETAINED)
    assert await grave.look(Wishes(release=True)) == Rest()
    grave.change(state=RecordState.RESTORED)
    assert await grave.look(Wishes(purge=True, release=True)) == Rest()


# -- before the lock ------------------------------------------------------------------------------


def fresh(grave: Grave, **fields: Any) -> None:
    """It was deleted this moment."""
    grave.change(state=RecordState.LOCKING, suspension=None, deleted_at=text_of(grave.hand.now), **fields)


async def test_a_lock_waits_for_the_others_of_the_same_mistake(grave: Grave) -> None:
    fresh(grave)
    assert (await grave.look()).again == 10.0
    assert (grave.hand.written, grave.writes) == ([], UNTOUCHED)
    grave.hand.pass_by(10.0)
    rest = await grave.becomes(RecordState.LOCKED)
    assert [told.reason for told in rest.notices] == ["Locked"]


async def test_a_clock_that_lags_behind_the_api_server_holds_up_no_lock(grave: Grave) -> None:
    """The moment of the deletion is the API server's."""
    fresh(grave)
    grave.hand.ahead = -YEARS
    assert (await grave.look()).again == 10.0
    grave.monotonic += 9.0
    assert (await grave.look()).again == 1.0
    grave.monotonic += 1.0
    await grave.becomes(RecordState.LOCKED)


async def test_a_second_deletion_of_the_same_name_has_its_grace_too(grave: Grave) -> None:
    fresh(grave)
    await grave.look()
    grave.hand.pass_by(100.0)
    grave.monotonic += 100.0
    fresh(grave)
    assert (await grave.look()).again == 10.0


async def test_a_confirmed_purge_waits_for_no_grace(grave: Grave) -> None:
    fresh(grave, purge_confirmed=True)
    await grave.becomes(RecordState.LOCKED)


async def test_too_many_at_once_are_held_before_anything_is_locked(grave: Grave) -> None:
    fresh(grave)
    grave.hand.pass_by(10.0)
    record = grave.hand.record
    assert record is not None
    for name in ("beta", "coral", "delta"):
        grave.town.records[name] = msgspec.structs.replace(record, slug=name, tenant_id=name)
    rest = await grave.becomes(RecordState.HELD)
    assert [told.reason for told in rest.notices] == ["DeletionHeld"]
    assert grave.writes == UNTOUCHED
    await grave.becomes(RecordState.LOCKING, Wishes(release=True))
    await grave.becomes(RecordState.LOCKED)


# -- locked ------------------------------------------------------------------------------------------


async def test_what_is_not_due_is_kept_and_nothing_is_written(grave: Grave) -> None:
    not_due(grave)
    rest = await grave.becomes(RecordState.LOCKED)
    assert (rest.again, rest.notices, grave.hand.written, grave.writes) == (300.0, (), [], UNTOUCHED)


async def test_without_a_date_only_a_person_purges(grave: Grave) -> None:
    grave.change(purge_at=None)
    grave.hand.pass_by(YEARS.total_seconds())
    assert (await grave.becomes(RecordState.LOCKED)).again is None
    await grave.becomes(RecordState.PURGING, Wishes(purge=True))


async def test_a_lock_that_came_open_is_put_back_and_told(grave: Grave) -> None:
    not_due(grave)
    store = grave.town.scene.workspace.authentik.store
    anna = store.find("user", "username", "anna@acme.test")
    assert anna is not None
    store.update("user", anna, {"is_active": True})
    rest = await grave.becomes(RecordState.LOCKED)
    assert not anna["is_active"]
    assert [told.reason for told in rest.notices] == ["DriftRepaired"]


# -- clocks ----------------------------------------------------------------------------------------------


async def test_a_local_clock_years_ahead_makes_nothing_due(grave: Grave) -> None:
    not_due(grave)
    grave.hand.ahead = YEARS
    for _ in range(5):
        await grave.becomes(RecordState.LOCKED)
        grave.hand.pass_by(HOUR)
    assert grave.hand.blocked is not None
    assert grave.hand.blocked.reason == "ClockDisagrees"
    assert "with clocks more than 60 s apart nothing is purged" in grave.hand.blocked.message
    assert grave.writes == UNTOUCHED


async def test_clocks_that_agree_again_lift_the_block(grave: Grave) -> None:
    not_due(grave)
    grave.hand.ahead = YEARS
    await grave.look()
    grave.hand.ahead = timedelta()
    await grave.becomes(RecordState.LOCKED)
    assert grave.hand.blocked is None


async def test_an_api_server_years_ahead_alone_makes_nothing_due_and_blocks_nothing(grave: Grave) -> None:
    not_due(grave)
    grave.hand.server_ahead = YEARS
    await grave.becomes(RecordState.LOCKED)
    assert (grave.hand.blocked, grave.hand.written) == (None, [])


async def test_an_api_server_that_does_not_tell_the_time_makes_nothing_due(grave: Grave) -> None:
    due(grave)
    grave.hand.silent = True
    await grave.becomes(RecordState.LOCKED)
    assert grave.hand.blocked is not None
    assert "the API server unknown" in grave.hand.blocked.message


async def test_what_is_due_waits_an_hour_and_is_told_once(grave: Grave) -> None:
    due(grave)
    grave.hand.pass_by(300.0)
    rest = await grave.becomes(RecordState.PURGE_DUE)
    assert [told.reason for told in rest.notices] == ["PurgeDue"]
    for _ in range(11):
        assert rest.again == 300.0
        grave.hand.pass_by(300.0)
        rest = await grave.becomes(RecordState.PURGE_DUE)
        assert rest.notices == ()
    grave.hand.pass_by(300.0)
    assert (await grave.becomes(RecordState.PURGING)).again == 0.0


async def test_clocks_set_ahead_together_do_not_shorten_the_hour(grave: Grave) -> None:
    due(grave)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.ahead = grave.hand.server_ahead = YEARS
    grave.hand.boot += HOUR - 1
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.boot += 1
    await grave.becomes(RecordState.PURGING)


async def test_clocks_that_part_during_the_hour_begin_it_anew(grave: Grave) -> None:
    due(grave)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(HOUR)
    grave.hand.ahead = YEARS
    await grave.becomes(RecordState.LOCKED)
    grave.hand.ahead = timedelta()
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(HOUR - 1)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(1)
    await grave.becomes(RecordState.PURGING)


async def test_a_clock_put_right_during_the_hour_takes_it_back(grave: Grave) -> None:
    """Both were wrong together; what was due is not any more."""
    not_due(grave)
    grave.hand.ahead = grave.hand.server_ahead = YEARS
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.ahead = grave.hand.server_ahead = timedelta()
    grave.hand.pass_by(2 * HOUR)
    await grave.becomes(RecordState.LOCKED)
    assert grave.hand.blocked is None


async def test_a_restart_begins_the_hour_anew(grave: Grave) -> None:
    due(grave)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(HOUR - 1)
    grave.restart()
    grave.hand.pass_by(2)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(HOUR)
    await grave.becomes(RecordState.PURGING)


# -- the pace, and the audit log -------------------------------------------------------------------------


def test_the_eleventh_unconfirmed_purge_of_an_hour_waits_for_the_first_to_be_an_hour_ago() -> None:
    now = 0.0
    pace = PurgePace(PurgeSettings().per_hour, lambda: now)
    for _ in range(10):
        now += 60.0
        assert pace.take()
    assert not pace.take()
    now = 60.0 + HOUR - 1.0
    assert not pace.take()
    now += 1.0
    assert pace.take()
    assert not pace.take()


async def test_one_purge_too_many_stays_due_and_goes_on_later(grave: Grave) -> None:
    due(grave)
    grave.hand.pass_by(HOUR)
    await grave.becomes(RecordState.PURGE_DUE)
    grave.hand.pass_by(HOUR)
    grave.hand.may = False
    assert (await grave.becomes(RecordState.PURGE_DUE)).again == 300.0
    grave.hand.may = True
    await grave.becomes(RecordState.PURGING)


async def test_a_confirmed_purge_waits_for_the_audit_log_only(grave: Grave) -> None:
    grave.hand.may = False
    assert (await grave.becomes(RecordState.LOCKED, Wishes(purge=True))).again == 10.0
    assert grave.hand.record is not None
    assert grave.hand.record.purge_confirmed
    grave.hand.pass_by(300.0)
    await grave.becomes(RecordState.PURGING)  # although the annotation is gone


# -- the end -----------------------------------------------------------------------------------------------


async def test_a_purge_destroys_everything_and_only_then_forgets(grave: Grave) -> None:
    assert grave.objects > 0
    grave.change(state=RecordState.PURGING)
    rest = await grave.look()
    assert (grave.hand.record, grave.hand.released, grave.objects) == (None, True, 0)
    assert [told.reason for told in rest.notices] == ["Purged"]
    assert grave.town.secrets.kept == {}


async def test_while_authentik_is_silent_nothing_at_all_is_destroyed(grave: Grave) -> None:
    grave.change(state=RecordState.PURGING)
    before = grave.objects
    await grave.town.scene.workspace.authentik.stop()
    rest = await grave.look()
    assert (rest.settled, rest.again) == (False, None)
    assert grave.hand.blocked is not None
    assert (grave.objects, grave.hand.state) == (before, RecordState.PURGING)
