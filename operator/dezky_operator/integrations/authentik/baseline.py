"""What `dezky-operator bootstrap` made once and every tenant builds on (design 12)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import Brand, Group, Keyed
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.steps import System

TENANTS = "dezky-tenants"
PLATFORM_ADMINS = "dezky-platform-admins"
SIGNING_KEY = "dezky-signing"
CLAIM_MAPPING = "dezky: tenant claim"
DENY_POLICY = "dezky: deny suspended"
BUILT_IN_SCOPES = ("openid", "email", "profile", "offline_access")
AUTHORIZATION_FLOW = "default-provider-authorization-implicit-consent"
INVALIDATION_FLOW = "default-provider-invalidation-flow"
AUTHENTIK_LOGO = "/static/dist/assets/icons/icon_left_brand.svg"
"""What a brand shows when nobody ever chose a logo: the field's own default, which can not be asked for by leaving the
field empty (Authentik 2026.5 to 2026.8).
"""


class OtherInstallation(Rejected):
    """This Authentik was bootstrapped for another installation: this operator must not work with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Keys of the shared objects."""

    tenants_group: str
    platform_admins: str | None
    authorization_flow: str
    invalidation_flow: str
    signing_key: str
    mappings: tuple[str, ...]
    deny_policy: str
    brand_flows: tuple[tuple[str, str | None], ...]
    """Fields and flows of the default brand: a tenant's brand needs the same, or nobody can sign in under its host."""
    logo: str = AUTHENTIK_LOGO
    """The logo of the default brand: what a tenant without a logo of its own shows."""


async def read_baseline(client: AuthentikClient, installation_id: str) -> Baseline:
    """Look the shared objects up. Raises Rejected when one is missing or belongs to another installation."""
    (tenants, admins, brands), (authorization, invalidation), (key, policy), (claim, *scopes) = await asyncio.gather(
        asyncio.gather(
            client.find("/core/groups/", Group, op="group.find", name=TENANTS, include_users="false"),
            client.find("/core/groups/", Group, op="group.find", name=PLATFORM_ADMINS, include_users="false"),
            client.find("/core/brands/", Brand, op="brand.find", default="true"),
        ),
        asyncio.gather(
            client.get(f"/flows/instances/{AUTHORIZATION_FLOW}/", Keyed, op="flow.get"),
            client.get(f"/flows/instances/{INVALIDATION_FLOW}/", Keyed, op="flow.get"),
        ),
        asyncio.gather(
            client.find("/crypto/certificatekeypairs/", Keyed, op="key.find", name=SIGNING_KEY),
            client.find("/policies/expression/", Keyed, op="policy.find", name=DENY_POLICY),
        ),
        asyncio.gather(
            _mapping(client, name=CLAIM_MAPPING),
            *(_mapping(client, managed=f"goauthentik.io/providers/oauth2/scope-{scope}") for scope in BUILT_IN_SCOPES),
        ),
    )
    group = next((group for group in tenants if group.name == TENANTS), None)
    _check_installation(group, installation_id)
    default = next((brand for brand in brands if brand.default), None)
    return Baseline(
        tenants_group=_pk(group, f"group {TENANTS}"),
        platform_admins=next((found.pk for found in admins if found.name == PLATFORM_ADMINS), None),
        authorization_flow=_pk(authorization, f"flow {AUTHORIZATION_FLOW}"),
        invalidation_flow=_pk(invalidation, f"flow {INVALIDATION_FLOW}"),
        signing_key=_pk(_only(key), f"key pair {SIGNING_KEY}"),
        mappings=(
            *(
                _pk(_only(found), f"scope mapping {scope}")
                for scope, found in zip(BUILT_IN_SCOPES, scopes, strict=True)
            ),
            _pk(_only(claim), f"scope mapping {CLAIM_MAPPING}"),
        ),
        deny_policy=_pk(_only(policy), f"policy {DENY_POLICY}"),
        brand_flows=_flows(default),
        logo=default.branding_logo if default and default.branding_logo else AUTHENTIK_LOGO,
    )


def _flows(brand: Brand | None) -> tuple[tuple[str, str | None], ...]:
    if brand is None:
        return ()
    return (
        ("flow_authentication", brand.flow_authentication),
        ("flow_invalidation", brand.flow_invalidation),
        ("flow_recovery", brand.flow_recovery),
    )


async def _mapping(client: AuthentikClient, **filters: str) -> list[Keyed]:
    return await client.find("/propertymappings/provider/scope/", Keyed, op="mapping.find", **filters)


def _only(found: list[Keyed]) -> Keyed | None:
    return found[0] if len(found) == 1 else None


def _pk(found: Group | Keyed | None, what: str) -> str:
    if found is None:
        raise Rejected(
            System.AUTHENTIK, f"Authentik has no {what}. Run `dezky-operator bootstrap` once; it makes what is missing."
        )
    return found.pk


def _check_installation(group: Group | None, installation_id: str) -> None:
    """Two operators with different ids on one Authentik would each treat the other's tenants as foreign."""
    if group is not None and group.mark != f"dezky:{installation_id}:platform":
        raise OtherInstallation(
            System.AUTHENTIK,
            f"Group {TENANTS} in Authentik belongs to another installation ({group.mark or 'no mark'}), expected "
            f"dezky:{installation_id}:platform. Set installationId to the one it was bootstrapped with.",
        )
