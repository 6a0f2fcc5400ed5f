"""What `dezky-operator bootstrap` checks at OCIS. All of it is environment: printed, not changed (design 12)."""

from __future__ import annotations

from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.ocis.perform import require_settable_ids

AUDIT_FILE = "/var/lib/ocis/audit/audit.log"
"""Where OCIS writes its audit records unless told otherwise; the folder has to be there (facts/ocis.md 4.1)."""


def environment(issuer: str, audit_file: str = AUDIT_FILE) -> tuple[str, ...]:
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
        # Without a name here group sync is off since 8.2, and nobody gets into a space.
        "PROXY_AUTOPROVISION_CLAIM_GROUPS=groups",
        "PROXY_ROLE_ASSIGNMENT_DRIVER=oidc",
        "GRAPH_ASSIGN_DEFAULT_USER_ROLE=false",
        "GRAPH_USERNAME_MATCH=none",
        "OCIS_ADMIN_USER_ID=",
        "WEB_OIDC_CLIENT_ID=dezky-ocis",
        "AUDIT_LOG_TO_CONSOLE=false",
        "AUDIT_LOG_TO_FILE=true",
        f"AUDIT_FILEPATH={audit_file}",
        "AUDIT_FORMAT=json",
    )


async def check(client: OcisClient) -> str | None:
    """What is wrong with the operator's way into OCIS; None when nothing is."""
    try:
        await client.me()
        await require_settable_ids(client)
    except IntegrationError as error:
        return str(error)
    return None
