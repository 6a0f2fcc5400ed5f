"""Authentik's objects: their fields, defaults, unique keys, references and filters (facts/authentik.md 3)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One collection.

    ``defaults`` fill a new object. ``wiped`` are the fields whose serializer has a default of its own, so that a PUT
    without them empties them; a PUT leaves every other field that is not sent as it is (facts/authentik.md 0.6).
    ``lookup`` are unique fields that are looked up but never sent. ``references`` name the kind a field points to.
    """

    name: str
    path: str
    app: str
    label: str = ""
    key: str = "pk"
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    wiped: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    lookup: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    references: dict[str, str] = field(default_factory=dict)
    new_key: Callable[[int], Any] = lambda _: str(uuid.uuid4())

    def right(self, action: str) -> str:
        """The permission for an action: ``authentik_core.view_group``."""
        return f"{self.app}.{action}_{self.name}"


def _number(n: int) -> int:
    return n


BRAND_FLOWS = tuple(
    f"flow_{name}"
    for name in (
        "authentication", "invalidation", "recovery", "unenrollment", "user_settings", "device_code", "lockdown",
        "user_switch", "request",
    )
)  # fmt: skip

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="group",
            path="core/groups",
            app="authentik_core",
            label="Group",
            required=("name",),
            defaults={"is_superuser": False, "parents": [], "users": [], "attributes": {}, "roles": []},
            wiped=("users",),
            unique=("name",),
            indexed=("parents",),
            filters=("name", "is_superuser"),
            read_only=("pk", "num_pk"),
            references={"parents": "group", "users": "user", "roles": "role"},
        ),
        Kind(
            name="user",
            path="core/users",
            app="authentik_core",
            label="User",
            required=("username", "name"),
            defaults={
                "is_active": True,
                "groups": [],
                "roles": [],
                "email": "",
                "attributes": {},
                "path": "users",
                "type": "internal",
                "last_login": None,
            },
            wiped=("groups",),
            unique=("username",),
            lookup=("uuid",),
            indexed=("path",),
            filters=("username", "email", "name", "path", "is_active", "uuid", "type"),
            read_only=("pk", "is_superuser", "uuid", "uid", "date_joined"),
            references={"groups": "group", "roles": "role"},
            new_key=_number,
        ),
        Kind(
            name="oauth2provider",
            path="providers/oauth2",
            app="authentik_providers_oauth2",
            label="OAuth2/OpenID Provider",
            required=("name", "authorization_flow", "invalidation_flow", "redirect_uris"),
            defaults={
                "authentication_flow": None,
                "property_mappings": [],
                "client_type": "confidential",
                "grant_types": [],
                "access_code_validity": "minutes=1",
                "access_token_validity": "hours=1",
                "refresh_token_validity": "days=30",
                "refresh_token_threshold": "seconds=0",
                "include_claims_in_id_token": True,
                "signing_key": None,
                "encryption_key": None,
                "logout_uri": "",
                "logout_method": "backchannel",
                "sub_mode": "hashed_user_id",
                "issuer_mode": "per_provider",
                "jwt_federation_sources": [],
                "jwt_federation_providers": [],
            },
            unique=("name", "client_id"),
            indexed=("signing_key",),
            filters=("name", "client_id", "sub_mode", "issuer_mode", "client_type"),
            read_only=("pk", "assigned_application_slug", "assigned_application_name"),
            references={
                "authentication_flow": "flow",
                "authorization_flow": "flow",
                "invalidation_flow": "flow",
                "property_mappings": "scopemapping",
                "signing_key": "certificatekeypair",
                "encryption_key": "certificatekeypair",
            },
            new_key=_number,
        ),
        Kind(
            name="application",
            path="core/applications",
            app="authentik_core",
            label="Application",
            key="slug",
            required=("name", "slug"),
            defaults={
                "provider": None,
                "backchannel_providers": [],
                "open_in_new_tab": False,
                "meta_launch_url": "",
                "meta_icon": "",
                "meta_description": "",
                "meta_publisher": "",
                "policy_engine_mode": "any",
                "group": "",
                "meta_hide": False,
            },
            unique=("slug", "provider"),
            lookup=("pk",),
            filters=("name", "slug", "group", "meta_launch_url", "meta_description", "meta_publisher"),
            read_only=("pk",),
            references={"provider": "oauth2provider"},
        ),
        Kind(
            name="policybinding",
            path="policies/bindings",
            app="authentik_policies",
            label="PolicyBinding",
            required=("target", "order"),
            defaults={
                "policy": None,
                "group": None,
                "user": None,
                "enabled": True,
                "negate": False,
                "timeout": 30,
                "failure_result": False,
            },
            indexed=("target", "policy", "group", "user"),
            filters=("target", "policy", "group", "enabled", "order"),
            read_only=("pk",),
            references={"target": "application", "policy": "expressionpolicy", "group": "group", "user": "user"},
        ),
        Kind(
            name="expressionpolicy",
            path="policies/expression",
            app="authentik_policies_expression",
            label="ExpressionPolicy",
            required=("name", "expression"),
            defaults={"execution_logging": False},
            unique=("name",),
            filters=("name",),
            read_only=("pk",),
        ),
        Kind(
            name="scopemapping",
            path="propertymappings/provider/scope",
            app="authentik_providers_oauth2",
            label="ScopeMapping",
            required=("name", "scope_name", "expression"),
            defaults={"description": "", "managed": None},
            unique=("name",),
            indexed=("managed",),
            filters=("name", "scope_name", "managed"),
            read_only=("pk",),
        ),
        Kind(
            name="certificatekeypair",
            path="crypto/certificatekeypairs",
            app="authentik_crypto",
            label="CertificateKeyPair",
            required=("name",),
            defaults={"managed": None, "key_type": "rsa"},
            unique=("name",),
            filters=("name", "managed"),
            read_only=("pk",),
        ),
        Kind(
            name="brand",
            path="core/brands",
            app="authentik_brands",
            label="Brand",
            key="brand_uuid",
            required=("domain",),
            defaults={
                "default": False,
                "branding_title": "authentik",
                "branding_logo": "/static/dist/assets/icons/icon_left_brand.svg",
                "branding_favicon": "/static/dist/assets/icons/icon.png",
                "branding_custom_css": "",
                "branding_default_flow_background": "/static/dist/assets/images/flow_background.jpg",
                **dict.fromkeys(BRAND_FLOWS),
                "default_application": None,
                "web_certificate": None,
                "client_certificates": [],
                "attributes": {},
            },
            unique=("domain",),
            indexed=("domain",),  # the database does not know that it is unique: a race makes two
            filters=("domain", "default", "brand_uuid"),
            read_only=("pk", "brand_uuid"),
            references={
                **dict.fromkeys(BRAND_FLOWS, "flow"),
                "default_application": "application",
                "web_certificate": "certificatekeypair",
            },
        ),
        Kind(
            name="flow",
            path="flows/instances",
            app="authentik_flows",
            label="Flow",
            key="slug",
            required=("name", "slug", "title", "designation"),
            defaults={
                "policy_engine_mode": "any",
                "compatibility_mode": False,
                "layout": "stacked",
                "authentication": "none",
                "denied_action": "message_continue",
            },
            unique=("slug",),
            lookup=("pk",),
            filters=("slug", "designation", "name"),
            read_only=("pk",),
        ),
        Kind(
            name="stage",
            path="stages/all",
            app="authentik_flows",
            label="Stage",
            required=("name",),
            unique=("name",),
            filters=("name",),
            read_only=("pk",),
        ),
        Kind(
            name="flowstagebinding",
            path="flows/bindings",
            app="authentik_flows",
            label="FlowStageBinding",
            required=("target", "stage", "order"),
            filters=("target", "stage", "order"),
            read_only=("pk",),
            references={"target": "flow", "stage": "stage"},
        ),
        Kind(
            name="token",
            path="core/tokens",
            app="authentik_core",
            label="Token",
            key="identifier",
            required=("identifier",),
            defaults={
                "intent": "api",
                "user": None,
                "expiring": True,
                "expires": None,
                "description": "",
                "managed": None,
            },
            unique=("identifier",),
            indexed=("user",),
            filters=("identifier", "intent", "user__username"),
            read_only=("pk",),
            references={"user": "user"},
        ),
        Kind(
            name="role",
            path="rbac/roles",
            app="authentik_rbac",
            label="Role",
            required=("name",),
            unique=("name",),
            filters=("name",),
            read_only=("pk",),
        ),
        Kind(
            name="initialpermissions",
            path="rbac/initial_permissions",
            app="authentik_rbac",
            label="InitialPermissions",
            required=("name", "role"),
            defaults={"permissions": []},
            unique=("name",),
            indexed=("role",),
            filters=("name",),
            read_only=("pk",),
            references={"role": "role"},
            new_key=_number,
        ),
    )
}


def client_secret() -> str:
    """A generated client secret, 128 characters as Authentik makes them."""
    return secrets.token_urlsafe(96)[:128]
