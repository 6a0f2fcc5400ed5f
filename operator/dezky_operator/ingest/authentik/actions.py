"""Authentik's event actions as verbs and outcomes (facts/authentik.md 5). Pure."""

from __future__ import annotations

import re

from dezky_operator.audit.event import Outcome

VERBS = {"password_set": "password_changed"}
"""Where the original system's verb is another word; of all others the verb is the action's own name."""
CUSTOM = "custom_"
"""Before the name of an event that somebody's own policy makes."""
OUTCOMES = {
    **dict.fromkeys(
        (
            *("login", "logout", "user_write", "user_offboarded", "password_set", "secret_view", "secret_rotate"),
            *("invitation_used", "authorize_application", "source_linked", "impersonation_started"),
            *("impersonation_ended", "flow_execution", "system_task_execution", "model_created", "model_updated"),
            *("model_deleted", "email_sent", "export_ready", "review_initiated", "review_attested"),
            *("review_completed", "access_request_created", "access_request_approved", "access_request_revoked"),
        ),
        Outcome.SUCCESS,
    ),
    **dict.fromkeys(
        (
            *("login_failed", "policy_exception", "property_mapping_exception", "system_task_exception"),
            *("system_exception", "configuration_error"),
        ),
        Outcome.FAILURE,
    ),
    **dict.fromkeys(("suspicious_request", "access_request_denied"), Outcome.DENIED),
    # What a policy said stands in the event; the others tell of a state, not of something that was tried.
    **dict.fromkeys(
        ("policy_execution", "configuration_warning", "update_available", "review_overdue"), Outcome.UNKNOWN
    ),
}
"""All actions of 2026.8. A name that is not here passes through, and how it ended is not guessed."""
_STRANGE = re.compile("[^a-z0-9_.]+")
LONGEST = 100
"""Characters of a verb: nobody's names are longer, and a custom event's name is free text."""


def verb_of(action: str) -> str:
    """``authentik.login``; a name that is none becomes one."""
    plain = _STRANGE.sub("_", action.lower()).strip("_.")[:LONGEST]
    return f"authentik.{VERBS.get(plain, plain) or 'unnamed'}"


def outcome_of(action: str, *, passing: object = None) -> Outcome:
    """How what the action tells of ended; ``passing`` is what an executed policy said, if it is one."""
    if action == "policy_execution" and isinstance(passing, bool):
        return Outcome.SUCCESS if passing else Outcome.DENIED
    return OUTCOMES.get(action, Outcome.UNKNOWN)
