"""What `dezky-operator bootstrap` makes once in Stalwart (design 12). Every step finds before it makes: repeatable.

Runs with an administrator's credential that is not kept. The first thing it does is to keep the operator's own network
from being banned; what it makes for every day is a key that can not read mail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.model import Account, Authentication, Domain, Role
from dezky_operator.integrations.steps import System

OPERATOR = "dezky-operator"
KINDS = ("Domain", "DkimSignature", "Role", "Account", "MailingList", "WebHook", "MtaInboundThrottle")
RIGHTS = (
    *(f"sys{kind}{act}" for kind in KINDS for act in ("Get", "Create", "Update", "Destroy", "Query")),
    "sysActionCreate",
    "actionReloadSettings",
    "sysAuthenticationGet",
)
"""Enough for everything a tenant needs, and no `impersonate`, which reads all mail (facts/stalwart.md 11.10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the installation wants. ``networks`` are the operator's source addresses, ``issuer`` that of mail's sign-in."""

    installation_id: str
    networks: Sequence[str] = ()
    issuer: str | None = None
    audience: str = "dezky-mail"


@dataclass(slots=True)
class Result:
    """What was done, for a person, and the daily key when a new one was made. ``repr`` does not show it."""

    lines: list[str] = field(default_factory=list)
    key: str = field(default="", repr=False)


class _Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    default_domain_id: str | None = None


class _Key(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    description: str | None = None
    account_id: str | None = None


class _Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    address: str = ""


class _Directory(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    issuer_url: str | None = None


class StalwartBootstrap:
    """Prepares one Stalwart for one installation."""

    def __init__(self, client: StalwartClient, plan: Plan) -> None:
        self._client, self._plan = client, plan
        self._result = Result()

    async def run(self) -> Result:
        """Make what is missing. Raises IntegrationError; run again after mending what it names."""
        await self._allow_networks()
        await self._directory()
        role = await self._role()
        account = await self._account(role)
        await self._key(account)
        return self._result

    async def _allow_networks(self) -> None:
        """First of all: a hundred wrong passwords from one address ban it, and with it every pod of the node."""
        have = {network.address for network in await self._all("AllowedIp", _Network)}
        missing = [address for address in self._plan.networks if address not in have]
        for address in missing:
            await self._client.create("AllowedIp", {"address": address, "reason": OPERATOR})
            self._result.lines.append(f"allowed {address}")
        if missing:
            await self._client.create("Action", {"@type": "ReloadSettings"})

    async def _directory(self) -> None:
        """People sign in to mail with Authentik's tokens."""
        if self._plan.issuer is None:
            return
        found = await self._all("Directory", _Directory)
        directory = next((one for one in found if one.issuer_url == self._plan.issuer), None)
        if directory is None:
            body = {
                "@type": "Oidc",
                "issuerUrl": self._plan.issuer,
                "requireAudience": self._plan.audience,
                "requireScopes": {"openid": True, "email": True},
                "claimUsername": "preferred_username",
                "claimGroups": "groups",
            }
            made = await self._client.create("Directory", body)
            await self._client.patch("Authentication", "singleton", {"directoryId": made["id"]})
            await self._client.create("Action", {"@type": "ReloadSettings"})
            self._result.lines.append(f"made directory of {self._plan.issuer}")

    async def _role(self) -> str:
        mark = f"dezky:{self._plan.installation_id}:platform"
        ids = await self._client.query("Role", {"description": mark})
        for role in await self._client.get("Role", ids, Role):
            if role.description == mark:
                return role.id
        parents = (await self._client.singleton("Authentication", Authentication)).default_user_role_ids
        body: Mapping[str, Any] = {
            "description": mark,
            # Without the ordinary user's role as parent it could not give anybody an ordinary user's rights.
            "roleIds": parents,
            "enabledPermissions": dict.fromkeys(RIGHTS, True),
            "disabledPermissions": {},
        }
        self._result.lines.append("made role of the operator")
        return str((await self._client.create("Role", body))["id"])

    async def _account(self, role: str) -> str:
        settings = await self._client.singleton("SystemSettings", _Settings)
        domain = settings.default_domain_id
        if domain is None or not await self._client.get("Domain", [domain], Domain):
            raise Rejected(System.STALWART, "Stalwart has no default domain; finish its setup first.")
        ids = await self._client.query("Account", {"name": OPERATOR, "domainId": domain})
        for account in await self._client.get("Account", ids, Account):
            return account.id
        body = {
            "@type": "User",
            "name": OPERATOR,
            "domainId": domain,
            "description": "Dezky operator",
            "roles": {"@type": "Custom", "roleIds": {role: True}},
            "permissions": {"@type": "Inherit"},
            "encryptionAtRest": {"@type": "Disabled"},
        }
        self._result.lines.append(f"made account {OPERATOR}")
        return str((await self._client.create("Account", body))["id"])

    async def _key(self, account: str) -> None:
        """A key is shown once: when there is one already, the Secret has it, and it is left alone."""
        for key in await self._all("ApiKey", _Key):
            if key.description == OPERATOR and key.account_id in {None, account}:
                return
        body = {"description": OPERATOR, "permissions": {"@type": "Inherit"}, "allowedIps": {}}
        made = await self._client.create("ApiKey", body, account=account)
        self._result.key = str(made["secret"])
        self._result.lines.append("made the operator's key")

    async def _all(self, kind: str, shape: type[Any]) -> list[Any]:
        """Types without an index are listed whole; there are few of them."""
        return await self._client.every(kind, shape)
