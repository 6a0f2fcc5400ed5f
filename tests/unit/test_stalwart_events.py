"""What Stalwart sends, as events of the log: names, people, tenants, ids, and whatever is no event (C099 to C102)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.draft import prepare
from dezky_operator.audit.event import Event, Outcome, check
from dezky_operator.audit.times import TimeSource
from dezky_operator.ingest.malformed import MALFORMED
from dezky_operator.ingest.stalwart.actions import VERBS, action_of
from dezky_operator.ingest.stalwart.body import MOST_PEOPLE, Reader
from dezky_operator.ingest.stalwart.identity import Ordinals
from dezky_operator.integrations.stalwart.ids import as_id
from tests.audit.events import counting, ring
from tests.drafts import ACME, NORD
from tests.sandbox.stalwart.ids import decode
from tests.webhooks import RECEIVED, batch, reader, sent


def read(body: bytes, by: Reader | None = None) -> list[Event]:
    """The events of a body."""
    reading = (by or reader()).body(RECEIVED)
    return [*reading.feed(body), *reading.end()]


def one(kind: str = "auth.success", /, **data: Any) -> Event:
    """The event that an event of Stalwart's becomes."""
    (event,) = read(batch(sent(kind, **data)))
    return event


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "action", "outcome"),
    [
        ("auth.success", "auth_success", Outcome.SUCCESS),
        ("auth.failed", "auth_failed", Outcome.FAILURE),
        ("auth.too-many-attempts", "auth_failed", Outcome.FAILURE),
        ("security.authentication-ban", "auth_banned", Outcome.DENIED),
        ("message-ingest.ham", "mail_received", Outcome.SUCCESS),
        ("queue.authenticated-message-queued", "mail_received", Outcome.SUCCESS),
        ("delivery.dsn-success", "mail_delivered", Outcome.SUCCESS),
        ("delivery.double-bounce", "mail_failed", Outcome.FAILURE),
        ("smtp.relay-not-allowed", "mail_rejected", Outcome.DENIED),
        ("dane.authentication-failure", "policy_rejection", Outcome.DENIED),
        ("smtp.dkim-fail", "dkim_failure", Outcome.FAILURE),
        ("smtp.dmarc-fail", "dmarc_failure", Outcome.FAILURE),
        ("message-ingest.spam", "spam_detected", Outcome.SUCCESS),
        ("account_created", "account_created", Outcome.SUCCESS),
        ("account-deleted", "account_deleted", Outcome.SUCCESS),
        ("Password.Changed", "password_changed", Outcome.SUCCESS),
    ],
)
def test_the_fourteen_verbs_stand_for_the_types_of_today(kind: str, action: str, outcome: Outcome) -> None:
    """C102."""
    found = action_of(kind)
    assert found is not None
    assert (found.name, found.outcome) == (f"stalwart.{action}", outcome)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_known_in_snake_kebab_and_dotted_form(verb: str) -> None:
    """C102."""
    names = {found.name for form in "_-." if (found := action_of(verb.replace("_", form)))}
    assert len(VERBS) == 14
    assert names == {f"stalwart.{verb}"}


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("server.startup", Outcome.UNKNOWN),
        ("security.unauthorized", Outcome.DENIED),
        ("limit.quota", Outcome.DENIED),
        ("task-manager.task-failed", Outcome.FAILURE),
        ("tls.handshake-error", Outcome.FAILURE),
    ],
)
def test_any_other_type_goes_under_its_own_name(kind: str, outcome: Outcome) -> None:
    """C102: nothing of the 637 types falls out."""
    found = action_of(kind)
    assert found is not None
    assert (found.name, found.outcome) == (f"stalwart.{kind}", outcome)


# -- people, addresses, tenants --------------------------------------------------------------------------


def test_who_signed_in_is_known_by_id_address_and_where_from() -> None:
    """C101."""
    event = one(accountName="bob@acme.test", accountId=53, remoteIp="203.0.113.5", remotePort=5, listenerId="imaps")
    wanted = {"actor.id": "bv", "actor.email": "bob@acme.test", "actor.ip": "203.0.113.5", "tenant.slug": "acme"}
    assert {path: value for path, value in event.values.items() if value} == wanted
    assert (event.actor_type, event.tenant) == ("user", ACME)
    assert event.data == {"event": "auth.success", "remote_port": 5, "listener": "imaps"}


