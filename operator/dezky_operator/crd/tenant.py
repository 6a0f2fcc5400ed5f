"""The Tenant as the operator reads it and the status as it writes it: a typed view of `crds/tenant.yaml`.

Reading is lenient (unknown fields of a newer schema are ignored, everything optional has a default): an object from
before an upgrade must never stop the operator. Writing is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dezky_operator.crd.conditions import Condition

ANNOTATION_PAUSED = "dezky.eu/paused"
ANNOTATION_PLAN_ONLY = "dezky.eu/plan-only"
ANNOTATION_RECONCILE = "dezky.eu/reconcile-requested-at"
ANNOTATION_CONFIRM_PURGE = "dezky.eu/confirm-purge"
ANNOTATION_CONFIRM_DETACH = "dezky.eu/confirm-detach"
ANNOTATION_RESTORE = "dezky.eu/restore"
ANNOTATION_RESYNC = "dezky.eu/resync-seconds"
ANNOTATION_RENEW_LINK = "dezky.eu/renew-recovery-link"

MAIN_SPACE = "main"


class InvalidTenant(Exception):  # noqa: N818 - named after what it tells, and kept beside Tenant as a value
    """An object that can not be understood as a Tenant. The text names object, field, expected and found."""

    def __init__(self, name: str, message: str, generation: int) -> None:
        super().__init__(message)
        self.name, self.generation = name, generation


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class Metadata(_View, frozen=True, kw_only=True):
    """Standard object metadata, as far as the operator uses it. Times are RFC 3339 text."""

    name: str
    uid: str
    resource_version: str = ""
    generation: int = 1
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class PartnerRef(_View, frozen=True, kw_only=True):
    """`spec.partnerRef`."""

    name: str


class AdminSpec(_View, frozen=True, kw_only=True):
    """`spec.admin`."""

    email: str
    name: str | None = None


class Tile(_View, frozen=True, kw_only=True):
    """A tile of the launcher."""

    title: str
    url: str
    icon: str | None = None


class BrandSpec(_View, frozen=True, kw_only=True):
    """`spec.brand`."""

    title: str | None = None
    logo_url: str | None = msgspec.field(name="logoURL", default=None)
    primary_color: str | None = None
    launcher_tiles: tuple[Tile, ...] = ()


class SpaceSpec(_View, frozen=True, kw_only=True):
    """One of `spec.files.spaces`."""

    name: str
    quota: str = "10Gi"


class FilesSpec(_View, frozen=True, kw_only=True):
    """`spec.files`."""

    quota: str = "50Gi"
    spaces: tuple[SpaceSpec, ...] = ()


class MailSpec(_View, frozen=True, kw_only=True):
    """`spec.mail`."""

    mailbox_quota: str = "5Gi"


class SuspensionSpec(_View, frozen=True, kw_only=True):
    """`spec.suspension`."""

    reason: str | None = None
    mail_policy: str = "Accept"
    hold_for: str | None = None


class BillingSpec(_View, frozen=True, kw_only=True):
    """`spec.billing`."""

    customer_ref: str | None = None
    email: str | None = None
    currency: str | None = None
    cadence: str | None = None


class TenantSpec(_View, frozen=True, kw_only=True):
    """`spec`."""

    display_name: str
    domains: tuple[str, ...]
    plan: str = "standard"
    partner_ref: PartnerRef | None = None
    seats: int | None = None
    admin: AdminSpec | None = None
    brand: BrandSpec | None = None
    files: FilesSpec = FilesSpec()
    mail: MailSpec = MailSpec()
    suspended: bool = False
    suspension: SuspensionSpec | None = None
    deletion_policy: str = "SoftDelete"
    retention_days: int = 30
    adoption: str = "Never"
    drift_policy: str = "Correct"
    billing: BillingSpec | None = None


class PerSystem(_View, frozen=True, kw_only=True):
    """A word or sentence for each system; None where there is nothing to say."""

    authentik: str | None = None
    stalwart: str | None = None
    ocis: str | None = None


class IdentityStatus(_View, frozen=True, kw_only=True):
    """`status.identity`."""

    group_id: str | None = None
    admin_group_id: str | None = None
    application_slug: str | None = None
    provider_id: str | None = None
    issuer_url: str | None = msgspec.field(name="issuerURL", default=None)
    brand_domain: str | None = None
    admin_username: str | None = None
    admin_signed_in: bool | None = None


class DkimStatus(_View, frozen=True, kw_only=True):
    """A key of a domain."""

    selector: str
    algorithm: str | None = None
    stage: str | None = None


class DomainStatus(_View, frozen=True, kw_only=True):
    """One of `status.mail.domains`."""

    name: str
    id: str | None = None
    dkim: tuple[DkimStatus, ...] = ()


class MailStatus(_View, frozen=True, kw_only=True):
    """`status.mail`."""

    role_id: str | None = None
    mailboxes: int | None = None
    without_mailbox: tuple[str, ...] = ()
    domains: tuple[DomainStatus, ...] = ()


class SpaceStatus(_View, frozen=True, kw_only=True):
    """One of `status.files.spaces`. Quotas in bytes."""

    name: str
    id: str | None = None
    drive_alias: str | None = None
    web_url: str | None = msgspec.field(name="webURL", default=None)
    quota_total: int | None = None
    quota_used: int | None = None
    quota_state: str | None = None


class FilesStatus(_View, frozen=True, kw_only=True):
    """`status.files`."""

    group_id: str | None = None
    spaces: tuple[SpaceStatus, ...] = ()


class LauncherStatus(_View, frozen=True, kw_only=True):
    """`status.launcher`."""

    title: str | None = None
    logo_url: str | None = msgspec.field(name="logoURL", default=None)
    primary_color: str | None = None
    tiles: tuple[Tile, ...] = ()


class DnsStatus(_View, frozen=True, kw_only=True):
    """One of `status.dns`."""

    name: str
    type: str
    value: str
    state: str | None = None


class Detached(_View, frozen=True, kw_only=True):
    """One of `status.detached`."""

    kind: str
    name: str
    id: str | None = None


class SecretRefStatus(_View, frozen=True, kw_only=True):
    """`status.secretRef`."""

    namespace: str | None = None
    name: str | None = None


class ReceiptStatus(_View, frozen=True, kw_only=True):
    """One of `status.suspension.receipts`: what the canary was answered before the lock and after it."""

    system: str
    at: str
    tried: tuple[str, ...] = ()
    before: str | None = None
    after: str | None = None
    result: str


class SuspensionStatus(_View, frozen=True, kw_only=True):
    """`status.suspension`: there while the tenant is locked, and until everything is open again.

    ``hold``: ``Loading`` written ahead of the first throttle, ``Held`` once the server has loaded it, ``Ended`` when
    the time is over; None where mail is accepted. Times in RFC 3339.
    """

    since: str
    source: str | None = None
    reason: str | None = None
    mail_policy: str | None = None
    hold_until: str | None = None
    hold: str | None = None
    locked_at: str | None = None
    disabled_drive_ids: tuple[str, ...] = ()
    receipts: tuple[ReceiptStatus, ...] = ()


class PreviewStatus(_View, frozen=True, kw_only=True):
    """`status.preview`: what a purge would destroy. ``bytes`` of mail and files together."""

    users: int | None = None
    mailboxes: int | None = None
    spaces: int | None = None
    bytes: int | None = None
    left: tuple[str, ...] = ()


class PlannedStep(_View, frozen=True, kw_only=True):
    """One of `status.plan`."""

    key: str
    verb: str
    object: str | None = None
    fields: tuple[str, ...] = ()
    reason: str | None = None


class DriftStatus(_View, frozen=True, kw_only=True):
    """`status.drift`: what another hand changed and the operator put back, last."""

    at: str
    steps: tuple[PlannedStep, ...] = ()


class TenantStatus(_View, frozen=True, kw_only=True):
    """`status`. ``observed_generation`` has no default here so that it is always written."""

    observed_generation: int | None = None
    applied_generation: int | None = None
    last_handled_reconcile_at: str | None = None
    tenant_id: str | None = None
    phase: str | None = None
    conditions: tuple[Condition, ...] = ()
    provisioning_status: PerSystem | None = None
    provisioning_errors: PerSystem | None = None
    identity: IdentityStatus | None = None
    mail: MailStatus | None = None
    files: FilesStatus | None = None
    launcher: LauncherStatus | None = None
    dns: tuple[DnsStatus, ...] = ()
    detached: tuple[Detached, ...] = ()
    members: int | None = None
    secret_ref: SecretRefStatus | None = None
    suspension: SuspensionStatus | None = None
    preview: PreviewStatus | None = None
    plan: tuple[PlannedStep, ...] = ()
    drift: DriftStatus | None = None

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type."""
        return next((found for found in self.conditions if found.type == kind), None)


