"""What an answer after a lock proves. Pure; an odd answer proves nothing, and silence neither."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs, urlsplit

LOG_IN = "/flows/-/default/authentication/"
"""Where Authentik sends who is not signed in."""


class Outcome(Enum):
    """What an answer means for the door it came from."""

    OPEN = "open"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """One door: what was tried there, what came back in words that hold no secret, and what that means."""

    what: str
    told: str
    outcome: Outcome

    @property
    def open(self) -> bool:
        """Whether it let the canary in."""
        return self.outcome is Outcome.OPEN


def no_answer(what: str) -> Answer:
    """Silence, or something in between answered."""
    return Answer(what, "no answer", Outcome.UNKNOWN)


def too_old(what: str, life: float) -> Answer:
    """What was tried with is over by itself, so a refusal would prove nothing."""
    return Answer(what, f"older than its life of {life:.0f} s", Outcome.UNKNOWN)


def of_refresh(what: str, status: int, error: str) -> Answer:
    """Only `invalid_grant` says that the token is dead; other errors are about the client (facts/authentik.md 11.3)."""
    if status == 200:
        return Answer(what, "200", Outcome.OPEN)
    if status == 400 and error == "invalid_grant":
        return Answer(what, "400 invalid_grant", Outcome.REFUSED)
    return Answer(what, str(status), Outcome.UNKNOWN)


def of_authorize(what: str, status: int, location: str, page: str, redirect_uri: str) -> Answer:
    """A refusal by policy is a page with status 200; a session that was ended leads to the log-in (11.2)."""
    if status == 302 and code_in(location, redirect_uri):
        return Answer(what, "a code", Outcome.OPEN)
    if status == 302 and urlsplit(location).path == LOG_IN:
        return Answer(what, "signed out", Outcome.REFUSED)
    if status == 200 and "permission denied" in page.lower():
        return Answer(what, "permission denied", Outcome.REFUSED)
    return Answer(what, str(status), Outcome.UNKNOWN)


def code_in(location: str, redirect_uri: str) -> str | None:
    """The authorization code in a redirect that leads to the application."""
    there, expected = urlsplit(location), urlsplit(redirect_uri)
    if (there.scheme, there.netloc, there.path) != (expected.scheme, expected.netloc, expected.path):
        return None
    return next(iter(parse_qs(there.query).get("code", [])), None)


def of_mail(what: str, status: int, *, by_token: bool) -> Answer:
    """403 is the locked role; 401 to a password says that it is wrong, and proves nothing (facts/stalwart.md 11.5)."""
    if status == 200:
        return Answer(what, "200", Outcome.OPEN)
    refused = status == 403 or (status == 401 and by_token)
    return Answer(what, str(status), Outcome.REFUSED if refused else Outcome.UNKNOWN)


def of_space(what: str, status: int) -> Answer:
    """A closed space does not exist for its members (facts/ocis.md 3)."""
    if status == 207:
        return Answer(what, "207", Outcome.OPEN)
    return Answer(what, str(status), Outcome.REFUSED if status in {401, 403, 404} else Outcome.UNKNOWN)


def of_link(what: str, status: int) -> Answer:
    """A link into a closed space is not found; 401 would be about its password."""
    if status == 207:
        return Answer(what, "207", Outcome.OPEN)
    return Answer(what, str(status), Outcome.REFUSED if status == 404 else Outcome.UNKNOWN)


def verdict(answers: Iterable[Answer]) -> bool | None:
    """True when every door refused, False when one let the canary in, None when one told nothing."""
    outcomes = {answer.outcome for answer in answers}
    if Outcome.OPEN in outcomes:
        return False
    return True if outcomes == {Outcome.REFUSED} else None


def summary(answers: Iterable[Answer]) -> str:
    """One short sentence: `404 for all`, or `207 for main space; 404 for link`."""
    by_told: dict[str, list[str]] = {}
    for answer in answers:
        by_told.setdefault(answer.told, []).append(answer.what)
    if len(by_told) == 1:
        told, whats = next(iter(by_told.items()))
        return f"{told} for {'all' if len(whats) > 1 else whats[0]}"
    return "; ".join(f"{told} for {', '.join(whats)}" for told, whats in by_told.items())