@given(st.integers(0, 2**64 - 1))
def test_an_events_number_is_the_id_that_jmap_knows(number: int) -> None:
    assert decode(as_id(number)) == number


@pytest.mark.parametrize(("number", "key"), [(0, "a"), (1, "b"), (53, "bv"), (2**32 - 1, "d333333")])
def test_ids_are_those_of_a_real_server(number: int, key: str) -> None:
    """facts/stalwart.md 2.2."""
    assert as_id(number) == key


def test_an_app_password_names_only_the_local_part_so_the_account_tells_whose_it_is() -> None:
    """facts/stalwart.md 11.0.8."""
    event = sent(accountName="canary", accountId=80)
    (unknown,) = read(batch(event))
    (known,) = read(batch(event), reader(known={as_id(80): "canary@nord.test"}))
    assert (unknown.tenant, unknown.values["actor.email"]) == ("", "canary")
    assert (known.tenant, known.values["actor.email"]) == (NORD, "canary@nord.test")


@pytest.mark.parametrize(
    "data",
    [
        {"accountName": "Ann@NORD.test"},
        {"to": ["x@elsewhere.test", "ann@nord.eu"], "from": "bob@acme.test"},
        {"to": "ann@nord.eu"},
        {"domain": "nord.test", "from": "bob@acme.test"},
        {"to": ["x@elsewhere.test"], "domain": "elsewhere.test", "from": "ann@nord.test"},
        {"details": "nord.test", "from": "bob@acme.test"},
        {"email": "ann@nord.test"},
        {"account": "ann@nord.test"},
        {"username": "ann@nord.test"},
        {"address": "ann@nord.test"},
    ],
)
def test_the_tenant_is_found_by_account_recipients_domain_and_sender_in_this_order(data: dict[str, Any]) -> None:
    assert one("delivery.completed", **data).tenant == NORD


def test_an_event_of_nobody_is_kept_without_a_tenant() -> None:
    assert one("server.startup").tenant == ""


def test_mail_that_comes_in_is_done_by_its_sender_to_the_mailbox() -> None:
    event = one("message-ingest.ham", accountId=3, **{"from": "x@out.test", "to": ["Bob@acme.test"]})
    assert (event.actor_type, event.resource_type) == ("sender", "mailbox")
    assert (event.values["actor.email"], event.values["resource.id"]) == ("x@out.test", "d")
    assert event.values["resource.name"] == "Bob@acme.test"


def test_of_several_recipients_none_is_taken_for_the_mailbox() -> None:
    event = one("message-ingest.ham", accountId=3, **{"from": "x@out.test", "to": ["bob@acme.test", "ann@nord.test"]})
    assert event.values["resource.name"] == ""
    assert set(event.people) == {"bob@acme.test", "ann@nord.test"}


def test_an_account_that_was_made_is_what_was_acted_on() -> None:
    (event,) = read(b'[{"id":7,"type":"account_created","email":"new@acme.test"}]')
    assert (event.actor_type, event.resource_type, event.values["resource.name"]) == ("", "account", "new@acme.test")
    assert event.evt_id == "7"


def test_everybody_in_the_text_can_have_it_erased() -> None:
    """facts/audit-log.md 2.8: the text is sealed under the keys of all of them."""
    event = one("delivery.completed", accountId=3, accountName="Bob", **{"from": "Bob@acme.test", "to": ["x@o.test"]})
    assert {event.values["actor.id"], event.values["resource.id"], *event.people} == {"d", "bob", "bob@acme.test", "x@o.test"}  # fmt: skip  # noqa: E501 - one set


@pytest.mark.parametrize("found", ["", "not an address", "10.0.0.1, 10.0.0.2", 7, None, ["10.0.0.1"], "10.0.0.256"])
def test_what_is_no_ip_address_is_none(found: object) -> None:
    assert one(remoteIp=found).values["actor.ip"] == ""


def test_no_name_or_address_is_in_what_the_line_holds_in_clear() -> None:
    """facts/audit-log.md 6.0: `data` holds numbers and names of the server's own."""
    text = "bob.secret@acme.test"
    keys = ("accountName", "from", "to", "domain", "reason", "details", "hostname", "path", "policy", "messageId", "id")
    error = {"type": "smtp.error", "data": {"details": text}}
    event = one("delivery.failed", **dict.fromkeys(keys, text), listenerId=text, result=error, causedBy=text, code=550)
    assert event.data == {"event": "delivery.failed", "code": 550, "result": "smtp.error"}


