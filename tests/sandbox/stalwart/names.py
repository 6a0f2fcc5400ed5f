"""Names and enumerations, and how Stalwart cleans a name before it stores it (facts/stalwart.md 2.3, 11.2, 11.4)."""

from __future__ import annotations

import re

_TLDS = "test localhost local internal com net org eu de at fr nl uk ch be dk se pl it es"
TLDS = frozenset(_TLDS.split())
"""A part of the public suffix list: a top-level domain that is missing here is refused, as an unknown one is."""
_EVENTS = """auth.success auth.failed auth.error auth.too-many-attempts auth.mfa-required auth.credential-expired
    auth.token-expired security.authentication-ban security.ip-blocked security.scan-ban security.abuse-ban
    security.unauthorized security.ip-unauthorized message-ingest.ham message-ingest.spam message-ingest.error
    queue.message-queued queue.authenticated-message-queued delivery.delivered delivery.dsn-success delivery.completed
    delivery.failed delivery.dsn-perm-fail delivery.dsn-temp-fail delivery.double-bounce delivery.message-rejected
    smtp.mailbox-does-not-exist smtp.relay-not-allowed smtp.rate-limit-exceeded smtp.mail-from-not-allowed
    smtp.dkim-fail smtp.dmarc-fail milter.action-reject mta-hook.action-reject mta-sts.not-authorized
    dane.authentication-failure spam.classify limit.quota limit.tenant-quota dkim.signature-created
    dkim.signature-published dkim.signature-retired dkim.signature-deleted dns.record-created
    dns.record-creation-failed dns.record-deletion-failed acme.order-completed acme.auth-error acme.error
    security.loiter-ban server.startup server.shutdown server.licensing
    task-manager.task-failed telemetry.webhook-error jmap.method-call jmap.unknown-method"""
EVENTS = frozenset(_EVENTS.split())
"""A part of the 637 event types; the stand-in's schema names exactly these."""
_QUOTAS = """maxEmails maxMailboxes maxEmailSubmissions maxEmailIdentities maxParticipantIdentities maxSieveScripts
    maxPushSubscriptions maxCalendars maxCalendarEvents maxCalendarEventNotifications maxAddressBooks maxContactCards
    maxFiles maxFolders maxMaskedAddresses maxAppPasswords maxApiKeys maxPublicKeys maxDiskQuota"""
QUOTAS = tuple(_QUOTAS.split())
_THROTTLE_KEYS = "listener remoteIp localIp authenticatedAs heloDomain sender senderDomain rcpt rcptDomain"
THROTTLE_KEYS = frozenset(_THROTTLE_KEYS.split())


def domain_name(text: str) -> str:
    """Lower case and punycode. Names that no DNS would have are taken too: only the ending is looked up."""
    try:
        name = text.strip().lower().encode("idna").decode()
    except UnicodeError as error:
        raise ValueError("Invalid domain name") from error
    if "." not in name or name.endswith(".") or name.rpartition(".")[2] not in TLDS:
        raise ValueError("Invalid domain name")
    return name


def local_part(text: str) -> str:
    """Without case and without spaces: "Ja Ne" is jane."""
    name = "".join(text.split()).lower()
    if not name or "@" in name:
        raise ValueError("Invalid email local part")
    return name


def address(text: str) -> str:
    """An e-mail address."""
    local, _, domain = text.rpartition("@")
    if not re.fullmatch(r"[^\s@]+", local) or "." not in domain:
        raise ValueError("Invalid email address")
    return f"{local}@{domain}".lower()
