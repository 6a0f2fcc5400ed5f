"""Who gets a mailbox, and what a phase means for mail."""

from __future__ import annotations

import pytest

from dezky_operator.integrations.intent import Phase
from dezky_operator.integrations.stalwart.desired import desired, without_mailbox
from tests.mail import intent, members


@pytest.mark.parametrize(
    ("username", "address"),
    [
        ("bob@acme.test", "bob@acme.test"),
        ("Bob@Acme.test", "bob@acme.test"),
        ("bob@second.test", "bob@second.test"),
        ("bob@elsewhere.test", None),
        ("bob", None),
        ("@acme.test", None),
        ("bob@sub.acme.test", None),
        ("bob@acme.test@elsewhere.test", None),
        ("Jane Doe@acme.test", None),
        ("jane\tdoe@acme.test", None),
        (".jane@acme.test", None),
        ("jane..doe@acme.test", None),
        ("jané@acme.test", None),
        ('"jane"@acme.test', None),
        (f"{'j' * 65}@acme.test", None),
        (f"{'j' * 64}@acme.test", f"{'j' * 64}@acme.test"),
        ("j.o'neil+lists@acme.test", "j.o'neil+lists@acme.test"),
    ],
)
def test_a_member_has_a_mailbox_if_the_user_name_is_an_address_of_the_tenant(
    username: str, address: str | None
) -> None:
    wanted = intent(admin=None, domains=("acme.test", "second.test"), members=members(username))
    assert list(desired(wanted).mailboxes) == ([address] if address else [])
    assert without_mailbox(wanted) == (() if address else (username,))


def test_the_administrator_has_a_mailbox_before_being_a_member() -> None:
    assert list(desired(intent(members=())).mailboxes) == ["anna@acme.test"]


def test_an_administrator_who_was_in_and_left_has_none_any_more() -> None:
    found = desired(intent(members=(), admin_signed_in=True))
    assert (dict(found.mailboxes), found.people) == ({}, frozenset())


def test_the_administrator_has_a_mailbox_while_the_members_are_unknown() -> None:
    found = desired(intent(members=None))
    assert list(found.mailboxes) == ["anna@acme.test"]
    assert not found.members_known


def test_a_member_of_a_detached_domain_gets_no_new_mailbox() -> None:
    wanted = intent(known_domains=("acme.test", "old.test"), members=members("olga@old.test"))
    assert "olga@old.test" not in desired(wanted).mailboxes


def test_two_user_names_that_differ_only_in_case_are_one_mailbox() -> None:
    wanted = intent(admin=None, members=members("Bob@acme.test", "bob@acme.test"))
    assert list(desired(wanted).mailboxes) == ["bob@acme.test"]


@pytest.mark.parametrize(("phase", "exists"), [(Phase.ACTIVE, True), (Phase.SUSPENDED, True), (Phase.PURGED, False)])
def test_everything_exists_until_it_is_purged(phase: Phase, exists: bool) -> None:  # noqa: FBT001
    assert desired(intent(phase=phase)).exists is exists


def test_the_quota_of_the_tenant_is_that_of_every_mailbox() -> None:
    found = desired(intent(mailbox_quota=7)).mailboxes["anna@acme.test"]
    assert (found.quota, found.display) == (7, "Anna@Acme.Test")
