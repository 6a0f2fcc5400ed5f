"""Carries out single steps in OCIS. Each is safe to repeat after a crash at any point."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import AlreadyExists, Rejected, Unreachable
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.steps import Step, System, Verb

Perform = Callable[[Step], Awaitable[Outputs]]
SETTABLE_IDS = (7, 2)
"""The first version that takes a space's id from its creator (facts/ocis.md 1)."""


class OcisPerformer:
    """Performs the steps that :mod:`plan` makes."""

    def __init__(self, client: OcisClient) -> None:
        self._client = client
        self._takes_ids = False
        self._table: Mapping[tuple[str, Verb], Perform] = {
            ("group", Verb.CREATE): self._create_group,
            ("group", Verb.DELETE): self._on_target(client.delete_group),
            ("user", Verb.DELETE): self._on_target(client.delete_user),
            ("drive", Verb.CREATE): self._create_drive,
            ("drive", Verb.UPDATE): self._patch_drive,
            ("quota", Verb.UPDATE): self._patch_drive,
            ("drive", Verb.ENABLE): self._on_target(client.restore_drive),
            ("drive", Verb.DISABLE): self._on_target(client.disable_drive),
            ("drive", Verb.DELETE): self._on_target(client.purge_drive),
            ("grant", Verb.GRANT): self._invite,
            ("grant", Verb.REVOKE): self._revoke,
            ("folder", Verb.CREATE): self._create_folder,
            ("link", Verb.CREATE): self._create_link,
        }

    async def perform(self, step: Step) -> Outputs:
        """Do what ``step`` says. Raises IntegrationError."""
        return await self._table[step.kind, step.verb](step)

    def _on_target(self, act: Callable[[str], Awaitable[None]]) -> Perform:
        async def perform(step: Step) -> Outputs:
            await act(str(step.target))
            return {"id": str(step.target)}

        return perform

    async def _create_group(self, step: Step) -> Outputs:
        try:
            group = await self._client.create_group(step.name)
        except AlreadyExists:
            # Made a moment ago: by us before a lost answer, or by the first member's sign-in.
            found = await self._client.group(step.name)
            if found is None:
                raise
            group = found
        return {"id": group.id}

    async def _create_drive(self, step: Step) -> Outputs:
        body = _body(step)
        if not self._takes_ids:
            await require_settable_ids(self._client)
            self._takes_ids = True
        try:
            drive = await self._client.create_drive(body)
        except AlreadyExists:
            found = await self._client.drive(str(body["id"]))
            if found is None or found.drive_alias != body["driveAlias"]:
                raise
            drive = found
        if drive.uuid != body["id"]:
            raise Rejected(
                System.OCIS,
                f"OCIS made the space {step.name} as {drive.uuid}, expected {body['id']}: it does not take ids. "
                "Update OCIS to 7.2 or later and remove that space.",
            )
        return {"id": drive.uuid}

    async def _create_folder(self, step: Step) -> Outputs:
        return {"id": await self._client.create_folder(str(step.target), step.name)}

    async def _create_link(self, step: Step) -> Outputs:
        """A link without a password is refused by default, and its password has to pass a policy."""
        body, password = _body(step), f"{secrets.token_urlsafe(24)}-aA1"
        wanted = {"type": "view", "password": password, "expirationDateTime": body["until"], "displayName": step.name}
        token = await self._client.create_link(str(step.target), str(body["item"]), wanted)
        return {"id": str(step.target), "token": token, "password": password}

    async def _patch_drive(self, step: Step) -> Outputs:
        await self._client.patch_drive(str(step.target), _body(step))
        return {"id": str(step.target)}

    async def _invite(self, step: Step) -> Outputs:
        body = _body(step)
        await self._client.invite(str(step.target), str(body["group"]), str(body["role"]))
        return {"id": str(step.target)}

    async def _revoke(self, step: Step) -> Outputs:
        drive, permission = str(step.target), str(_body(step)["permission"])
        try:
            await self._client.revoke(drive, permission)
        except Unreachable:
            # A grant that is gone already is a 500 (facts/ocis.md 2.3), and a lost answer may have taken it away.
            found = await self._client.drive(drive)
            if found is not None and any(grant.id == permission for grant in found.root.permissions):
                raise
        return {"id": drive}


def _body(step: Step) -> dict[str, Any]:
    return {str(key): value for key, value in step.body.items()}


async def require_settable_ids(client: OcisClient) -> None:
    """Raise Rejected where OCIS is too old.

    It would make one more space at every try, so it is asked before the first one. A server that does not tell is
    believed: the id in its first answer shows.
    """
    version = await client.version()
    if version is not None and version < SETTABLE_IDS:
        found = ".".join(map(str, version))
        raise Rejected(System.OCIS, f"OCIS has version {found}, expected 7.2 or later. Update it.")
