"""One event of Authentik as one of the log: verb, outcome, parties, what is in the clear, whose it is (C093, C094)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from authentik_client.models.event_actions import EventActions
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.audit.event import Event, check
from dezky_operator.ingest.authentik.actions import OUTCOMES, outcome_of, verb_of
from dezky_operator.ingest.authentik.records import event_of
from dezky_operator.ingest.authentik.rows import parse
from dezky_operator.ingest.authentik.whose import Place, asked, whose
from tests.drafts import ACME, NORD
from tests.polling import TENANTS

NOW = "2026-11-24T04:00:00.000000Z"
PK = "f00f54e7-2b38-421f-bc78-e61f950048d6"
REQUEST = "6cfae8591e4a4553b37d9a817dafb85e"
ANN = {"pk": 42, "username": "ann@acme.test", "email": "ann@acme.test"}
BOB = {"pk": 43, "username": "bob@beta.test", "email": "bob@beta.test"}
ANONYMOUS = {"pk": 2, "username": "AnonymousUser", "email": ""}
STAFF = {"pk": 7, "username": "akadmin", "email": "root@dezky.test"}
PLACES = {
    42: Place("dezky/tenants/acme", ("dezky-acme-users",)),
    43: Place("users", ("staff", "dezky-beta-users")),
    44: Place("users", ("dezky-acme-users", "dezky-beta-admins")),
    7: Place("users", ("authentik Admins",)),
    50: Place("goauthentik.io/apps/dezky-acme"),
    51: Place("dezky/tenants/acme/guests"),
}


def http(**args: str) -> dict[str, Any]:
    path = "/api/v3/flows/executor/default-authentication-flow/"
    return {"args": args, "path": path, "method": "GET", "request_id": REQUEST, "user_agent": "Mozilla/5.0"}


def model(name: str, title: str, pk: object = "aa831c187bfd42cda3bddd95473c7455", app: str = "authentik_core") -> Any:
    return {"pk": pk, "app": app, "name": title, "model_name": name}


def text_of(**changes: Any) -> bytes:
    record = {
        "pk": PK,
        "user": ANN,
        "action": "login",
        "app": "authentik.events.signals",
        "context": {"auth_method": "password", "http_request": http(query="next=%2F"), "auth_method_args": {}},
        "client_ip": "203.0.113.7",
        "created": "2026-11-24T03:59:58.123456Z",
        "expires": "2027-11-24T03:59:58.123456Z",
        "brand": model("brand", "Default brand", app="authentik_brands"),
    }
    return msgspec.json.encode({**record, **changes})


def read(text: bytes) -> Event:
    found = parse(text)
    tenant = whose(found.row, PLACES.get, TENANTS) if found.row else None
    event = event_of(found, src="authentik-main", recv=NOW, tenant=tenant, own="dezky-operator")
    check(event)
    return event


def event(**changes: Any) -> Event:
    return read(text_of(**changes))


def test_a_sign_in_says_who_from_where_and_whose() -> None:
    found = event()
    assert (found.action, found.outcome, found.ext, found.at) == (
        "authentik.login",
        "success",
        PK,
        "2026-11-24T03:59:58.123456Z",
    )
    assert (found.tenant, found.partner, found.actor_type, found.resource_type) == (ACME, NORD, "user", "")
    assert found.values == {
        "actor.id": "42",
        "actor.email": "ann@acme.test",
        "actor.ip": "203.0.113.7",
        "tenant.slug": "acme",
        "partner.slug": "nord",
    }
    assert found.data == {"method": "password", "request_id": REQUEST}
    assert found.raw == text_of()


# -- actions ---------------------------------------------------------------------------------


def test_every_action_that_authentik_knows_has_an_outcome_and_a_verb() -> None:
    """The names of its own client library, which is made from the server's schema."""
    names = {str(action.value) for action in EventActions} - {"custom_"}
    assert names == OUTCOMES.keys()
    assert {verb_of(name) for name in names} == {
        "authentik.password_changed" if name == "password_set" else f"authentik.{name}" for name in names
    }


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("login", "success"),
        ("login_failed", "failure"),
        ("suspicious_request", "denied"),
        ("access_request_denied", "denied"),
        ("access_request_revoked", "success"),
        ("configuration_error", "failure"),
        ("update_available", "unknown"),
        ("custom_export", "unknown"),
        ("of_a_later_release", "unknown"),
    ],
)
def test_how_it_ended_is_told_by_the_action(action: str, outcome: str) -> None:
    assert event(action=action).outcome == outcome


@pytest.mark.parametrize(("passing", "outcome"), [(True, "success"), (False, "denied"), ("yes", "unknown")])
def test_an_executed_policy_says_itself_whether_it_let_somebody_pass(passing: object, outcome: str) -> None:
    found = event(action="policy_execution", context={"result": {"passing": passing, "messages": []}})
    assert found.outcome == outcome


def test_an_unknown_action_passes_through_as_a_verb() -> None:
    assert verb_of("Something New!") == "authentik.something_new"
    assert verb_of("custom_export") == "authentik.custom_export"
    assert verb_of("!!!") == "authentik.unnamed"
    assert outcome_of("something_new") == "unknown"