class Tenant(_View, frozen=True, kw_only=True):
    """The whole object."""

    metadata: Metadata
    spec: TenantSpec
    status: TenantStatus = TenantStatus()

    @property
    def name(self) -> str:
        """The slug."""
        return self.metadata.name

    @property
    def suspended(self) -> bool:
        """Whether the customer is to be locked out. One place: a hold for a bill not paid will count here too."""
        return self.spec.suspended

    def annotation(self, key: str) -> str | None:
        """The value of an annotation; None when it is absent or empty."""
        return self.metadata.annotations.get(key) or None


def parse(raw: Mapping[str, Any]) -> Tenant:
    """The Tenant in ``raw``. Raises InvalidTenant."""
    try:
        return msgspec.convert(raw, Tenant)
    except msgspec.ValidationError as error:
        metadata = raw.get("metadata") or {}
        name = str(metadata.get("name", "?"))
        raise InvalidTenant(
            name,
            f"Tenant {name} can not be understood: {error}. Correct the field.",
            int(metadata.get("generation", 1)),
        ) from error


_UNITS = {"": 1, "M": 10**6, "G": 10**9, "T": 10**12, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"([0-9]+)(Mi|Gi|Ti|M|G|T|)")


def quantity(text: str) -> int:
    """Bytes of a size such as `50Gi`; 0 means no limit. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 500Mi or 50Gi")
    return int(found[1]) * _UNITS[found[2]]
