"""What a new server has: the administrator, default flows, built-in mappings, a self-signed key pair, a brand."""

from __future__ import annotations

from typing import Protocol

from tests.sandbox.authentik.kinds import Record

FLOWS = (
    ("default-authentication-flow", "authentication"),
    ("default-invalidation-flow", "invalidation"),
    ("default-provider-authorization-implicit-consent", "authorization"),
    ("default-provider-authorization-explicit-consent", "authorization"),
    ("default-provider-invalidation-flow", "invalidation"),
)
STAGES = (
    "default-authentication-identification",
    "default-authentication-password",
    "default-password-change-prompt",
    "default-password-change-write",
    "default-authentication-login",
)
SCOPES = ("openid", "email", "profile", "offline_access", "entitlements")


class Empty(Protocol):
    """What is furnished."""

    def insert(self, kind: str, fields: Record) -> Record:
        """A new object."""

    def set_key(self, identifier: str, key: str | None) -> None:
        """The secret of a token."""


def furnish(store: Empty, bootstrap_token: str, brand_domain: str) -> Record:
    """Fill an empty store; the administrator. The brand has no recovery flow: whoever needs one sets it."""
    admins = store.insert("group", {"name": "authentik Admins", "is_superuser": True})
    admin = store.insert(
        "user",
        {
            "username": "akadmin",
            "name": "authentik Default Admin",
            "groups": [admins["pk"]],
            "email": "root@authentik.test",
        },
    )
    identifier = "authentik-bootstrap-token"
    store.insert("token", {"identifier": identifier, "intent": "api", "user": admin["pk"], "expiring": False})
    store.set_key(identifier, bootstrap_token)
    flows = {
        slug: store.insert("flow", {"name": slug, "slug": slug, "title": slug, "designation": designation})
        for slug, designation in FLOWS
    }
    for stage in STAGES:
        store.insert("stage", {"name": stage})
    for scope in SCOPES:
        store.insert(
            "scopemapping",
            {
                "name": f"authentik default OAuth Mapping: OpenID '{scope}'",
                "scope_name": scope,
                "expression": "return {}",
                "managed": f"goauthentik.io/providers/oauth2/scope-{scope}",
            },
        )
    store.insert("certificatekeypair", {"name": "authentik Self-signed Certificate"})
    store.insert(
        "brand",
        {
            "domain": brand_domain,
            "default": True,
            "flow_authentication": flows["default-authentication-flow"]["pk"],
            "flow_invalidation": flows["default-invalidation-flow"]["pk"],
        },
    )
    return admin
