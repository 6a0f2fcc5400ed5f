"""What Authentik must have for a tenant (facts/authentik.md 10, design 12). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.model import RedirectUri
from dezky_operator.integrations.intent import Admin, Brand, Phase, TenantIntent

ACCESS_VALIDITY = "minutes=10"
REFRESH_VALIDITY = "days=30"
GRANT_TYPES = ("authorization_code", "refresh_token")
"""Always sent: the default over the API is none, and then nothing works (facts/authentik.md 0.3)."""
LOCKED_GRANT_TYPES = ("authorization_code",)
"""Without the refresh grant every refresh token of the application pauses at once (facts/authentik.md 11.1)."""
USERS_ORDER = 0
DENY_ORDER = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredProvider:
    """The tenant's own OAuth2 provider."""

    authorization_flow: str
    invalidation_flow: str
    signing_key: str
    property_mappings: frozenset[str]
    redirect_uris: tuple[RedirectUri, ...]
    grant_types: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The desired state in the intent's phase. ``exists`` is False when everything of the tenant must be gone.

    ``denied``: the deny policy applies, so nobody of the tenant gets in.
    """

    exists: bool
    denied: bool
    under_tenants: bool
    launch_url: str
    provider: DesiredProvider
    brand: Brand | None
    admin: Admin | None


def desired(intent: TenantIntent, baseline: Baseline) -> Desired:
    """What must be there in ``intent.phase``."""
    locked = intent.locked
    home = f"https://{intent.slug}.{intent.base_domain}"
    return Desired(
        exists=intent.phase is not Phase.PURGED,
        denied=locked,
        under_tenants=not locked,
        launch_url=f"{home}/",
        provider=DesiredProvider(
            authorization_flow=baseline.authorization_flow,
            invalidation_flow=baseline.invalidation_flow,
            signing_key=baseline.signing_key,
            property_mappings=frozenset(baseline.mappings),
            redirect_uris=(
                RedirectUri(url=f"{home}/auth/callback"),
                RedirectUri(url=f"{home}/", redirect_uri_type="logout"),
            ),
            grant_types=frozenset(LOCKED_GRANT_TYPES if locked else GRANT_TYPES),
        ),
        brand=intent.brand,
        admin=intent.admin,
    )


def users_attributes(intent: TenantIntent, role: str) -> dict[str, str]:
    """The attributes of a group of ours. Foreign keys beside them are kept."""
    return {
        "dezky.eu/mark": f"{intent.mark}:{role}",
        "dezky.eu/tenant": intent.slug,
        "dezky.eu/managed-by": "dezky-operator",
    }
