"""Authentik's objects: their fields, defaults, unique keys and filters (facts/authentik.md 3)."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One collection. ``defaults`` is what the serializer fills in, on POST and on PUT alike: so a PUT wipes."""

    name: str
    path: str
    app: str
    key: str = "pk"
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    unique: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    new_key: Callable[[int], Any] = lambda _: str(uuid.uuid4())


def _number(n: int) -> int:
    return n


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="group",
            path="core/groups",
            app="authentik_core",
            required=("name",),
            defaults={"is_superuser": False, "parents": [], "users": [], "attributes": {}, "roles": []},
            unique=("name",),
            filters=("name", "is_superuser"),
        ),
        Kind(
            name="user",
            path="core/users",
            app="authentik_core",
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
            unique=("username",),
            filters=("username", "email", "path", "is_active", "uuid", "type"),
            read_only=("is_superuser", "uuid", "uid", "groups_obj"),
            new_key=_number,
        ),
        Kind(
            name="oauth2provider",
            path="providers/oauth2",
            app="authentik_providers_oauth2",
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
            filters=("name", "client_id", "sub_mode", "issuer_mode", "client_type"),
            read_only=("assigned_application_slug", "assigned_application_name"),
            new_key=_number,
        ),
        Kind(
            name="application",
            path="core/applications",
            app="authentik_core",
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
            read_only=("pk",),
            filters=("name", "slug", "group"),
        ),
        Kind(
            name="policybinding",
            path="policies/bindings",
            app="authentik_policies",
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
            filters=("target", "policy", "group", "enabled", "order"),
        ),
        Kind(
            name="expressionpolicy",
            path="policies/expression",
            app="authentik_policies_expression",
            required=("name", "expression"),
            defaults={"execution_logging": False},
            unique=("name",),
            filters=("name",),
        ),
        Kind(
            name="scopemapping",
            path="propertymappings/provider/scope",
            app="authentik_providers_oauth2",
            required=("name", "scope_name", "expression"),
            defaults={"description": "", "managed": None},
            unique=("name",),
            filters=("name", "scope_name", "managed"),
        ),
        Kind(
            name="certificatekeypair",
            path="crypto/certificatekeypairs",
            app="authentik_crypto",
            required=("name",),
            defaults={"managed": None},
            unique=("name",),
            filters=("name", "managed"),
        ),
        Kind(
            name="brand",
            path="core/brands",
            app="authentik_brands",
            key="brand_uuid",
            required=("domain",),
            defaults={
                "default": False,
                "branding_title": "authentik",
                "branding_logo": "/static/dist/assets/icons/icon_left_brand.svg",
                "branding_favicon": "/static/dist/assets/icons/icon.png",
                "branding_custom_css": "",
                "branding_default_flow_background": "/static/dist/assets/images/flow_background.jpg",
                "flow_authentication": None,
                "flow_invalidation": None,
                "flow_recovery": None,
                "flow_unenrollment": None,
                "flow_user_settings": None,
                "flow_device_code": None,
                "default_application": None,
                "web_certificate": None,
                "client_certificates": [],
                "attributes": {},
            },
            unique=("domain",),
            filters=("domain", "default"),
        ),
        Kind(
            name="flow",
            path="flows/instances",
            app="authentik_flows",
            key="slug",
            required=("name", "slug", "title", "designation"),
            defaults={
                "policy_engine_mode": "any",
                "layout": "stacked",
                "authentication": "none",
                "denied_action": "message_continue",
            },
            unique=("slug",),
            filters=("slug", "designation"),
            read_only=("pk",),
        ),
        Kind(
            name="stage",
            path="stages/all",
            app="authentik_flows",
            required=("name",),
            unique=("name",),
            filters=("name",),
        ),
        Kind(
            name="flowstagebinding",
            path="flows/bindings",
            app="authentik_flows",
            required=("target", "stage", "order"),
            filters=("target", "stage"),
        ),
        Kind(
            name="token",
            path="core/tokens",
            app="authentik_core",
            key="identifier",
            required=("identifier",),
            defaults={"intent": "api", "user": None, "expiring": True, "expires": None, "description": ""},
            unique=("identifier",),
            filters=("identifier", "intent", "user__username"),
            read_only=("pk",),
        ),
        Kind(
            name="role",
            path="rbac/roles",
            app="authentik_rbac",
            required=("name",),
            unique=("name",),
            filters=("name",),
        ),
        Kind(
            name="initialpermissions",
            path="rbac/initial_permissions",
            app="authentik_rbac",
            required=("name", "mode", "role", "permissions"),
            unique=("name",),
            filters=("name",),
            new_key=_number,
        ),
    )
}


def client_secret() -> str:
    """A generated client secret, 128 characters as Authentik makes them."""
    return secrets.token_urlsafe(96)[:128]
