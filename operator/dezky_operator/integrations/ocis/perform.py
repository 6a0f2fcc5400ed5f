"""Carries out single steps in OCIS. Each is safe to repeat after a crash at any point."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.errors import AlreadyExists
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.steps import Step, Verb

Perform = Callable[[Step], Awaitable[Outputs]]


class OcisPerformer:
    """Performs the steps that :mod:`plan` makes."""

    def __init__(self, client: OcisClient) -> None:
        self._client = client
        self._table: Mapping[tuple[str, Verb], Perform] = {
            ("group", Verb.CREATE): self._create_group,
            ("group", Verb.DELETE): self._on_target(client.delete_group),
            ("drive", Verb.CREATE): self._create_drive,
            ("drive", Verb.UPDATE): self._patch_drive,
            ("quota", Verb.UPDATE): self._patch_drive,
            ("drive", Verb.ENABLE): self._on_target(client.restore_drive),
            ("drive", Verb.DISABLE): self._on_target(client.disable_drive),
            ("drive", Verb.DELETE): self._on_target(client.purge_drive),
            ("grant", Verb.GRANT): self._invite,
            ("grant", Verb.REVOKE): self._revoke,
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
        try:
            drive = await self._client.create_drive(body)
        except AlreadyExists:
            found = await self._client.drive(str(body["id"]))
            if found is None or found.drive_alias != body["driveAlias"]:
                raise
            drive = found
        return {"id": drive.uuid}

    async def _patch_drive(self, step: Step) -> Outputs:
        await self._client.patch_drive(str(step.target), _body(step))
        return {"id": str(step.target)}

    async def _invite(self, step: Step) -> Outputs:
        body = _body(step)
        await self._client.invite(str(step.target), str(body["group"]), str(body["role"]))
        return {"id": str(step.target)}

    async def _revoke(self, step: Step) -> Outputs:
        await self._client.revoke(str(step.target), str(_body(step)["permission"]))
        return {"id": str(step.target)}


def _body(step: Step) -> dict[str, Any]:
    return {str(key): value for key, value in step.body.items()}