def test_a_credential_that_stalwart_tells_in_clear_is_not_kept() -> None:
    """facts/stalwart.md 11.10: an app password sent as a token. Two of them are still two events."""
    secret = "app_f00ba4-not-to-be-kept"
    first, other = read(batch(sent("auth.error", details=secret), sent("auth.error", details="API_bm90")))
    assert secret not in repr(first) + repr(other)
    assert b"may be a credential" in first.raw
    assert first.ext[:64] != other.ext[:64]


def test_a_number_too_large_for_json_readers_is_text() -> None:
    assert one(spanId=342282590291531776).data["span"] == "342282590291531776"


# -- times and ids ------------------------------------------------------------------------------------


@pytest.mark.parametrize("created", ["yesterday", "", None, 1_795_493_057, "2026-11-24T04:04:17"])
def test_an_event_without_a_time_is_kept_with_the_time_of_recording(created: object) -> None:
    (event,) = read(batch({"type": "auth.success", "createdAt": created, "data": {}}))
    assert (event.at, event.time_source) == ("", TimeSource.REC)


def test_the_senders_id_is_kept_and_is_no_part_of_what_the_event_is() -> None:
    """facts/stalwart.md 5.3: a repeated delivery has new ids, and older servers give two events one id."""
    (first,), (again,) = read(batch(sent(number="17"))), read(batch(sent(number="99")))
    assert first.ext == again.ext
    assert (first.evt_id, again.evt_id) == ("17", "99")
    burst = read(batch(*[sent("auth.failed", number="17", spanId=number) for number in range(5)]))
    assert len({event.ext for event in burst}) == 5


def test_the_order_of_keys_is_no_part_of_what_the_event_is() -> None:
    first = b'{"type":"x","createdAt":"2026-11-24T04:04:17Z","data":{"a":1,"b":{"c":2,"d":3}}}'
    other = b'{"data":{"b":{"d":3,"c":2},"a":1},"createdAt":"2026-11-24T04:04:17Z","type":"x"}'
    assert read(first)[0].ext == read(other)[0].ext


@pytest.mark.parametrize("change", [{"type": "y"}, {"createdAt": "2026-11-24T04:04:18Z"}, {"data": {"a": 2}}])
def test_whatever_it_says_is_part_of_what_the_event_is(change: dict[str, Any]) -> None:
    event: dict[str, Any] = {"type": "x", "createdAt": "2026-11-24T04:04:17Z", "data": {"a": 1}}
    assert read(batch(event))[0].ext != read(batch({**event, **change}))[0].ext


def test_another_installation_gives_other_ids() -> None:
    """They are no hash that somebody who knows an address can guess."""
    event = batch(sent(accountName="bob@acme.test"))
    other = Reader(src="mail", key=b"another key", tenants=lambda: reader()._tenants())
    assert read(event)[0].ext.partition(":")[0] != read(event, other)[0].ext.partition(":")[0]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.randoms(use_true_random=False))
def test_a_batch_in_any_order_has_the_same_ids(kinds: list[str], random: Any) -> None:
    """A batch that is sent again may come in another order (facts/stalwart.md 11.7)."""
    again = random.sample(kinds, len(kinds))
    first, second = (read(batch(*[sent(kind) for kind in found])) for found in (kinds, again))
    assert sorted(event.ext for event in first) == sorted(event.ext for event in second)
    assert len({event.ext for event in first}) == len(kinds)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_a_refused_batch_merged_with_newer_events_loses_none(refused: list[str], newer: list[str]) -> None:
    """And one that was accepted, its answer lost, is in the merged one with the same ids."""
    first = {event.ext for event in read(batch(*[sent(kind) for kind in refused]))}
    merged = {event.ext for event in read(batch(*[sent(kind) for kind in (*newer, *refused)]))}
    assert len(merged) == len(refused) + len(newer)
    assert first <= merged


def test_contents_are_counted_within_bounds() -> None:
    ordinals = Ordinals(remembered=2)
    assert [ordinals.ext(bytes([n]))[-1] for n in (1, 1, 2, 1, 3, 1, 4, 5, 1)] == [*"010203", *"000"]


# -- what is no event ------------------------------------------------------------------------------------


