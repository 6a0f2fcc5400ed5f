"""What OCIS must have, as a pure function of the intent: which spaces, whose they are, and what they may be called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.intent import Adoption, Phase
from dezky_operator.integrations.ocis.desired import cleaned, desired, may_use, owns
from dezky_operator.integrations.ocis.model import Drive
from tests.files import intent, known, space


def drive(alias: str, kind: str = "project") -> Drive:
    return Drive(id=f"storage${space('acme').id}", name="Acme", drive_alias=alias, drive_type=kind)


def test_a_space_that_left_the_spec_is_detached() -> None:
    found = desired(intent(known_spaces=known("acme", "main", "old")))
    assert (found.detached, found.removed) == (("old",), ())


def test_a_detached_space_goes_once_a_person_confirmed_it() -> None:
    found = desired(intent(known_spaces=known("acme", "main", "old", "older"), removable=frozenset({"old"})))
    assert (found.detached, found.removed) == (("older",), ("old",))


def test_a_confirmation_removes_nothing_that_is_in_the_spec() -> None:
    found = desired(intent("acme", "old", known_spaces=known("acme", "old"), removable=frozenset({"old", "main"})))
    assert (found.detached, found.removed) == ((), ())


def test_a_purged_tenant_has_nothing() -> None:
    assert not desired(intent(phase=Phase.PURGED)).exists


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DELETED])
def test_a_tenant_exists_until_it_is_purged(phase: Phase) -> None:
    assert desired(intent(phase=phase)).exists


# -- whose a space is -------------------------------------------------------------------------


@pytest.mark.parametrize("alias", ["project/dezky-acme", "project/dezky-acme_archive"])
def test_our_alias_makes_a_space_ours(alias: str) -> None:
    """C032: the slug is the first part of the name, and the name tells whose a space is."""
    assert owns(intent(), drive(alias))


@pytest.mark.parametrize(
    "alias",
    [
        "project/acme",
        "project/dezky-acmeist",
        "project/dezky-acme-labs",
        "project/dezky-nord",
        "personal/dezky-acme",
        "",
    ],
)
def test_another_alias_does_not(alias: str) -> None:
    assert not owns(intent(), drive(alias))


def test_a_personal_space_is_never_ours() -> None:
    everything = intent(adoption=Adoption.FORCE)
    assert not owns(everything, drive("project/dezky-acme", "personal"))
    assert not may_use(everything, "main", drive("project/dezky-acme", "personal"))


@pytest.mark.parametrize(
    ("alias", "adoption", "allowed"),
    [
        ("project/shared", Adoption.NEVER, False),
        ("project/shared", Adoption.IF_UNOWNED, True),
        ("project/shared", Adoption.FORCE, True),
        ("project/dezky-nord", Adoption.NEVER, False),
        ("project/dezky-nord", Adoption.IF_UNOWNED, False),
        ("project/dezky-nord", Adoption.FORCE, True),
    ],
)
def test_adoption_says_what_may_be_taken(alias: str, adoption: Adoption, *, allowed: bool) -> None:
    assert may_use(intent(adoption=adoption), "main", drive(alias)) is allowed


def test_nothing_is_taken_to_be_destroyed() -> None:
    gone = intent(phase=Phase.PURGED, adoption=Adoption.FORCE)
    assert not may_use(gone, "main", drive("project/shared"))


def test_nothing_is_taken_to_be_closed() -> None:
    left = intent(known_spaces=known("acme", "old"), adoption=Adoption.FORCE)
    assert not may_use(left, "old", drive("project/shared"))


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Acme", "Acme"),
        ("acme.test", "acme test"),
        ("  A/B: the *best* ", "A B the best"),
        ("Müller & Söhne", "Müller & Söhne"),
        ("???", "Files"),
        ("", "Files"),
        ("a" * 254 + " b", "a" * 254),
        ("é" * 200, "é" * 127),
    ],
)
def test_a_display_name_becomes_the_name_of_a_space(name: str, shown: str) -> None:
    assert cleaned(name) == shown


@given(st.text(max_size=400))
def test_ocis_takes_every_cleaned_name_as_it_is(name: str) -> None:
    shown = cleaned(name)
    assert 1 <= len(shown.encode()) <= 255
    assert shown == shown.strip()
    assert not set(shown) & set('/\\.:?*"><|')
    assert cleaned(shown) == shown
