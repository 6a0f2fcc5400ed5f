"""Authentik's objects as far as we read them, parsed at the edge (facts/authentik.md 3). Unknown fields are ignored."""

from __future__ import annotations

from typing import Any

import msgspec

from dezky_operator.integrations.intent import TenantIntent

MARK = "dezky.eu/mark"
"""The attribute of a group or brand that says whose it is."""
TENANT = "dezky.eu/tenant"
"""The attribute of a group that the tenant claim is made of."""
USER_TENANT = "dezky.tenantId"
"""The attribute of a user that the operator made."""


SUSPENDED_BY = "suspendedBy"
"""In a user's attribute ``dezky``: the tenantId whose suspension deactivated the user. What lacks it is not undone."""
SIGNED_OUT = "dezky.eu/signed-out"
"""The attribute of the users group that says: since the doors were closed everybody was signed out once."""
CANARY = "canary"
"""The value of ``dezky.role`` of the account that proves a lock."""


class _Object(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Group(_Object, frozen=True, kw_only=True):
    """A group. ``parents`` and ``pk`` are UUIDs."""

    pk: str
    name: str
    parents: tuple[str, ...] | None = ()
    attributes: dict[str, Any] = {}
    is_superuser: bool = False

    @property
    def mark(self) -> str | None:
        """Whose it is."""
        return self.attributes.get(MARK)


class User(_Object, frozen=True, kw_only=True):
    """A user. ``pk`` is a number, ``groups`` are the pks of groups the user is in directly."""

    pk: int
    username: str
    name: str = ""
    email: str | None = ""
    is_active: bool = True
    is_superuser: bool = False
    type: str = "internal"
    path: str = "users"
    attributes: dict[str, Any] = {}
    groups: tuple[str, ...] | None = ()
    last_login: str | None = None


class RedirectUri(_Object, frozen=True, kw_only=True):
    """Where a browser may be sent back to."""

    url: str
    matching_mode: str = "strict"
    redirect_uri_type: str = "authorization"


class Provider(_Object, frozen=True, kw_only=True):
    """An OAuth2 provider. The secret is readable over the API and shown nowhere."""

    pk: int
    name: str
    client_id: str
    client_secret: str = ""
    client_type: str = "confidential"
    authorization_flow: str | None = None
    invalidation_flow: str | None = None
    signing_key: str | None = None
    grant_types: tuple[str, ...] = ()
    property_mappings: tuple[str, ...] = ()
    redirect_uris: tuple[RedirectUri, ...] = ()
    access_token_validity: str = ""
    refresh_token_validity: str = ""
    sub_mode: str = ""
    issuer_mode: str = ""
    assigned_application_slug: str | None = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Provider({self.pk}, {self.name})"


class Application(_Object, frozen=True, kw_only=True):
    """An application. ``slug`` is its key, ``pk`` what bindings name."""

    pk: str
    slug: str
    name: str
    provider: int | None = None
    policy_engine_mode: str = "any"
    group: str = ""
    meta_launch_url: str = ""
    meta_publisher: str = ""
    """Applications have no attributes: this holds our mark."""


class Binding(_Object, frozen=True, kw_only=True):
    """Ties a policy, a group or a user to an application."""

    pk: str
    target: str
    order: int
    enabled: bool = True
    negate: bool = False
    failure_result: bool = False
    policy: str | None = None
    group: str | None = None
    user: int | None = None


class Brand(_Object, frozen=True, kw_only=True):
    """How Authentik looks under one host name."""

    brand_uuid: str
    domain: str
    default: bool = False
    branding_title: str = ""
    branding_logo: str = ""
    branding_custom_css: str = ""
    default_application: str | None = None
    flow_authentication: str | None = None
    flow_invalidation: str | None = None
    flow_recovery: str | None = None
    attributes: dict[str, Any] = {}

    @property
    def mark(self) -> str | None:
        """Whose it is."""
        return self.attributes.get(MARK)


class Keyed(_Object, frozen=True, kw_only=True):
    """Anything of which only the key is needed: a flow, a key pair, a mapping, a policy."""

    pk: str


def suspended_by(user: User) -> str | None:
    """The tenantId whose suspension deactivated this user; None when none did, or somebody activated it since."""
    ours = user.attributes.get("dezky")
    mark = ours.get(SUSPENDED_BY) if isinstance(ours, dict) else None
    return str(mark) if mark else None


def is_platforms_own(user: User) -> bool:
    """Whether no tenant may change this user, whatever group it is in."""
    return user.is_superuser or user.type == "internal_service_account"


def path_of(intent: TenantIntent) -> str:
    """The path of the users that are this tenant's own."""
    return f"dezky/tenants/{intent.slug}"


def owns_user(intent: TenantIntent, user: User) -> bool:
    """Whether the operator made this user for this tenant. Both signs are needed: a path is easily given by hand."""
    return user.path == path_of(intent) and user.attributes.get(USER_TENANT) == str(intent.tenant_id)
