"""Carries out single steps in Stalwart. Each is safe to repeat after a crash at any point."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import AlreadyExists, Rejected
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.stalwart.hold import as_wanted
from dezky_operator.integrations.stalwart.model import Account, DkimKey, Domain, Role, Throttle
from dezky_operator.integrations.steps import Step, System, Verb

Perform = Callable[[Step], Awaitable[Outputs]]
KINDS = {"role": "Role", "domain": "Domain", "dkim": "DkimSignature", "account": "Account", "list": "MailingList",
         "throttle": "MtaInboundThrottle"}  # fmt: skip


class StalwartPerformer:
    """Performs the steps that :mod:`plan` makes. RSA keys are made in ``executor``: one costs 33 ms of CPU."""

    def __init__(self, client: StalwartClient, executor: Executor | None) -> None:
        self._client, self._executor = client, executor
        self._creates: Mapping[str, Perform] = {
            "role": self._create_role,
            "domain": self._create_domain,
            "dkim": self._create_key,
            "account": self._create_account,
            "throttle": self._create_throttle,
            "password": self._create_password,
        }

    async def perform(self, step: Step) -> Outputs:
        """Do what ``step`` says. Raises IntegrationError."""
        if step.verb is Verb.CREATE:
            return await self._creates[step.kind](step)
        target = str(step.target)
        if step.kind == "settings":
            return await self._reload()
        if step.verb is Verb.DELETE:
            await self._client.destroy(KINDS[step.kind], target)
        else:
            await self._client.patch(KINDS[step.kind], target, _body(step))
        return {"id": target}

    async def _create_role(self, step: Step) -> Outputs:
        """A role's description is not unique: one from a crash must be looked for before another is made."""
        body = _body(step)
        ids = await self._client.query("Role", {"description": body["description"]})
        for role in await self._client.get("Role", ids, Role):
            if role.description == body["description"]:
                return {"id": role.id}
        return {"id": str((await self._client.create("Role", body))["id"])}

    async def _create_domain(self, step: Step) -> Outputs:
        body = _body(step)
        try:
            return {"id": str((await self._client.create("Domain", body))["id"])}
        except AlreadyExists as error:
            found = await self._client.get("Domain", [error.existing_id or ""], Domain)
            if not found or found[0].description != body["description"] or found[0].name != body["name"]:
                raise
            return {"id": found[0].id}

    async def _create_key(self, step: Step) -> Outputs:
        """Selectors are not unique either: two keys of one name would make one of the two signatures wrong."""
        body = _body(step)
        ids = await self._client.query("DkimSignature", {"domainId": body["domainId"]})
        for key in await self._client.get("DkimSignature", ids, DkimKey, ("@type", "domainId", "selector", "stage")):
            if key.selector == body["selector"]:
                return {"id": key.id}
        loop = asyncio.get_running_loop()
        pem = await loop.run_in_executor(self._executor, private_key, str(body["@type"]))
        created = await self._client.create("DkimSignature", {**body, "privateKey": {"@type": "Text", "secret": pem}})
        return {"id": str(created["id"])}

    async def _create_account(self, step: Step) -> Outputs:
        body = _body(step)
        try:
            return {"id": str((await self._client.create("Account", body))["id"])}
        except AlreadyExists as error:
            found = await self._client.get("Account", [error.existing_id or ""], Account)
            if not found or not _is_asked_for(found[0], body):
                raise Rejected(
                    System.STALWART,
                    f"Stalwart's address {step.name} belongs to another account or list. Free it, or rename the user.",
                ) from error
            return {"id": found[0].id}

    async def _create_password(self, step: Step) -> Outputs:
        """A new password of an account, made here so that no step holds it. One from before stops being taken."""
        password = secrets.token_urlsafe(32)
        credential = {"0": {"@type": "Password", "secret": password}}
        await self._client.patch("Account", str(step.target), {"credentials": credential})
        return {"id": str(step.target), "password": password}

    async def _create_throttle(self, step: Step) -> Outputs:
        """Descriptions are not unique: one from a crash must be looked for before another is made."""
        body = _body(step)
        for found in await self._client.every("MtaInboundThrottle", Throttle):
            if found.description == body["description"] and as_wanted(found):
                return {"id": found.id}
        return {"id": str((await self._client.create("MtaInboundThrottle", body))["id"])}

    async def _reload(self) -> Outputs:
        """A reload applies nothing at all while any one setting is bad, whoever's it is."""
        try:
            await self._client.reload_settings()
        except Rejected as error:
            raise Rejected(
                System.STALWART,
                f"Stalwart can not reload its settings, so mail is not held or let go yet: {error} "
                "Correct that setting in Stalwart; it may be somebody else's.",
            ) from error
        return {"id": "reload"}


def private_key(kind: str) -> str:
    """A fresh signing key as PKCS#8 PEM (facts/stalwart.md 11.3: Stalwart makes none itself)."""
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if kind == "Dkim1RsaSha256"
        else ed25519.Ed25519PrivateKey.generate()
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _is_asked_for(account: Account, body: Mapping[str, Any]) -> bool:
    """Ours from a create whose answer was lost. The id named may also be that of a list, which is another numbering."""
    asked = (body["name"], body["domainId"], body["roles"]["roleIds"])
    return (account.name, account.domain_id, account.roles.role_ids) == asked


def _body(step: Step) -> dict[str, Any]:
    return {str(key): value for key, value in step.body.items()}
