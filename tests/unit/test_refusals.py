"""A refusal names the object, what was expected and what to do; a plan that only does what was asked is whole."""

from __future__ import annotations

import pytest

from dezky_operator.integrations.errors import AlreadyExists, IntegrationError, NoPermission, NotFound, Rejected
from dezky_operator.integrations.refusal import Told, told
from dezky_operator.integrations.steps import Plan, Ref, Step, System, Verb

STEP = Step(
    system=System.STALWART,
    kind="account",
    key="x",
    verb=Verb.CREATE,
    name="anna@acme.test",
    reason="A member's mailbox.",
)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AlreadyExists(System.STALWART, "Stalwart has a List with this name already."), "Remove or rename"),
        (NotFound(System.STALWART, "Stalwart has no such Account."), "looked for again"),
        (Rejected(System.STALWART, "Stalwart refused the Account: invalidProperties name."), "Correct"),
        (NoPermission(System.STALWART, "Stalwart's key may not write Account."), "allowed"),
    ],
)
def test_a_refusal_names_the_object_and_the_way_out(error: Told, remedy: str) -> None:
    found = told(STEP, error)
    assert type(found) is type(error)
    for part in ("create", "account", "anna@acme.test", str(error), "Expected", remedy):
        assert part in str(found)


def test_a_text_that_says_all_of_it_is_left_alone() -> None:
    error = Rejected(System.STALWART, "The address anna@acme.test belongs to a list. Free it, or rename the user.")
    assert told(STEP, error) is error


def test_who_has_the_name_is_still_known_afterwards() -> None:
    found: IntegrationError = told(STEP, AlreadyExists(System.STALWART, "Taken.", existing_id="b"))
    assert isinstance(found, AlreadyExists)
    assert found.existing_id == "b"


def step(key: str, *, asked: bool, needs: str | None = None) -> Step:
    target = Ref(System.STALWART, "account", needs) if needs else None
    return Step(
        system=System.STALWART,
        kind="account",
        key=key,
        verb=Verb.UPDATE,
        name=key,
        reason="",
        target=target,
        asked=asked,
    )


def test_what_was_asked_for_is_done_without_what_is_drift_and_without_what_needs_that() -> None:
    drift, alone = step("drift", asked=False), step("alone", asked=True)
    needing, indirect = step("needing", asked=True, needs="drift"), step("indirect", asked=True, needs="needing")
    chained = step("chained", asked=True, needs="alone")
    assert Plan((drift, alone, needing, indirect, chained)).asked == Plan((alone, chained))
