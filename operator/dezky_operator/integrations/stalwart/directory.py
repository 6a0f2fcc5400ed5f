"""Addresses of Stalwart's accounts by their ids (facts/stalwart.md 11.0.8)."""

from __future__ import annotations

from collections.abc import Sequence

from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.model import Account, Domain


async def addresses(client: StalwartClient, ids: Sequence[str] | None = None) -> dict[str, str]:
    """Address by account id, of these accounts that are there; None: of all. Raises IntegrationError."""
    wanted = await client.query("Account", {}) if ids is None else list(ids)
    accounts = await client.get("Account", wanted, Account, ("@type", "name", "domainId"))
    of = sorted({account.domain_id for account in accounts if account.domain_id})
    domains = {domain.id: domain.name for domain in await client.get("Domain", of, Domain, ("name",))}
    found = ((account.id, account.name, domains.get(account.domain_id)) for account in accounts)
    return {key: f"{name}@{domain}".lower() for key, name, domain in found if domain}
