"""Changes of a spec in the log, with whoever made them (C082, C084)."""

from __future__ import annotations

from typing import Any

import msgspec

from dezky_operator.audit.draft import prepare
from dezky_operator.ingest.own.acts import Whose
from dezky_operator.ingest.own.specs import Version, spec_changed
from tests.audit.events import ring
from tests.drafts import ACME

NOW = "2026-11-24T04:00:00.000000Z"
UID = "11111111-1111-4111-8111-111111111111"
WHOSE = Whose(tenant=ACME, slug="acme")


def version(
    generation: int, *, phase: str = "", deleted: bool = False, by: str = "ann@acme.test", **spec: Any
) -> Version:
    return Version(
        kind="tenant",
        name="acme",
        uid=UID,
        generation=generation,
        spec={"domains": ["acme.test"], **spec},
        phase=phase,
        deleted=deleted,
        changed_by=by,
    )


def action(before: Version | None, now: Version) -> str | None:
    event = spec_changed(before, now, WHOSE, time=NOW)
    return event.action if event else None


def test_each_change_has_the_verb_a_person_would_use() -> None:
    assert action(None, version(1)) == "tenant.created"
    assert action(version(1), version(2, plan="business")) == "tenant.updated"
    assert action(version(2), version(3, suspended=True)) == "tenant.suspended"
    assert action(version(3, suspended=True), version(4)) == "tenant.resumed"
    assert action(version(3, suspended=True), version(4, suspended=True, plan="x")) == "tenant.updated"
    assert action(version(4), version(5, deleted=True)) == "tenant.deleted"


def test_what_changed_while_nobody_looked_is_told_by_the_status() -> None:
    assert action(None, version(3, phase="Active", suspended=True)) == "tenant.suspended"
    assert action(None, version(4, phase="Suspended")) == "tenant.resumed"
    assert action(None, version(4, phase="Active")) == "tenant.updated"


def test_a_version_that_is_told_again_is_no_change() -> None:
    assert action(version(2), version(2, phase="Active")) is None
    assert action(version(3, deleted=True), version(3, deleted=True)) is None


def test_the_same_version_listed_after_a_restart_is_the_same_event() -> None:
    seen = spec_changed(version(1), version(2, plan="business"), WHOSE, time=NOW)
    listed = spec_changed(None, version(2, plan="business", phase="Active"), WHOSE, time=NOW)
    assert seen is not None
    assert listed is not None
    assert seen.dk == listed.dk


def test_another_object_of_the_same_name_is_created_not_updated() -> None:
    other = msgspec.structs.replace(version(1), uid=UID.replace("1", "2"))
    assert action(version(7), other) == "tenant.created"


def test_it_says_who_and_commits_to_the_spec_before_and_after() -> None:
    event = spec_changed(version(1), version(2, plan="business"), WHOSE, time=NOW)
    assert event is not None
    draft = prepare(event, keys=ring(), random=bytes)
    assert (event.actor_type, event.values["actor.email"]) == ("user", "ann@acme.test")
    assert event.data == {"generation": 2, "fields": "plan"}
    assert {"before", "after", "actor.id", "resource.name", "resource.id", "tenant.slug"} <= draft.c.keys()
    assert msgspec.json.decode(event.values["after"]) == {"domains": ["acme.test"], "plan": "business"}


def test_a_service_account_is_told_from_a_person() -> None:
    event = spec_changed(None, version(1, by="system:serviceaccount:argocd:controller"), WHOSE, time=NOW)
    assert event is not None
    assert (event.actor_type, event.values.get("actor.email")) == ("service", None)


def test_where_nobody_is_stamped_and_at_a_deletion_it_says_that_the_actor_is_not_known() -> None:
    unstamped = spec_changed(None, version(1, by=""), WHOSE, time=NOW)
    deleted = spec_changed(version(1), version(2, deleted=True), WHOSE, time=NOW)
    for event in (unstamped, deleted):
        assert event is not None
        assert event.data["actor_unknown"] is True
        assert "actor.id" not in event.values
