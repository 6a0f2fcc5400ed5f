"""The WebHook object that Stalwart must have, and the steps that lead there (facts/stalwart.md 5, 11.7). Pure.

Of a hook that runs, only what it sends and whether it sends take effect on a reload; address, key and times stay as
they were. So a hook that differs in those is not changed: a new one is made beside it, and the old one is destroyed
once the new one was seen to work. What an old one has not delivered yet goes with it, and the new one has it too.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dezky_operator.integrations.stalwart.graph import changed, stalwart_step
from dezky_operator.integrations.stalwart.model import WebHook, age
from dezky_operator.integrations.steps import Plan, Step, Value, Verb

PROBE = "jmap.unknown-method"
"""What a call of a method that is not there is told as: nobody is let in, locked out or counted by it."""
_WANTED = f"""auth.success auth.failed auth.too-many-attempts auth.mfa-required auth.credential-expired
    auth.token-expired security.authentication-ban security.abuse-ban security.scan-ban security.loiter-ban
    security.ip-blocked security.ip-unauthorized security.unauthorized message-ingest.ham message-ingest.spam
    message-ingest.error queue.message-queued queue.authenticated-message-queued delivery.delivered
    delivery.dsn-success delivery.completed delivery.failed delivery.dsn-perm-fail delivery.dsn-temp-fail
    delivery.double-bounce delivery.message-rejected smtp.mailbox-does-not-exist smtp.relay-not-allowed
    smtp.rate-limit-exceeded smtp.mail-from-not-allowed smtp.dkim-fail smtp.dmarc-fail milter.action-reject
    mta-hook.action-reject mta-sts.not-authorized dane.authentication-failure limit.quota limit.tenant-quota
    dkim.signature-created dkim.signature-published dkim.signature-retired dkim.signature-deleted
    dns.record-created dns.record-creation-failed dns.record-deletion-failed acme.order-completed acme.auth-error
    acme.error server.startup server.shutdown server.licensing task-manager.task-failed {PROBE}"""
WANTED = frozenset(_WANTED.split())
"""What the log is about (facts/stalwart.md 5.5). Names that a version does not know are left out: one of them and the
whole set would be refused. `auth.error` is none of them: it tells a wrong token or app password in clear.
"""
MARK = "X-Dezky-Webhook"
"""The header that says whose hook it is, and by a fingerprint which key it has: the key itself never comes back."""
DAY = 86_400_000
"""Milliseconds. What the operator can not take for so long is lost; Stalwart's own default is five minutes."""
SECOND = 1_000
TIMEOUT = 120 * SECOND
RELOAD = "Hooks start, change and end only with a reload."


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredHook:
    """Where events go. ``mark`` names the installation and the key, ``events`` are those the server knows."""

    url: str
    mark: str
    events: frozenset[str]

    @property
    def running(self) -> dict[str, Value]:
        """What can not be changed while a hook runs."""
        return {
            "url": self.url,
            "httpHeaders": {MARK: self.mark},
            "timeout": TIMEOUT,
            "throttle": SECOND,
            "discardAfter": DAY,
            "allowInvalidCerts": False,
        }

    @property
    def changeable(self) -> dict[str, Value]:
        """What can."""
        return {
            "enable": True,
            "lossy": False,
            "eventsPolicy": "include",
            "events": dict.fromkeys(sorted(self.events), True),
        }


def owner_mark(installation_id: str) -> str:
    """What the marks of all hooks of one installation begin with."""
    return f"dezky:{installation_id}:webhook:"


def desired_hook(*, url: str, key: str, installation_id: str, known: frozenset[str]) -> DesiredHook:
    """The hook for these; ``known`` are the events of the server's version."""
    fingerprint = hmac.digest(key.encode(), b"dezky.eu/webhook-key/v1", "sha256").hex()[:16]
    return DesiredHook(url=url, mark=owner_mark(installation_id) + fingerprint, events=WANTED & known)


def own_hooks(installation_id: str, hooks: Iterable[WebHook]) -> list[WebHook]:
    """Those of this installation, the oldest first. Others are somebody's."""
    mine = (hook for hook in hooks if hook.http_headers.get(MARK, "").startswith(owner_mark(installation_id)))
    return sorted(mine, key=lambda hook: age(hook.id))


def current_hook(wanted: DesiredHook, own: Sequence[WebHook]) -> WebHook | None:
    """The one that has the right address, key and times, if one has."""
    return next((hook for hook in own if _running(hook) == wanted.running), None)


def plan_hook(wanted: DesiredHook, own: Sequence[WebHook], *, loaded: bool, works: bool) -> Plan:
    """What is to be done.

    Args:
        wanted: the hook that must be there.
        own: those of this installation that are.
        loaded: whether the server is known to run what is stored, as far as nothing of it differs.
        works: whether the current hook was seen to deliver: then the others go.
    """
    current = current_hook(wanted, own)
    first = list(_current(wanted, current))
    removed = [_removed(hook) for hook in own if hook is not current] if works and current is not None else []
    steps = [*first, *removed]
    if steps or not loaded:
        steps.append(_reload(after=steps))
    return Plan(tuple(steps))


def _current(wanted: DesiredHook, current: WebHook | None) -> Iterator[Step]:
    if current is None:
        yield stalwart_step(
            "webhook",
            "audit",
            Verb.CREATE,
            name=wanted.url,
            body={**wanted.running, **wanted.changeable},
            reason="Stalwart tells the audit log what happens.",
        )
        return
    actual = _changeable(current)
    if changes := {name: value for name, value in wanted.changeable.items() if actual[name] != value}:
        yield changed("webhook", "audit", wanted.url, current.id, changes)


def _removed(hook: WebHook) -> Step:
    step = stalwart_step(
        "webhook",
        hook.id,
        Verb.DELETE,
        name=hook.url,
        target=hook.id,
        reason="Another one with today's address and key delivers in its place.",
    )
    return replace(step, asked=True)


def _reload(after: Sequence[Step]) -> Step:
    return stalwart_step(
        "settings",
        "reload",
        Verb.UPDATE,
        name="settings",
        target="reload",
        fields=("WebHook",),
        reason=RELOAD,
        after=tuple(step.id for step in after),
    )


def _running(hook: WebHook) -> Mapping[str, Value]:
    return {
        "url": hook.url,
        "httpHeaders": hook.http_headers,
        "timeout": hook.timeout,
        "throttle": hook.throttle,
        "discardAfter": hook.discard_after,
        "allowInvalidCerts": hook.allow_invalid_certs,
    }


def _changeable(hook: WebHook) -> Mapping[str, Value]:
    return {
        "enable": hook.enable,
        "lossy": hook.lossy,
        "eventsPolicy": hook.events_policy,
        "events": hook.events,
    }
