"""Authentik's events, polled from the stand-in: every one once, whatever its list does (C086-C096)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dezky_operator.ingest.authentik.people import FRESH
from dezky_operator.ingest.authentik.poll import LOOKUPS, MOST
from dezky_operator.ingest.authentik.position import REMEMBERED
from dezky_operator.ingest.source import SourceError
from dezky_operator.store.sqlite import SqliteStore
from dezky_operator.store.tables import CursorRow
from tests import identity
from tests.archiving import prune
from tests.audit.events import drafted
from tests.drafts import ACME
from tests.logs import Clock as LogClock
from tests.logs import exts_of, sequencer
from tests.polling import Scene, Unfiltered, scene
from tests.sandbox.authentik.visitor import Visitor
from tests.sandbox.standin import Call, Fault

DAY = 86_400.0


async def test_every_event_comes_once_and_in_order_and_a_restart_adds_none() -> None:
    """C088, C089, C096."""
    async with scene() as found:
        wanted = [found.happens(age) for age in (9 * DAY, DAY, 3_600, 300, 60, 1)]
        await found.read()
        found.restart()
        await found.read()
        assert (list(found.kept), found.twice) == (wanted, 0)


async def test_reading_everything_again_finds_the_same_events_with_the_same_keys() -> None:
    """Case 13: a cursor that is lost adds nothing to the log, which knows them by their dk."""
    async with scene() as found:
        for n in range(250):
            found.happens(5_000 - n)
        await found.read()
        before = {event.dk for event in found.kept.values()}
        found.cursor = None
        await found.read()
        assert {event.dk for event in found.kept.values()} == before
        assert (len(found.kept), found.twice) == (250, 250)


async def test_what_is_read_three_times_once_after_it_was_archived_is_one_line_each(tmp_path: Path) -> None:
    """Case 13, with the real log behind it."""
    store = await SqliteStore.open(tmp_path / "audit.db")
    log = sequencer(store, LogClock())
    async with scene() as found:
        wanted = [found.happens(5_000 - n) for n in range(130)]
        for archived in (0, 0, 100):
            if archived:
                await prune(store, end=archived)
            found.cursor, more = None, True
            while more:
                look = await found.look()
                more = look.more
                await log.append([drafted(event) for event in look.events])
        assert found.twice == 2 * 130
        assert await exts_of(store) == wanted[100:]
    await store.close()


async def test_without_any_event_it_waits_for_the_first() -> None:
    async with scene() as found:
        look = await found.look()
        assert (look.events, look.more, look.cursor.position) == ((), False, "")
        pk = found.happens(1)
        await found.read()
        assert list(found.kept) == [pk]


async def test_an_event_that_is_committed_late_is_not_missed() -> None:
    """Its time is set before its transaction ends, so younger ones are listed before it."""
    async with scene() as found:
        first = found.happens(1)
        await found.read()
        late = found.happens(115)
        await found.read()
        found.pass_time(300)
        last = found.happens(1)
        await found.read()
        assert set(found.kept) == {first, late, last}
        assert found.twice == 0


async def test_events_of_one_instant_are_all_read() -> None:
    async with scene() as found:
        wanted = {found.happens(age) for age in (500, 10) for _ in range(250)}
        await found.read()
        assert set(found.kept) == wanted
        assert found.twice == 0


async def test_more_in_one_second_than_a_look_takes_is_read_all_the_same() -> None:
    async with scene() as found:
        wanted = {found.happens(500 + n / 10_000) for n in range(MOST + 250)}
        await found.read()
        assert set(found.kept) == wanted


async def test_a_flood_that_is_not_settled_is_read_in_parts_and_each_part_goes_on() -> None:
    async with scene() as found:
        wanted = {found.happens(100 - n / 30) for n in range(2 * MOST + 50)}
        sizes, more = [], True
        while more:
            look = await found.look()
            sizes.append(len(look.events))
            more = look.more
        assert set(found.kept) == wanted
        assert max(sizes) == MOST
        assert found.twice == 0


async def test_the_first_walk_over_ten_thousand_events_asks_for_each_page_about_once() -> None:
    """In windows of time: a deep page makes the server count and skip all the others (facts/authentik.md 5)."""
    async with scene() as found:
        wanted = {found.happens(200 + n * 4.0) for n in range(10_000)}
        await found.read()
        assert (set(found.kept), found.twice) == (wanted, 0)
        queries = [parse_qs(urlsplit(path).query) for path in found.asked()]
        assert max(int(query.get("page", ["1"])[0]) for query in queries) <= MOST // 100
        most = Counter((query["search"][0], query["page"][0]) for query in queries if "page" in query)
        assert max(most.values()) == 1
        assert len(queries) < 220


async def test_where_little_happens_the_windows_grow() -> None:
    async with scene() as found:
        wanted = [found.happens((300 - n) * DAY) for n in range(300)]
        await found.read()
        assert list(found.kept) == wanted
        assert found.looks < 30


async def test_a_year_without_events_is_stepped_over() -> None:
    async with scene() as found:
        wanted = [found.happens(365 * DAY), found.happens(5)]
        await found.read()
        assert list(found.kept) == wanted
        assert found.looks < 8


async def test_a_quiet_server_is_asked_five_times_a_round_at_most() -> None:
    async with scene() as found:
        found.happens(DAY)
        await found.read()
        found.server.calls.clear()
        found.pass_time(60)
        await found.read()
        assert len(found.asked()) <= 5


# -- answers that can not be right -------------------------------------------------------------


@pytest.mark.parametrize("age", [9 * DAY, 5.0], ids=["in the first walk", "of now"])
async def test_a_server_that_searches_by_words_instead_of_time_is_not_believed(age: float) -> None:
    """Before 2026.5 the language needs a licence: the query then is a search for words (0.2)."""
    async with scene(akql=False) as found:
        found.happens(age)
        with pytest.raises(SourceError, match="update Authentik") as error:
            await found.look()
        assert error.value.reason == "SearchDegraded"
        found.server.store.akql = True
        await found.read()
        assert len(found.kept) == 1


async def test_a_way_that_loses_the_search_is_not_believed() -> None:
    async with scene(transport=Unfiltered()) as found:
        for age in (9 * DAY, DAY, 5):
            found.happens(age)
        with pytest.raises(SourceError) as error:
            await found.read()
        assert error.value.reason == "FilterIgnored"
        assert found.kept == {}


async def test_a_list_that_is_really_empty_is_no_alarm() -> None:
    """What was the newest event is deleted right after it was seen."""
    async with scene() as found:
        found.happens(5)

        def ambush(call: Call) -> Fault | None:
            if "search" in call.path:
                found.server.store.events.clear()
            return None

        found.server.ambush = ambush
        await found.read()
        assert found.kept == {}


async def test_an_event_that_comes_between_two_questions_is_no_alarm() -> None:
    async with scene() as found:
        found.happens(5)
        arriving = iter([1])

        def ambush(call: Call) -> Fault | None:
            events = found.server.store.events
            if "search" in call.path and events and next(searched, 0):
                events.clear()
            elif "ordering=-created" in call.path and not events and next(arriving, 0):
                found.happens(0)
            return None

        searched = iter([1])
        found.server.ambush = ambush
        await found.read()
        await found.read()
        assert len(found.kept) == 1


async def test_events_deleted_between_two_pages_hide_no_other() -> None:
    """Deleting a user deletes his events, and every later page begins further on (0.10)."""
    async with scene() as found:
        anna = {"pk": 901, "username": "anna", "email": ""}
        for n in range(150):
            found.happens(4_000 - n, user=anna)
        others = {found.happens(3_800 - n) for n in range(350)}
        deletions = iter([150])

        def ambush(call: Call) -> Fault | None:
            if "page=2" in call.path and next(deletions, 0):
                events = found.server.store.events
                events[:] = [event for event in events if event["user"]["pk"] != 901]
            return None

        found.server.ambush = ambush
        await found.read()
        assert set(found.kept) >= others


async def test_so_many_deleted_that_a_page_is_gone_is_read_again() -> None:
    async with scene() as found:
        wanted = [found.happens(4_000 - n) for n in range(150)]
        deletions = iter([1])

        def ambush(call: Call) -> Fault | None:
            if "page=2" in call.path and next(deletions, 0):
                del found.server.store.events[:100]
            return None

        found.server.ambush = ambush
        await found.read()
        assert set(found.kept) >= set(wanted[100:])


async def test_while_events_are_deleted_again_and_again_nothing_is_skipped() -> None:
    async with scene() as found:
        for n in range(350):
            found.happens(4_000 - n)

        def ambush(call: Call) -> Fault | None:
            if "page=2" in call.path:
                del found.server.store.events[0]
            return None

        found.server.ambush = ambush
        with pytest.raises(SourceError) as error:
            await found.read()
        assert error.value.reason == "Unstable"
        found.server.ambush = None
        left = {event["pk"] for event in found.server.store.events}
        await found.read()
        assert set(found.kept) >= left


async def test_an_event_of_the_year_2099_moves_nothing() -> None:
    """Case 22."""
    async with scene() as found:
        odd = found.happens(-70 * 365 * DAY)
        first = found.happens(300)
        await found.read()
        found.pass_time(600)
        second = found.happens(10)
        await found.read()
        assert set(found.kept) == {odd, first, second}
        assert found.twice == 0


@pytest.mark.parametrize("ahead", [3_600.0, -3_600.0])
async def test_a_server_whose_clock_is_wrong_and_set_right_loses_nothing(ahead: float) -> None:
    async with scene() as found:
        found.theirs.seconds += ahead
        wanted = {found.happens(1)}
        await found.read()
        found.pass_time(200)
        wanted.add(found.happens(1))
        await found.read()
        found.theirs.seconds -= ahead
        found.pass_time(600)
        wanted |= {found.happens(500), found.happens(1)}
        await found.read()
        assert set(found.kept) == wanted


async def test_clocks_that_were_ahead_together_and_are_set_right_lose_nothing() -> None:
    """One host: Authentik and the operator have the same clock."""
    async with scene() as found:
        found.pass_time(3_600)
        wanted = {found.happens(1)}
        await found.read()
        found.pass_time(200)
        await found.read()
        found.pass_time(-3_700)
        wanted.add(found.happens(1))
        await found.read()
        assert set(found.kept) == wanted


# -- the server fails, or says no ---------------------------------------------------------------


async def test_a_token_without_rights_is_said_with_what_it_needs() -> None:
    async with scene() as found:
        made = await identity.bootstrap(found.server)
        found.token.token = "wrong"
        with pytest.raises(SourceError, match="view_event, view_user and view_group") as error:
            await found.look()
        assert error.value.reason == "AuthFailed"
        found.token.token, found.token.version = made.token, "2"
        await found.read()
        assert found.kept


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(match="events/events", status=500), "Unreachable"),
        (Fault(match="events/events", status=503), "Unreachable"),
        (Fault(match="events/events", refused=True), "Unreachable"),
        (Fault(match="events/events", status=405), "Unreachable"),
        (Fault(match="events/events", status=429, headers={"Retry-After": "1"}), "RateLimited"),
        (Fault(match="events/events", status=200, body="<html>"), "UnknownAnswer"),
        (Fault(match="core/users", status=500), "Unreachable"),
        (Fault(match="core/users", status=403), "AuthFailed"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status} {value.match}",
)
async def test_what_fails_is_said_and_the_same_is_read_when_it_is_over(fault: Fault, reason: str) -> None:
    async with scene() as found:
        wanted = [found.happens(300), found.happens(10)]
        found.server.faults.append(fault)
        with pytest.raises(SourceError) as error:
            await found.read()
        assert error.value.reason == reason
        found.server.faults.clear()
        await found.read()
        assert list(found.kept) == wanted


async def test_a_cursor_of_an_unknown_form_is_said_with_what_to_do() -> None:
    async with scene() as found:
        found.cursor = CursorRow("authentik-main", "{", "", ())
        with pytest.raises(SourceError, match="Remove the row") as error:
            await found.look()
        assert error.value.reason == "CursorUnreadable"


# -- what is let in, and whose it is --------------------------------------------------------------


async def test_what_the_allow_list_leaves_out_is_counted_once() -> None:
    async with scene(allow=["login"]) as found:
        for age in (300, 5):
            found.happens(age)
            found.happens(age, action="model_updated")
        await found.read()
        await found.read()
        assert (len(found.kept), found.filtered) == (2, 2)


async def test_an_event_that_can_not_be_read_is_kept_and_holds_up_no_other() -> None:
    async with scene(allow=["login"]) as found:
        odd = found.happens(301, user="nobody knows")
        good = found.happens(300)
        await found.read()
        assert list(found.kept) == [odd, good]
        assert found.kept[odd].action == "ingest.malformed"


async def test_an_event_belongs_to_the_tenant_of_whoever_did_it_also_when_he_is_gone() -> None:
    """C094: by path and groups, looked up once and remembered."""
    async with scene() as found:
        async with Visitor(found.server.url, found.server.bootstrap_token) as admin:
            user = await admin.make("core/users/", username="ann", name="Ann", path="dezky/tenants/acme")
            await admin.change("admin/settings/", gdpr_compliance=False, flags={})
            found.server.store.events.clear()
            ann = {"pk": user["pk"], "username": "ann", "email": "ann@elsewhere.test"}
            first = found.happens(300, user=ann)
            await found.read()
            await admin.ask("DELETE", f"core/users/{user['pk']}/")
        path = f"/api/v3/core/users/{user['pk']}/"
        asked = len(found.asked(path))
        second = found.happens(10, user=ann)
        await found.read()
        assert len(found.asked(path)) == asked
        found.pass_time(FRESH + 1)
        third = found.happens(10, user=ann)
        await found.read()
        assert {found.kept[pk].tenant for pk in (first, second, third)} == {ACME}
        assert len(found.asked(path)) == asked + 1
        (deletion,) = (event for event in found.kept.values() if event.action == "authentik.model_deleted")
        assert (deletion.tenant, deletion.values["resource.id"]) == (ACME, str(user["pk"]))


async def test_somebody_who_is_moved_to_another_tenant_is_noticed() -> None:
    async with scene() as found:
        async with Visitor(found.server.url, found.server.bootstrap_token) as admin:
            user = await admin.make("core/users/", username="ann", name="Ann", path="dezky/tenants/acme")
            ann = {"pk": user["pk"], "username": "ann", "email": ""}
            before = found.happens(10, user=ann)
            await found.read()
            await admin.change(f"core/users/{user['pk']}/", path="dezky/tenants/beta")
        found.pass_time(FRESH + 1)
        after = found.happens(10, user=ann)
        await found.read()
        assert [found.kept[pk].values["tenant.slug"] for pk in (before, after)] == ["acme", "beta"]


async def test_a_look_asks_for_so_many_accounts_only_and_the_next_one_goes_on() -> None:
    async with scene() as found:
        wanted = [
            found.happens(1_000 - n, user={"pk": 10_000 + n, "username": "x", "email": ""}) for n in range(LOOKUPS + 50)
        ]
        first = await found.look()
        assert len(first.events) == LOOKUPS
        assert first.more
        await found.read()
        assert (list(found.kept), found.twice) == (wanted, 0)
        assert len(found.asked("/api/v3/core/users/")) == LOOKUPS + 50


async def test_a_look_that_ends_early_among_events_of_one_second_repeats_none() -> None:
    async with scene() as found:
        for age in (500, 5):
            for n in range(LOOKUPS + 50):
                user = {"pk": round(age) * 1_000 + n, "username": "x", "email": ""}
                found.happens(age + n / 1_000, user=user)
        await found.read()
        assert (len(found.kept), found.twice) == (2 * (LOOKUPS + 50), 0)


async def test_a_look_that_ends_early_forgets_nothing_that_was_seen_before_it_was_settled() -> None:
    async with scene() as found:
        for n in range(3):
            found.happens(10 - n)
        await found.read()
        found.pass_time(300)
        for n in range(LOOKUPS + 50):
            found.happens(410 - n / 10, user={"pk": 10_000 + n, "username": "x", "email": ""})
        await found.read()
        assert (len(found.kept), found.twice) == (LOOKUPS + 53, 0)


async def test_what_the_cursor_remembers_is_bounded() -> None:
    async with scene() as found:
        for n in range(REMEMBERED + 300):
            found.happens(110 - n / 100)
        await found.read()
        assert found.cursor is not None
        assert len(msgspec.json.decode(found.cursor.position)["seen"]) <= REMEMBERED
        found.pass_time(300)
        await found.read()
        assert len(found.kept) == REMEMBERED + 300


async def test_a_sign_in_that_happens_is_seen_with_address_and_account() -> None:
    """C096: the whole way, with the token that bootstrap makes."""
    async with scene() as found:
        made = await identity.bootstrap(found.server)
        async with Visitor(found.server.url, found.server.bootstrap_token) as admin:
            body = {"username": "ann@acme.test", "name": "Ann", "email": "ann@acme.test", "path": "dezky/tenants/acme"}
            user = await admin.make("core/users/", **body)
            await admin.ask("POST", f"core/users/{user['pk']}/set_password/", {"password": "right"})
        await found.read()
        async with Visitor(found.server.url) as ann:
            await ann.sign_in("ann@acme.test", "wrong")
            await ann.sign_in("ann@acme.test", "right")
            await ann.sign_in("ghost@beta.test", "any")
        found.token.token, found.token.version = made.token, "2"
        found.kept.clear()
        await found.read()
        seen = [(event.action, str(event.outcome), event.tenant == ACME) for event in found.kept.values()]
        assert seen.count(("authentik.login_failed", "failure", True)) == 2
        assert seen.count(("authentik.login_failed", "failure", False)) == 1
        (login,) = (event for event in found.kept.values() if event.action == "authentik.login")
        assert login.values["actor.email"] == "ann@acme.test"
        assert login.values["actor.ip"] == "127.0.0.1"
        assert login.values["actor.id"] == str(user["pk"])
        assert not any(b"wrong" in event.raw or b"right" in event.raw for event in found.kept.values())


async def test_the_text_is_kept_byte_by_byte() -> None:
    async with scene() as found:
        pk = found.happens(300, context={"z": 1.0, "a": "\u00e4\u2028", "n": 2**60})
        await found.read()
        async with Visitor(found.server.url, found.server.bootstrap_token) as admin:
            answer = await admin.ask("GET", "events/events/", ordering="created,pk")
        assert found.kept[pk].raw in answer.content
        assert re.search(rb'"pk":"' + pk.encode(), found.kept[pk].raw)


# -- whatever happens -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 600), st.floats(0, 118)), min_size=1, max_size=25),
    st.lists(st.tuples(st.floats(1, 90), st.booleans(), st.booleans()), min_size=1, max_size=12),
)
def test_in_whatever_order_they_are_committed_and_wherever_it_ends_each_comes_once(
    happenings: list[tuple[float, float]], looks: list[tuple[float, bool, bool]]
) -> None:
    """When an event is made and how much later it is committed; when it is looked, and whether it crashes or restarts
    after it.
    """
    asyncio.run(_committed(happenings, looks))


async def _committed(happenings: list[tuple[float, float]], looks: list[tuple[float, bool, bool]]) -> None:
    async with scene() as found:
        begin = found.theirs.seconds
        waiting = sorted((made + late, made) for made, late in happenings)
        crashed = 0

        def arrive() -> None:
            while waiting and begin + waiting[0][0] <= found.theirs.seconds:
                found.happens(found.theirs.seconds - begin - waiting.pop(0)[1])

        for pause, crash, restart in looks:
            found.pass_time(pause)
            arrive()
            look = await found.look(crash=crash)
            crashed += len(look.events) if crash else 0
            if restart:
                found.restart()
        await _finish(found, arrive)
        assert set(found.kept) == {event["pk"] for event in found.server.store.events}
        assert len(found.kept) == len(happenings)
        assert found.twice <= crashed


async def _finish(found: Scene, arrive: Callable[[], None]) -> None:
    for _ in range(14):
        found.pass_time(60)
        arrive()
        await found.read()