@given(st.text())
def test_whatever_the_action_is_called_the_verb_is_one(action: str) -> None:
    verb = verb_of(action)
    assert verb.startswith("authentik.")
    assert verb.isascii()
    assert 10 < len(verb) <= 110
    assert not set(verb) & set(' "\\\n')


# -- parties and data --------------------------------------------------------------------------


def test_a_failed_sign_in_of_nobody_known_tells_the_name_that_was_tried() -> None:
    stage = model("passwordstage", "default-authentication-password", app="authentik_stages_password")
    found = event(
        action="login_failed",
        user=ANONYMOUS,
        context={"username": "ghost@beta.test", "password": "*" * 20, "stage": stage},
    )
    assert (found.actor_type, found.resource_type) == ("anonymous", "user")
    assert found.values["resource.name"] == "ghost@beta.test"
    assert "actor.id" not in found.values
    assert found.data == {"stage": "passwordstage"}
    assert found.values["tenant.slug"] == "beta"


def test_a_changed_user_is_the_same_subject_as_the_user_who_acts() -> None:
    by_staff = event(action="model_updated", user=STAFF, context={"model": model("user", "ann@acme.test", 42)})
    assert by_staff.values["resource.id"] == event().values["actor.id"] == "42"
    assert (by_staff.resource_type, by_staff.tenant, by_staff.data["app"]) == ("user", ACME, "authentik_core")


def test_what_is_numbered_as_users_are_is_no_user() -> None:
    found = event(action="model_updated", context={"model": model("oauth2provider", "dezky-acme", 42)})
    assert found.values["resource.id"] == "oauth2provider:42"


@pytest.mark.parametrize(
    ("context", "resource"),
    [
        ({"authorized_application": model("application", "Acme")}, ("application", "Acme")),
        ({"secret": model("token", "ann-token")}, ("token", "ann-token")),
        ({"source": model("oauthsource", "Azure")}, ("oauthsource", "Azure")),
        ({"model": model("not a word!", "x")}, ("", None)),
        ({"model": "text"}, ("", None)),
        ({}, ("", None)),
    ],
)
def test_what_an_event_is_about(context: dict[str, Any], resource: tuple[str, str | None]) -> None:
    found = event(action="secret_view", context=context)
    assert (found.resource_type, found.values.get("resource.name")) == resource


def test_an_impersonation_names_both_and_belongs_to_whom_it_was_done_to() -> None:
    found = event(action="impersonation_started", user={**STAFF, "on_behalf_of": ANN}, context={})
    assert (found.values["actor.id"], found.resource_type, found.values["resource.id"]) == ("7", "user", "42")
    assert found.tenant == ACME
    later = event(action="authorize_application", user={**STAFF, "on_behalf_of": ANN}, context={})
    assert (later.tenant, later.people, later.data) == (ACME, ("42",), {"impersonating": True})


def test_everybody_in_the_text_is_named_so_that_an_erasure_finds_it() -> None:
    found = event(user={**ANN, "authenticated_as": BOB}, context={"pending": model("user", "x", 99), "n": 1})
    assert found.people == ("43", "99")


def test_nothing_in_the_clear_can_be_anybodys_name() -> None:
    odd = {
        "auth_method": "Ann Example",
        "model": model("group", "Ann's group", app="ann@acme.test"),
        "stage": {"model_name": "Ann"},
        "http_request": {"request_id": "ann@acme.test"},
        "scopes": "openid ann@acme.test",
        "created": "ann",
    }
    found = event(action="user_write", context=odd)
    assert found.data == {"offline": False}
    assert found.resource_type == "group"


def test_a_write_of_a_user_says_whether_he_is_new() -> None:
    assert event(action="user_write", context={"created": True}).data == {"created": True}


def test_a_second_factor_and_a_lasting_token_are_told() -> None:
    args = {"mfa_devices": [{"pk": 1, "name": "phone", "model_name": "totpdevice"}]}
    assert event(context={"auth_method": "auth_mfa", "auth_method_args": args}).data == {
        "method": "auth_mfa",
        "mfa": True,
    }
    asked_for = event(action="authorize_application", context={"scopes": "openid offline_access"})
    assert asked_for.data == {"offline": True}


def test_what_the_operator_did_itself_is_marked() -> None:
    assert event(user={"pk": 3, "username": "dezky-operator"}).data["own"] is True
    assert "own" not in event(user={"pk": 3, "username": "dezky-operator2"}).data


def test_an_address_that_could_not_be_told_is_none() -> None:
    assert "actor.ip" not in event(client_ip="255.255.255.255").values
    assert "actor.ip" not in event(client_ip=None).values


@pytest.mark.parametrize(
    ("created", "at"),
    [
        ("2026-11-24T03:59:58Z", "2026-11-24T03:59:58.000000Z"),
        ("2026-11-24T04:59:58.5+01:00", "2026-11-24T03:59:58.500000Z"),
        ("yesterday", ""),
    ],
)
def test_its_time_is_written_as_the_log_writes_it(created: str, at: str) -> None:
    assert event(created=created).at == at


