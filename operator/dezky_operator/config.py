"""The operator's settings: one YAML file, read and checked before anything starts.

Secrets are never in the file: it names them (Secret, key), and :mod:`dezky_operator.kube.credentials` reads them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import yaml

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]+[^\s]*$")]
DnsName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]


class SettingsError(Exception):
    """The settings file can not be used. The text names file, key, value and what is allowed."""


class DomainVerification(StrEnum):
    """What proves that a customer owns a domain before mail for it is taken in."""

    TXT = "Txt"
    """The record `_dezky.<domain>` holds `dezky-verify=<tenantId>`."""
    NONE = "None"
    """Nothing: for a demo, and for installations where only the owners of all domains can make tenants."""


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class OcisAuth(StrEnum):
    """How the operator signs in to OCIS."""

    BASIC = "Basic"
    OIDC = "Oidc"


class _Section(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of the file: keys in camelCase, unknown ones refused."""


class SecretRef(_Section, frozen=True, kw_only=True):
    """A Secret in the operator's namespace, and the key in it."""

    name: DnsName
    key: str = "token"


AT_ONCE = 8
"""Requests to one system at the same time: enough for a hundred a second at 80 ms each. More would only cost: the pool
looks at every idle connection before each request.
"""


class AuthentikSettings(_Section, frozen=True, kw_only=True):
    """Sign-in. ``public_url`` is what browsers use, where it differs from the operator's way in."""

    url: Url
    token_secret_ref: SecretRef
    public_url: Url | None = None
    requests_per_second: Positive = 100.0
    concurrency: Count = AT_ONCE
    timeout_seconds: Positive = 10.0


class StalwartSettings(_Section, frozen=True, kw_only=True):
    """Mail."""

    url: Url
    token_secret_ref: SecretRef
    requests_per_second: Positive = 100.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4
    """More than 4 requests at once are refused by Stalwart (facts/stalwart.md 11.11)."""
    timeout_seconds: Positive = 10.0


class OcisSettings(_Section, frozen=True, kw_only=True):
    """Files. The Secret holds `username:password` (Basic) or the client's secret (Oidc)."""

    url: Url
    auth: OcisAuth = OcisAuth.OIDC
    secret_ref: SecretRef
    issuer: Url | None = None
    client_id: str = "dezky-operator"
    requests_per_second: Positive = 100.0
    concurrency: Count = AT_ONCE
    timeout_seconds: Positive = 10.0


class DnsSettings(_Section, frozen=True, kw_only=True):
    """Where published records are looked up. Without servers the machine's own resolvers are asked."""

    servers: tuple[str, ...] = ()
    timeout_seconds: Positive = 3.0
    recheck_seconds: Positive = 300.0
    """How often a tenant with missing records is looked at again."""


class LeaseSettings(_Section, frozen=True, kw_only=True):
    """The Lease that makes one process the writer. Seconds."""

    name: DnsName = "dezky-operator"
    duration_seconds: Positive = 15.0
    renew_seconds: Positive = 5.0
    margin_seconds: Positive = 5.0
    """The holder stops writing this long before its Lease would run out for others."""


class ReconcileSettings(_Section, frozen=True, kw_only=True):
    """How work is paced. Seconds."""

    workers: Count = 16
    resync_seconds: Positive = 600.0
    """Between two sweeps over all tenants."""
    full_look_seconds: Positive = 21600.0
    """Between two looks at one tenant that also ask what no sweep sees: DNS, its Secret, used room."""
    backoff_first_seconds: Positive = 1.0
    backoff_longest_seconds: Positive = 300.0
    breaker_pause_seconds: Positive = 15.0
    """The first pause of a system that failed again and again; locks and deletions are tried all the same."""
    watch_check_seconds: Positive = 60.0
    credentials_check_seconds: Positive = 10.0


