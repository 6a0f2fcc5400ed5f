"""Authentik's event actions as verbs and outcomes (facts/authentik.md 5). Pure."""

from __future__ import annotations

import re

from dezky_operator.audit.event import Outcome

VERBS = {"password_set": "password_changed"}
"""Where the original system's verb is another word; of all others the verb is the action's own name."""
FAILURES = frozenset(
    {
        *("login_failed", "policy_exception", "property_mapping_exception", "system_task_exception"),
        *("system_exception", "configuration_error"),
    }
)
DENIALS = frozenset({"suspicious_request", "access_request_denied", "access_request_revoked"})
KNOWN = frozenset(
    {
        *("login", "logout", "user_write", "user_offboarded", "password_set", "secret_view", "secret_rotate"),
        *("invitation_used", "authorize_application", "source_linked", "impersonation_started"),
        *("impersonation_ended", "flow_execution", "policy_execution", "system_task_execution"),
        *("configuration_warning", "model_created", "model_updated", "model_deleted", "email_sent"),
        *("update_available", "export_ready", "review_initiated", "review_overdue", "review_attested"),
        *("review_completed", "access_request_created", "access_request_approved"),
        *FAILURES,
        *DENIALS,
    }
)
"""All of 2026.8. A name nobody knows passes through, and what it means is not guessed."""
_STRANGE = re.compile("[^a-z0-9_.]+")


def verb_of(action: str) -> str:
    """``authentik.login``; a name that is none becomes one."""
    plain = _STRANGE.sub("_", action.lower()).strip("_")[:100]
    return f"authentik.{VERBS.get(plain, plain) or 'unnamed'}"


def outcome_of(action: str) -> Outcome:
    """How what the action tells of ended."""
    if action in FAILURES:
        return Outcome.FAILURE
    if action in DENIALS:
        return Outcome.DENIED
    return Outcome.SUCCESS if action in KNOWN or action.startswith("custom_") else Outcome.UNKNOWN
