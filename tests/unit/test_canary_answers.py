"""What an answer after a lock proves, and what it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.canary.answers import (
    Answer,
    Outcome,
    code_in,
    no_answer,
    of_authorize,
    of_link,
    of_mail,
    of_refresh,
    of_space,
    summary,
    too_old,
    verdict,
)
from dezky_operator.integrations.canary.keys import Keys, Link, MailKey, OAuthClient, Pass
from dezky_operator.integrations.canary.observe import life_of

OPEN, REFUSED, UNKNOWN = Outcome.OPEN, Outcome.REFUSED, Outcome.UNKNOWN
HOME = "https://acme.dezky.test/auth/callback"
DENIED = "<html><title>Permission denied</title></html>"


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, "", OPEN),
        (400, "invalid_grant", REFUSED),
        (400, "invalid_client", UNKNOWN),
        (401, "invalid_client", UNKNOWN),
        (400, "", UNKNOWN),
        (500, "", UNKNOWN),
        (404, "", UNKNOWN),
    ],
)
def test_only_invalid_grant_says_that_a_refresh_token_is_dead(status: int, error: str, outcome: Outcome) -> None:
    assert of_refresh("refresh", status, error).outcome is outcome


@pytest.mark.parametrize(
    ("status", "location", "page", "outcome"),
    [
        (302, f"{HOME}?code=abc&state=x", "", OPEN),
        (302, f"{HOME}?error=access_denied", "", UNKNOWN),
        (302, "https://evil.test/auth/callback?code=abc", "", UNKNOWN),
        (302, "/flows/-/default/authentication/?next=%2Fapplication%2Fo%2Fauthorize%2F", "", REFUSED),
        (302, "/if/flow/default-provider-authorization-explicit-consent/", "", UNKNOWN),
        (200, "", DENIED, REFUSED),
        (200, "", "<html>Consent</html>", UNKNOWN),
        (400, "", "<html>Redirect URI Error</html>", UNKNOWN),
        (403, "", DENIED, UNKNOWN),
    ],
)
def test_a_refused_sign_in_is_a_page_or_the_way_to_the_log_in(
    status: int, location: str, page: str, outcome: Outcome
) -> None:
    assert of_authorize("new sign-in", status, location, page, HOME).outcome is outcome


def test_a_code_counts_only_where_the_application_is() -> None:
    assert code_in(f"{HOME}?code=abc", HOME) == "abc"
    assert code_in("http://acme.dezky.test/auth/callback?code=abc", HOME) is None
    assert code_in(f"{HOME}x?code=abc", HOME) is None
    assert code_in("", HOME) is None


@pytest.mark.parametrize(
    ("status", "by_token", "outcome"),
    [
        (200, False, OPEN),
        (200, True, OPEN),
        (403, False, REFUSED),
        (403, True, REFUSED),
        (401, True, REFUSED),
        (401, False, UNKNOWN),
        (500, True, UNKNOWN),
        (404, False, UNKNOWN),
    ],
)
def test_a_wrong_password_is_told_from_a_lock(status: int, by_token: bool, outcome: Outcome) -> None:  # noqa: FBT001
    """Facts stalwart 11.5: 403 against 401."""
    assert of_mail("JMAP session", status, by_token=by_token).outcome is outcome


@pytest.mark.parametrize(
    ("status", "space", "link"),
    [
        (207, OPEN, OPEN),
        (404, REFUSED, REFUSED),
        (401, REFUSED, UNKNOWN),
        (403, REFUSED, UNKNOWN),
        (500, UNKNOWN, UNKNOWN),
        (409, UNKNOWN, UNKNOWN),
    ],
)
def test_a_closed_space_and_its_links_are_not_found(status: int, space: Outcome, link: Outcome) -> None:
    assert (of_space("main space", status).outcome, of_link("public link", status).outcome) == (space, link)


@given(st.lists(st.sampled_from(Outcome), max_size=6))
def test_one_open_door_is_enough_and_one_unknown_one_forbids_to_claim_a_lock(outcomes: list[Outcome]) -> None:
    """Issue 8, Proof: inconclusive is never True."""
    judged = verdict(Answer(f"door {number}", "x", outcome) for number, outcome in enumerate(outcomes))
    if OPEN in outcomes:
        assert judged is False
    elif not outcomes or UNKNOWN in outcomes:
        assert judged is None
    else:
        assert judged is True


def test_silence_and_old_tokens_prove_nothing() -> None:
    assert no_answer("main space").outcome is UNKNOWN
    assert too_old("main space", 300.0) == Answer("main space", "older than its life of 300 s", UNKNOWN)


def test_what_came_back_is_told_in_one_short_sentence() -> None:
    own, files = Answer("own", "400", REFUSED), Answer("files", "400", REFUSED)
    assert summary([own]) == "400 for own"
    assert summary([own, files]) == "400 for all"
    assert summary([own, files, Answer("sign-in", "a code", OPEN)]) == "400 for own, files; a code for sign-in"


def test_a_pass_knows_how_long_it_lasts() -> None:
    client = OAuthClient(client_id="c", secret="s", redirect_uri=HOME, refresh_life=1000.0)
    kept = Pass(client=client, access="a", refresh="r", since=100.0, life=300.0)
    assert (kept.left(100.0), kept.left(400.0), kept.left(401.0)) == (300.0, 0.0, -1.0)
    assert (kept.renewable(1099.0), kept.renewable(1100.0)) == (True, False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("days=30", 30 * 86400.0),
        ("hours=1;minutes=30", 5400.0),
        ("seconds=0", 0.0),
        ("", float("inf")),
        ("eons=1", float("inf")),
        ("days=x", float("inf")),
    ],
)
def test_the_life_of_a_refresh_token_is_read_as_authentik_writes_it(text: str, seconds: float) -> None:
    assert life_of(text) == seconds


def test_no_repr_shows_what_opens_a_door() -> None:
    client = OAuthClient(client_id="acme", secret="SECRET-1", redirect_uri=HOME, refresh_life=1.0)
    kept = Pass(client=client, access="SECRET-2", refresh="SECRET-3", since=0.0, life=1.0)
    keys = Keys(
        cookies={"authentik_session": "SECRET-4"},
        mail=MailKey(header="Basic SECRET-5", token=kept),
        link=Link(path="/dav/public-files/SECRET-6", header="Basic SECRET-7", until=0.0),
    )
    assert "SECRET" not in f"{client!r} {kept!r} {keys!r}"