class DeletionSettings(_Section, frozen=True, kw_only=True):
    """How the deletion of a Tenant begins. Seconds."""

    brake: Count = 5
    """More Tenants than these deleted within ten minutes wait for a person: nobody is locked out by a pruned folder."""
    grace_seconds: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """How long a soft delete waits before it locks, so that the brake sees the others of the same mistake."""
    look_seconds: Positive = 10.0
    """How often a tombstone, and what people annotated on it, is looked at."""


class PurgeSettings(_Section, frozen=True, kw_only=True):
    """How what was kept long enough is destroyed. Seconds."""

    per_hour: Count = 10
    """Purges an hour that no person confirmed."""
    wait_seconds: Annotated[float, msgspec.Meta(ge=0)] = 3600.0
    """How long a purge that is due waits, by a clock that nobody can set, before both clocks are asked once more."""
    audit_wait_seconds: Annotated[float, msgspec.Meta(ge=0)] = 300.0
    """How long after the lock users stay, so that their last events are kept: Authentik deletes them with the user."""
    look_seconds: Positive = 300.0
    """How often both clocks are asked whether a purge is due."""


class MongoSettings(_Section, frozen=True, kw_only=True):
    """A MongoDB replica set for the audit log, where several hosts share it. The Secret holds the connection string."""

    uri_secret_ref: SecretRef
    database: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,37}$")] = "dezky_audit"
    standalone: bool = False
    """Declares that one server which is no replica set may keep the log: what it acknowledged goes with its disk."""


class CheckpointSettings(_Section, frozen=True, kw_only=True):
    """When the log is signed. Seconds."""

    at_most_every_seconds: Positive = 5.0
    at_least_seconds: Positive = 60.0
    """How long an event waits for a checkpoint at most."""
    events: Count = 1_000
    """So many events do not wait that long."""
    idle_seconds: Positive = 3600.0
    """A log in which nothing happens is signed anew all the same: silence is told from an end."""


class WebhookSettings(_Section, frozen=True, kw_only=True):
    """Where Stalwart's events come in. Without a Secret the way in is closed (404)."""

    host: str = "0.0.0.0"  # noqa: S104 - Stalwart comes from outside the pod
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    url: Url | None = None
    """How Stalwart reaches it, up to the path. Without it the operator leaves Stalwart's WebHook object alone."""
    secret_ref: SecretRef | None = None
    """Keys ``<key>`` and, while it is rotated, ``<key>-previous``."""
    counted_bytes: Count = 1 << 20
    """Bodies up to this are parsed before the answer, which says how many events they held."""
    max_body_bytes: Count = 1 << 30
    reserve_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 << 20
    """Free space that is left alone: below it bodies are refused, with an alarm."""


class AuditSettings(_Section, frozen=True, kw_only=True):
    """The audit log. ``directory`` holds the SQLite file, the spool and bodies that wait to be parsed."""

    directory: Annotated[str, msgspec.Meta(pattern="^/")]
    epoch: Count = 1
    mongodb: MongoSettings | None = None
    """Without it the log is in SQLite, in ``directory``."""
    keys_secret: DnsName = "dezky-audit-keys"  # noqa: S105 - its name
    """The Secret with the log's keys; made at the first start, when there is no log yet."""
    keys_check_seconds: Positive = 30.0
    """Between two looks at that Secret for a key that is to sign from then on."""
    anchor_directories: tuple[str, ...] = ()
    """Where checkpoints are kept beside the log, best on other machines' disks."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    verify_seconds: Positive = 86400.0
    """Between two verifications of what is in the store."""
    webhook: WebhookSettings = WebhookSettings()


class LogSettings(_Section, frozen=True, kw_only=True):
    """Log lines."""

    format: LogFormat = LogFormat.JSON
    level: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """Where `/metrics`, `/healthz` and `/readyz` are served."""

    host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9090


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    installation_id: uuid.UUID
    """Tells two installations that share a system apart. Chosen once, never changed: every mark carries it."""
    namespace: DnsName
    """The operator's own namespace: its Lease, its Secrets, its records."""
    base_domain: DnsName
    """Tenants get `<slug>.<baseDomain>`."""
    authentik: AuthentikSettings
    stalwart: StalwartSettings
    ocis: OcisSettings
    tenant_secrets_namespace: DnsName | None = None
    """Where `dezky-tenant-<slug>` lives; the operator's namespace when not given."""
    domain_verification: DomainVerification = DomainVerification.TXT
    plans: tuple[str, ...] = ()
    """The plans a tenant may have. Empty: any."""
    dns: DnsSettings = DnsSettings()
    lease: LeaseSettings = LeaseSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    deletion: DeletionSettings = DeletionSettings()
    purge: PurgeSettings = PurgeSettings()
    audit: AuditSettings | None = None
    """Without it nothing is recorded: for tests of other parts. The chart sets it."""
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()

    @property
    def secrets_namespace(self) -> str:
        """Where the tenants' Secrets live."""
        return self.tenant_secrets_namespace or self.namespace