GARBAGE = {
    "NaN": b'{"type":"x","data":{"a":NaN}}',
    "half a surrogate pair": b'{"type":"x","data":{"a":"\\ud800"}}',
    "invalid UTF-8": b'{"type":"x","data":{"a":"\xff"}}',
    "an encoded surrogate": b'{"type":"x","data":{"a":"\xed\xa0\x80"}}',
    "a key with a dollar": b'{"type":"x","data":{"a":[{"$where":1}]}}',
    "a key with a dollar, escaped": b'{"type":"x","data":{"\\u0024where":1}}',
    "a key with NUL": b'{"type":"x","data":{"a\\u0000b":1}}',
    "a million brackets": b'{"type":"x","data":{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}}",
    "no type": b'{"data":{}}',
    "a type that is no text": b'{"type":7,"data":{}}',
    "a type that is no name": b'{"type":"auth success\\n","data":{}}',
    "an endless type": b'{"type":"' + b"a" * 200 + b'"}',
    "no object": b'"auth.success"',
    "a number out of range": b'{"type":"x","data":{"a":1e999}}',
    "too many people": msgspec.json.encode(sent("x", to=[f"{n}@a.test" for n in range(MOST_PEOPLE + 1)])),
    "a raw line break in a text": b'{"type":"x\n","data":{}}',
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_event_is_put_aside_and_spoils_no_other(text: bytes) -> None:
    """Case 23. The text is kept as it came; the reason says nothing of it."""
    good = msgspec.json.encode(sent())
    before, bad, after = read(b'{"events":[' + good + b"," + text + b"," + good + b"]}")
    assert (before.action, bad.action, after.action) == ("stalwart.auth_success", MALFORMED, "stalwart.auth_success")
    assert bad.raw == text
    check(bad)
    assert read(b"[" + text + b"]")[0].ext == bad.ext, "it is told from others, and known again"


def test_a_byte_order_mark_puts_the_whole_body_aside() -> None:
    body = b"\xef\xbb\xbf" + batch(sent())
    (event,) = read(body)
    assert (event.action, event.raw) == (MALFORMED, body)


def test_of_duplicate_keys_the_last_counts_and_the_text_keeps_both() -> None:
    """Case 23."""
    text = (
        b'{"type":"auth.failed","type":"auth.success","data":{"accountName":"a@nord.test","accountName":"b@acme.test"}}'
    )
    (event,) = read(text)
    assert (event.action, event.tenant, event.raw) == ("stalwart.auth_success", ACME, text)


def test_a_field_of_ten_megabytes_is_kept() -> None:
    """Case 23."""
    (event,) = read(batch(sent(details="x" * 10_000_000)))
    assert (event.action, len(event.raw) > 10_000_000) == ("stalwart.auth_success", True)
    assert prepare(event, keys=ring(), random=counting()).action == "stalwart.auth_success"


def test_what_is_too_long_for_one_event_is_kept_in_parts() -> None:
    body = b'{"type":"x","data":"' + b"a" * (40 << 20) + b'"}'
    reading = reader().body(RECEIVED)
    parts = [event for start in range(0, len(body), 1 << 20) for event in reading.feed(body[start : start + (1 << 20)])]
    parts += reading.end()
    assert {event.action for event in parts} == {MALFORMED}
    assert b"".join(event.raw for event in parts) == body
    assert len({event.ext for event in parts}) == len(parts)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text() | st.sampled_from(["type", "data", "createdAt", "id", "events", "to", "accountId", "from"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=25,
    )
)
def test_whatever_is_signed_becomes_lines(value: object) -> None:
    """C099: no JSON, and nothing like it, stops a batch or makes an event that no line can hold."""
    for event in read(json.dumps(value).encode()):
        prepare(event, keys=ring(), random=counting())


@given(st.binary(max_size=200))
def test_whatever_bytes_are_signed_become_lines(body: bytes) -> None:
    for event in read(b'{"events":[' + body):
        prepare(event, keys=ring(), random=counting())


@pytest.mark.parametrize(
    "body", [b'[[{"type":"a.b"}],[{"type":"c.d"}]]', b'[{"events":[{"type":"a.b"},{"type":"c.d"}]}]']
)
def test_lists_in_lists_are_walked(body: bytes) -> None:
    """C099: whatever looks like a list of events."""
    assert [event.action for event in read(body)] == ["stalwart.a.b", "stalwart.c.d"]


def test_lists_are_not_walked_for_ever() -> None:
    (event,) = read(b"[" * 40 + b'{"type":"a.b"}' + b"]" * 40)
    assert event.action == MALFORMED
