"""What Stalwart's event types are called in the log (facts/stalwart.md 5.5). Pure.

The fourteen verbs of the original system each stand for several types of 0.16; they are taken under their own names
too, as older senders write them. Every other type goes into the log under its own name.
"""

from __future__ import annotations

import re
from enum import Enum, auto

import msgspec

from dezky_operator.audit.event import Outcome

PREFIX = "stalwart."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Role(Enum):
    """What the account of an event is in it."""

    ACTOR = auto()
    TARGET = auto()
    """Somebody changed it."""
    MAILBOX = auto()
    """A message came to it; the sender acts."""


class Action(msgspec.Struct, frozen=True):
    """``name`` in the log, how it ended, and the account's part in it."""

    name: str
    outcome: Outcome
    role: Role = Role.ACTOR


_VERBS = {
    "auth_success": (Outcome.SUCCESS, "auth.success"),
    "auth_failed": (
        Outcome.FAILURE,
        """auth.failed auth.too-many-attempts auth.mfa-required auth.missing-totp auth.credential-expired
        auth.token-expired""",
    ),
    "auth_banned": (Outcome.DENIED, "security.authentication-ban auth.banned"),
    "account_created": (Outcome.SUCCESS, ""),
    "account_deleted": (Outcome.SUCCESS, ""),
    "password_changed": (Outcome.SUCCESS, ""),
    "mail_received": (
        Outcome.SUCCESS,
        """message-ingest.ham queue.message-queued queue.authenticated-message-queued queue.queue-message
        queue.queue-message-authenticated""",
    ),
    "mail_delivered": (Outcome.SUCCESS, "delivery.delivered delivery.dsn-success delivery.completed"),
    "mail_failed": (
        Outcome.FAILURE,
        "delivery.failed delivery.dsn-perm-fail delivery.dsn-temp-fail delivery.double-bounce",
    ),
    "mail_rejected": (
        Outcome.DENIED,
        """smtp.mailbox-does-not-exist smtp.relay-not-allowed delivery.message-rejected message-ingest.error
        milter.action-reject mta-hook.action-reject""",
    ),
    "policy_rejection": (
        Outcome.DENIED,
        "mta-sts.not-authorized dane.authentication-failure smtp.rate-limit-exceeded smtp.mail-from-not-allowed",
    ),
    "dkim_failure": (Outcome.FAILURE, "smtp.dkim-fail dkim.fail"),
    "dmarc_failure": (Outcome.FAILURE, "smtp.dmarc-fail dmarc.fail"),
    # `spam.classify` is told of every message that is looked at, so it is no spam that was found.
    "spam_detected": (Outcome.SUCCESS, "message-ingest.spam"),
}
VERBS = tuple(_VERBS)
"""The fourteen, without their prefix."""
_TARGETS = frozenset({"account_created", "account_deleted", "password_changed"})
_DENIED = ("security.", "limit.")
"""Types whose name tells that somebody was kept from something."""
_FAILED = re.compile(r"[-.](?:fail|failed|failure|error|rejected|invalid)$")


def _flat(name: str) -> str:
    return re.sub(r"[._-]+", "_", name.lower())


_KNOWN = {
    _flat(kind): Action(
        PREFIX + verb,
        outcome,
        Role.TARGET if verb in _TARGETS else Role.MAILBOX if kind.startswith("message-ingest.") else Role.ACTOR,
    )
    for verb, (outcome, kinds) in _VERBS.items()
    for kind in (verb, *kinds.split())
}


def action_of(kind: str) -> Action | None:
    """The action of an event type, in snake, kebab or dotted form; None when it is no name of a type."""
    if known := _KNOWN.get(_flat(kind)):
        return known
    if not _NAME.fullmatch(kind):
        return None
    name = kind.lower()
    if name.startswith(_DENIED):
        outcome = Outcome.DENIED
    else:
        outcome = Outcome.FAILURE if _FAILED.search(name) else Outcome.UNKNOWN
    return Action(PREFIX + name, outcome)
