"""Names of OCIS's users and groups, as the tailer asks for them (C111)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from dezky_operator.ingest.ocis.directory import Directory
from dezky_operator.integrations.errors import Unreachable
from dezky_operator.integrations.ocis.model import Group, User
from dezky_operator.integrations.steps import System


@dataclass
class Lists:
    """What OCIS lists at a moment."""

    named: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    down: bool = False

    async def groups(self) -> list[Group]:
        return [Group(id=key, display_name=name) for key, name in self.named.items()]

    async def users(self) -> list[User]:
        if self.down:
            raise Unreachable(System.OCIS, "down")
        return [User(id=key, on_premises_sam_account_name=name) for key, name in self.people.items()]


async def test_names_are_known_from_the_next_refresh_on() -> None:
    lists = Lists({"g": "dezky-acme-users"}, {"u": "ann@acme.test"})
    directory = Directory(lists)
    assert directory("u") == ""
    await directory.refresh()
    assert [directory("g"), directory("u"), directory("?")] == ["dezky-acme-users", "ann@acme.test", ""]


async def test_who_is_deleted_keeps_the_name_and_who_is_renamed_does_not() -> None:
    lists = Lists({"g": "dezky-acme-users"}, {"u": "ann@acme.test"})
    directory = Directory(lists)
    await directory.refresh()
    lists.named, lists.people = {"g": "dezky-nord-users"}, {}
    await directory.refresh()
    assert [directory("g"), directory("u")] == ["dezky-nord-users", "ann@acme.test"]


async def test_the_deleted_are_forgotten_when_there_are_too_many() -> None:
    lists = Lists(people={"a": "a@acme.test", "b": "b@acme.test"})
    directory = Directory(lists, most=2)
    await directory.refresh()
    lists.people = {"c": "c@acme.test"}
    await directory.refresh()
    assert [directory(key) for key in "abc"] == ["", "", "c@acme.test"]


async def test_a_refresh_that_fails_loses_nothing() -> None:
    lists = Lists(people={"u": "ann@acme.test"})
    directory = Directory(lists)
    await directory.refresh()
    lists.down = True
    with pytest.raises(Unreachable):
        await directory.refresh()
    assert directory("u") == "ann@acme.test"