def load(path: Path) -> Settings:
    """Read and check ``path``. Raises SettingsError."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: can not be read ({error.strerror}). Give a readable file to --config.") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, found {type(raw).__name__}.")
    return parse(raw, where=str(path))


def parse(raw: Mapping[str, Any], *, where: str) -> Settings:
    """The settings in ``raw``; ``where`` names their source in errors. Raises SettingsError."""
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_explained(str(error), raw)}") from error
    _check_together(settings, where)
    return settings


def _check_together(settings: Settings, where: str) -> None:
    """What a single key can not say."""
    lease = settings.lease
    if lease.renew_seconds + lease.margin_seconds >= lease.duration_seconds:
        raise SettingsError(
            f"{where}: lease.durationSeconds: {lease.duration_seconds:g} is too short: expected more than "
            f"renewSeconds + marginSeconds ({lease.renew_seconds + lease.margin_seconds:g})."
        )
    if settings.ocis.auth is OcisAuth.OIDC and settings.ocis.issuer is None:
        raise SettingsError(f"{where}: ocis.issuer: is missing: with auth Oidc, expected the issuer's URL.")


_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`")


def _explained(message: str, raw: Mapping[str, Any]) -> str:
    """What msgspec says, with key, value and what is allowed (its message has neither value nor alternatives)."""
    found = _AT.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    if unknown := _UNKNOWN.match(what):
        allowed = ", ".join(_keys_at(path))
        key = unknown["key"]
        return f"{_join(path, key)}: unknown key (value {_at(raw, path, key)!r}). Allowed here: {allowed}."
    if missing := _MISSING.match(what):
        return f"{_join(path, missing['key'])}: is missing. Add it."
    if what.startswith("Invalid enum value"):
        allowed = ", ".join(str(member.value) for member in _kind_at(path))
        return f"{path}: {_at(raw, path)!r} is not a choice. Allowed: {allowed}."
    return f"{path}: {what[:1].lower()}{what[1:]}, found {_at(raw, path)!r}."


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _at(raw: Any, path: str, *more: str) -> object:
    """The value at ``path``; anything that looks like a list index msgspec wrote as ``[...]`` ends the search."""
    for key in (*filter(None, path.split(".")), *more):
        if not isinstance(raw, Mapping) or key not in raw:
            return raw
        raw = raw[key]
    return raw


def _kind_at(path: str) -> Any:
    """The type the settings expect at ``path``: a section, or an enumeration."""
    kind: Any = Settings
    for key in filter(None, path.split(".")):
        names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
        hint = get_type_hints(kind)[names[key]]
        kind = next(option for option in (hint, *get_args(hint)) if isinstance(option, type))
    return kind


def _keys_at(path: str) -> list[str]:
    """The keys that the section at ``path`` knows, as they are written in the file."""
    return sorted(_kind_at(path).__struct_encode_fields__)
