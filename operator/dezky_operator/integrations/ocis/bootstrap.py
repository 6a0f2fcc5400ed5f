"""What `dezky-operator bootstrap` checks at OCIS: all of it is environment, so it is printed, not changed (design 12)."""

from __future__ import annotations

from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.ocis.client import OcisClient


def environment(issuer: str) -> tuple[str, ...]:
    """The variables OCIS has to be started with (facts/ocis.md 2.5, 4.1)."""
    return (
        f"OCIS_OIDC_ISSUER={issuer}",
        "OCIS_EXCLUDE_RUN_SERVICES=idp",
        "OCIS_ADD_RUN_SERVICES=audit",
        "PROXY_OIDC_REWRITE_WELLKNOWN=true",
        "PROXY_AUTOPROVISION_ACCOUNTS=true",
        "PROXY_USER_OIDC_CLAIM=preferred_username",
        "PROXY_USER_CS3_CLAIM=username",
        "PROXY_AUTOPROVISION_CLAIM_USERNAME=preferred_username",
        "PROXY_AUTOPROVISION_CLAIM_EMAIL=email",
        "PROXY_AUTOPROVISION_CLAIM_DISPLAYNAME=name",
        "PROXY_AUTOPROVISION_CLAIM_GROUPS=groups",
        "PROXY_ROLE_ASSIGNMENT_DRIVER=oidc",
        "GRAPH_ASSIGN_DEFAULT_USER_ROLE=false",
        "GRAPH_USERNAME_MATCH=none",
        "OCIS_ADMIN_USER_ID=",
    )


async def check(client: OcisClient) -> str | None:
    """What is wrong with the operator's way into OCIS; None when nothing is."""
    try:
        await client.me()
    except IntegrationError as error:
        return str(error)
    return None
