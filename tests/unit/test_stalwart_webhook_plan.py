"""Which steps lead to the WebHook object that Stalwart must have (facts/stalwart.md 5.1, 11.7). C103, C104."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.stalwart.model import WebHook
from dezky_operator.integrations.stalwart.webhook_plan import (
    DAY,
    MARK,
    PROBE,
    WANTED,
    DesiredHook,
    desired_hook,
    own_hooks,
    plan_hook,
)
from dezky_operator.integrations.steps import Plan, Step, Verb
from tests.mail import INSTALLATION

URL, KEY = "https://operator.dezky.test/ingest/stalwart/webhook", "k" * 32
OTHER = "6a0c3c5e-6f4f-4a4e-8a55-0d2f0b1c7e11"


def wanted(url: str = URL, key: str = KEY, known: frozenset[str] = WANTED) -> DesiredHook:
    return desired_hook(url=url, key=key, installation_id=INSTALLATION, known=known)


def stored(hook: DesiredHook, key: str = "b", **changed: Any) -> WebHook:
    """The hook as Stalwart has it."""
    return msgspec.convert({"id": key, **hook.running, **hook.changeable, **changed}, WebHook)


def planned(*own: WebHook, loaded: bool = True, works: bool = False, hook: DesiredHook | None = None) -> Plan:
    return plan_hook(hook or wanted(), own, loaded=loaded, works=works)


def shape(plan: Plan) -> list[tuple[str, Verb, object]]:
    return [(step.kind, step.verb, step.target) for step in plan.steps]


def test_a_hook_that_is_missing_is_made_and_loaded() -> None:
    plan = planned()
    assert shape(plan) == [("webhook", Verb.CREATE, None), ("settings", Verb.UPDATE, "reload")]
    made, reload = plan.steps
    assert reload.waits_for == {made.id}
    assert made.body["discardAfter"] == DAY
    assert made.body["eventsPolicy"] == "include", "its default would send everything but the wanted events"


def test_nothing_is_done_where_nothing_differs() -> None:
    assert planned(stored(wanted())).steps == ()


def test_a_server_that_may_not_have_loaded_it_is_asked_to() -> None:
    assert shape(planned(stored(wanted()), loaded=False)) == [("settings", Verb.UPDATE, "reload")]


@pytest.mark.parametrize(
    "changed",
    [{"enable": False}, {"lossy": True}, {"eventsPolicy": "exclude"}, {"events": {}}, {"events": {"acme.error": True}}],
)
def test_what_takes_effect_on_a_reload_is_put_right_in_place(changed: dict[str, Any]) -> None:
    plan = planned(stored(wanted(), **changed))
    assert shape(plan) == [("webhook", Verb.UPDATE, "b"), ("settings", Verb.UPDATE, "reload")]
    assert plan.steps[0].body.keys() == changed.keys()


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "https://elsewhere.test/"},
        {"timeout": 30_000},
        {"throttle": 60_000},
        {"discardAfter": 300_000},
        {"allowInvalidCerts": True},
        {"httpHeaders": {MARK: wanted().mark, "X-More": "1"}},
    ],
)
def test_what_a_running_hook_keeps_makes_a_second_one_and_the_first_goes_when_that_works(
    changed: dict[str, Any],
) -> None:
    """To patch it would change nothing until Stalwart is restarted."""
    old = stored(wanted(), **changed)
    assert shape(planned(old)) == [("webhook", Verb.CREATE, None), ("settings", Verb.UPDATE, "reload")]
    assert shape(planned(old, works=True)) == shape(planned(old)), "nothing goes before there is another"
    new = stored(wanted(), "c")
    assert planned(old, new).steps == (), "both deliver until the new one was seen to"
    assert shape(planned(old, new, works=True)) == [
        ("webhook", Verb.DELETE, "b"),
        ("settings", Verb.UPDATE, "reload"),
    ]


def test_another_key_is_another_hook() -> None:
    """C104: the key never comes back, so the mark tells which one a hook has."""
    old = stored(wanted())
    assert shape(planned(old, hook=wanted(key="n" * 32)))[0] == ("webhook", Verb.CREATE, None)


def test_the_key_is_in_no_step_and_no_mark() -> None:
    plan = planned()
    assert KEY not in repr(plan)
    assert KEY not in wanted().mark


def test_two_of_a_lost_answer_are_one_again() -> None:
    first, second = stored(wanted(), "b"), stored(wanted(), "bb")
    assert shape(planned(first, second, works=True))[0] == ("webhook", Verb.DELETE, "bb")


def test_hooks_of_others_are_left_alone() -> None:
    mine = stored(wanted())
    unmarked = stored(wanted(), "c", httpHeaders={})
    theirs = stored(desired_hook(url=URL, key=KEY, installation_id=OTHER, known=WANTED), "d")
    assert own_hooks(INSTALLATION, [unmarked, theirs, mine]) == [mine]


def test_only_events_the_version_knows_are_asked_for() -> None:
    """One name too many and the whole set would be refused (facts/stalwart.md 5.5)."""
    hook = wanted(known=frozenset({"auth.success", "auth.sneezed"}))
    assert hook.changeable["events"] == {"auth.success": True}


def test_what_tells_credentials_in_clear_is_not_asked_for() -> None:
    """facts/stalwart.md 11.10."""
    assert "auth.error" not in WANTED
    assert PROBE in WANTED


@given(
    st.lists(
        st.tuples(st.sampled_from([URL, "https://old.test/"]), st.sampled_from([KEY, "n" * 32]), st.booleans()),
        max_size=4,
    ),
    st.booleans(),
)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(hooks: list[tuple[str, str, bool]], works: bool) -> None:  # noqa: FBT001 - drawn
    """And while one hook delivers, none goes before another is there."""
    there = {
        chr(ord("b") + n): stored(wanted(url, key), chr(ord("b") + n), enable=enabled)
        for n, (url, key, enabled) in enumerate(hooks)
    }
    for _ in range(3):  # made, others removed, nothing
        plan = plan_hook(wanted(), list(there.values()), loaded=True, works=works)
        for step in plan.steps:
            _carry_out(step, there)
        assert there
    assert plan.steps == ()
    assert len(there) == 1 or not works


def _carry_out(step: Step, there: dict[str, WebHook]) -> None:
    if step.kind == "settings":
        return
    if step.verb is Verb.CREATE:
        there["z"] = msgspec.convert({"id": "z", **step.body}, WebHook)
    elif step.verb is Verb.DELETE:
        del there[str(step.target)]
    else:
        body = {**msgspec.to_builtins(there[str(step.target)]), **step.body}
        there[str(step.target)] = msgspec.convert(body, WebHook)