# -- what can not be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"user": 7}, {"created": None}, {"context": []}, {"action": 3}, {"user": {"pk": []}}]
)
def test_an_event_of_an_unknown_form_is_kept_as_it_came(changes: dict[str, Any]) -> None:
    found = event(**changes)
    assert (found.action, found.ext, found.raw) == ("ingest.malformed", PK, text_of(**changes))


def test_an_event_without_an_id_is_known_by_its_text() -> None:
    texts = [b'{"pk":7}', b'{"pk":8}', text_of(pk=""), text_of(pk="x" * 300)]
    found = [read(text) for text in (*texts, *texts)]
    assert all(one.ext.startswith("sha256:") and one.action == "ingest.malformed" for one in found)
    assert len({one.dk for one in found}) == len(texts)


@pytest.mark.parametrize("missing", ["user", "context", "brand", "client_ip"])
def test_what_may_be_missing_is_missed_by_nobody(missing: str) -> None:
    assert event(**{missing: None}).action == "authentik.login"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["user", "context", "brand", "client_ip", "created", "action", "pk"]),
    st.sampled_from(["model", "http_request", "username", "stage", "scopes", "auth_method_args", "result"]),
)
def test_whatever_stands_in_it_an_event_comes_of_it_that_the_log_takes(value: Any, field: str, part: str) -> None:
    for changes in ({field: value}, {"context": {part: value}}, {"context": {"model": {"model_name": value}}}):
        text = text_of(**changes)
        assert read(text).raw == text


# -- whose it is ---------------------------------------------------------------------------------


def authorized(user: dict[str, Any], **args: str) -> dict[str, Any]:
    context = {"authorized_application": model("application", "Any title"), "http_request": http(**args)}
    return {"action": "authorize_application", "user": user, "context": context}


@pytest.mark.parametrize(
    ("changes", "slug"),
    [
        ({"user": ANN}, "acme"),
        ({"user": BOB}, "beta"),
        ({"user": {"pk": 50, "username": "ak-dezky-acme-client_credentials"}}, "acme"),
        ({"user": {"pk": 51, "username": "guest"}}, "acme"),
        ({"user": STAFF}, None),
        ({"user": {**STAFF, "username": "root@acme.test", "email": "root@acme.test"}}, None),
        ({"action": "login_failed", "user": STAFF, "context": {"username": "root@acme.test"}}, None),
        ({"user": {"pk": 44, "username": "both"}, "context": {"http_request": http(client_id="dezky-beta")}}, "acme"),
        ({"user": {"pk": 999, "username": "gone@beta.test"}}, "beta"),
        ({"user": {"pk": 999, "username": "gone", "email": "gone@beta.test"}}, "beta"),
        ({"user": {}, "brand": model("brand", "Brand beta.dezky.test")}, "beta"),
        ({"user": {}}, None),
        ({"action": "model_updated", "user": STAFF, "context": {"model": model("group", "dezky-beta-users")}}, "beta"),
        ({"action": "model_updated", "user": ANN, "context": {"model": model("group", "dezky-beta-admins")}}, "beta"),
        ({"action": "model_updated", "user": STAFF, "context": {"model": model("user", "x", 42)}}, "acme"),
        ({"action": "model_created", "user": STAFF, "context": {"model": model("brand", "Brand acme.d.test")}}, "acme"),
        (
            {"action": "model_created", "user": STAFF, "context": {"model": model("oauth2provider", "dezky-beta", 5)}},
            "beta",
        ),
        (authorized({"pk": 44, "username": "both"}, client_id="dezky-beta"), "beta"),
        (authorized({"pk": 44, "username": "both"}, query="client_id=dezky-beta&scope=openid"), "beta"),
        (authorized({"pk": 44, "username": "both"}, client_id="dezky-ocis"), "acme"),
        (authorized({"pk": 999, "username": "gone"}, client_id="dezky-beta"), "beta"),
    ],
)
def test_its_tenant_is_found(changes: dict[str, Any], slug: str | None) -> None:
    """C094; nobody's stays in the timeline of the whole."""
    assert event(**changes).values.get("tenant.slug") == slug


@pytest.mark.parametrize(
    "changes",
    [
        {"user": {**ANN, "username": "x@beta.test", "email": "x@beta.test"}},
        authorized(ANN, client_id="dezky-beta"),
        {"action": "model_created", "context": {"model": model("token", "dezky-beta-users")}},
        {"action": "model_created", "context": {"model": model("token", "dezky-beta")}},
        {"context": {"username": "x@beta.test"}},
    ],
    ids=["own address", "named application", "name of a token", "other name of a token", "name that was tried"],
)
def test_nobody_can_put_what_he_does_into_a_strangers_log(changes: dict[str, Any]) -> None:
    """An address, the arguments of a request and the names of one's own tokens are free to choose."""
    assert event(**changes).values["tenant.slug"] == "acme"


def test_only_numbers_are_looked_up() -> None:
    for pk in ("../groups", "0x10", -1, 0, True, "9" * 30, 4.5):
        row = parse(text_of(user={"pk": 42, "username": "a"}, context={"model": model("user", "x", pk)})).row
        assert row is not None
        assert asked(row) == (42,)
