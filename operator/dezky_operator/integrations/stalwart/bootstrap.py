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
from dezky_operator.integrations.stalwart.model import Account, Authentication, Domain, Role, SystemSettings
from dezky_operator.integrations.steps import System

OPERATOR = "dezky-operator"
KINDS = ("Domain", "DkimSignature", "Role", "Account", "MailingList", "WebHook", "MtaInboundThrottle")
RIGHTS = (
    *(f"sys{kind}{act}" for kind in KINDS for act in ("Get", "Create", "Update", "Destroy", "Query")),
    "sysActionCreate",
    "actionReloadSettings",
    "sysAuthenticationGet",
    "sysSystemSettingsGet",
)
"""Enough for everything a tenant needs, and no `impersonate`, which reads all mail (facts/stalwart.md 11.10)."""
MINUTE = 60_000
"""Milliseconds, as Stalwart counts a period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the installation wants.

    Attributes:
        installation_id: for the mark on the operator's role.
        networks: the operator's source addresses, as address or CIDR.
        issuer: of the tokens people sign in to mail with; None leaves sign-in alone.
        audience: what those tokens must be made for.
        requests_per_minute: what one authenticated user must at least be allowed. 4 requests at once are all that
            Stalwart takes, at about 3 ms each.
        key_kept: False when the daily key of an earlier run was lost: it is then replaced.
    """

    installation_id: str
    networks: Sequence[str] = ()
    issuer: str | None = None
    audience: str = "dezky-mail"
    requests_per_minute: int = 60_000
    key_kept: bool = True


@dataclass(slots=True)
class Result:
    """What was done, for a person, and the daily key when a new one was made. ``repr`` does not show it."""

    lines: list[str] = field(default_factory=list)
    key: str = field(default="", repr=False)


class _SignIn(Authentication, frozen=True, kw_only=True, rename="camel"):
    directory_id: str | None = None


class _Rate(msgspec.Struct, frozen=True, kw_only=True):
    count: int = 0
    period: int = MINUTE


class _Http(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    rate_limit_authenticated: _Rate | None = None


class _Key(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    id: str
    description: str | None = None
    account_id: str | None = None
    """Only some versions tell."""


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
        self._settings_changed = False

    async def run(self) -> Result:
        """Make what is missing. Raises IntegrationError; run again after mending what it names."""
        await self._allow_networks()
        await self._directory()
        await self._rate_limit()
        await self._reload()
        role = await self._role()
        account = await self._account(role)
        await self._key(account)
        return self._result

    async def _reload(self) -> None:
        """Settings are only stored until then (facts/stalwart.md 2.2)."""
        if self._settings_changed:
            await self._client.create("Action", {"@type": "ReloadSettings"})
            self._settings_changed = False

    async def _allow_networks(self) -> None:
        """First of all: a hundred wrong passwords from one address ban it, and with it every pod of the node."""
        have = {network.address for network in await self._client.every("AllowedIp", _Network)}
        for address in self._plan.networks:
            if address not in have:
                await self._client.create("AllowedIp", {"address": address, "reason": OPERATOR})
                self._settings_changed = True
                self._result.lines.append(f"allowed {address}")
        await self._reload()

    async def _directory(self) -> None:
        """People sign in to mail with Authentik's tokens. A directory that somebody else set is not replaced."""
        if self._plan.issuer is None:
            return
        directories = await self._client.every("Directory", _Directory)
        ours = next((one.id for one in directories if one.issuer_url == self._plan.issuer), None)
        current = (await self._client.singleton("Authentication", _SignIn)).directory_id
        if current is not None and current != ours:
            raise Rejected(
                System.STALWART,
                f"Stalwart signs people in through directory {current}, not through {self._plan.issuer}. It is not "
                "touched. Clear the directory under Settings, Authentication, then run this again.",
            )
        if ours is None:
            ours = await self._new_directory(self._plan.issuer)
        if current is None:
            await self._client.patch("Authentication", "singleton", {"directoryId": ours})
            self._settings_changed = True
            self._result.lines.append("people sign in through it")

    async def _new_directory(self, issuer: str) -> str:
        body = {
            "@type": "Oidc",
            "issuerUrl": issuer,
            "requireAudience": self._plan.audience,
            "requireScopes": {"openid": True, "email": True},
            "claimUsername": "preferred_username",
            "claimGroups": "groups",
        }
        made = await self._client.create("Directory", body)
        self._settings_changed = True
        self._result.lines.append(f"made directory of {issuer}")
        return str(made["id"])

    async def _rate_limit(self) -> None:
        """The operator is an ordinary user to Stalwart: 1,000 requests a minute, unless told otherwise (11.11)."""
        limit = (await self._client.singleton("Http", _Http)).rate_limit_authenticated
        wanted = self._plan.requests_per_minute
        if limit is None or limit.count * MINUTE >= wanted * limit.period:
            return
        await self._client.patch("Http", "singleton", {"rateLimitAuthenticated": {"count": wanted, "period": MINUTE}})
        self._settings_changed = True
        self._result.lines.append(f"raised the rate limit of authenticated users to {wanted} requests a minute")

    async def _role(self) -> str:
        """The operator's role; rights that a new version needs are added."""
        mark = f"dezky:{self._plan.installation_id}:platform"
        # Without the ordinary user's role as parent it could not give anybody an ordinary user's rights.
        parents = (await self._client.singleton("Authentication", Authentication)).default_user_role_ids
        rights = dict.fromkeys(RIGHTS, True)
        ids = await self._client.query("Role", {"description": mark})
        for role in await self._client.get("Role", ids, Role):
            if role.description == mark:
                if role.role_ids != parents or role.enabled_permissions != rights or role.disabled_permissions:
                    patch = {"roleIds": parents, "enabledPermissions": rights, "disabledPermissions": {}}
                    await self._client.patch("Role", role.id, patch)
                    self._result.lines.append("put the operator's role right")
                return role.id
        body: Mapping[str, Any] = {
            "description": mark,
            "roleIds": parents,
            "enabledPermissions": rights,
            "disabledPermissions": {},
        }
        self._result.lines.append("made role of the operator")
        return str((await self._client.create("Role", body))["id"])

    async def _account(self, role: str) -> str:
        """The service account. One of this name with other roles is somebody's: a key of it would be his."""
        settings = await self._client.singleton("SystemSettings", SystemSettings)
        domain = settings.default_domain_id
        if domain is None or not await self._client.get("Domain", [domain], Domain):
            raise Rejected(System.STALWART, "Stalwart has no default domain; finish its setup first.")
        ids = await self._client.query("Account", {"name": OPERATOR, "domainId": domain})
        for account in await self._client.get("Account", ids, Account):
            if account.roles.role_ids != {role: True}:
                raise Rejected(
                    System.STALWART,
                    f"Stalwart's account {OPERATOR} exists with other roles than the operator's. Remove or rename it.",
                )
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
        for key in await self._client.every("ApiKey", _Key, account=account):
            if key.description != OPERATOR or key.account_id not in {None, account}:
                continue
            if self._plan.key_kept:
                return
            await self._client.destroy("ApiKey", key.id, account=account)
            self._result.lines.append("removed a key that nobody has")
        body = {"description": OPERATOR, "permissions": {"@type": "Inherit"}, "allowedIps": {}}
        made = await self._client.create("ApiKey", body, account=account)
        self._result.key = str(made["secret"])
        self._result.lines.append("made the operator's key")
