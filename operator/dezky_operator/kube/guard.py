"""The checkpoint in a ConfigMap: what tells a store that was set back from the one that was signed.

The store's own files roll back together, guard and all; the API server's do not roll back with them.
"""

from __future__ import annotations

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from dezky_operator.audit.checkpoint import Checkpoint, parse_text
from dezky_operator.audit.errors import NoteError
from dezky_operator.audit.guard import GuardError, supersedes
from dezky_operator.audit.note import parse
from dezky_operator.kube.resources import is_status

NAME = "dezky-audit-checkpoint"


class ConfigMapGuard:
    """Keeps the newest checkpoint of each epoch."""

    def __init__(self, client: AsyncClient, namespace: str, epoch: int) -> None:
        self._client, self._namespace, self._key = client, namespace, f"epoch-{epoch}.note"

    @property
    def name(self) -> str:
        """Its namespace and name."""
        return f"ConfigMap {self._namespace}/{NAME}"

    async def newest(self) -> bytes | None:
        """The note; None when there never was one. Raises GuardError."""
        found = await self._found()
        note = (found.data or {}).get(self._key) if found else None
        return note.encode() if note is not None else None

    async def keep(self, checkpoint: Checkpoint, note: bytes, heads: bytes, seconds: int) -> None:  # noqa: ARG002
        """Keep this note unless one of a larger tree is there. Raises GuardError."""
        found = await self._found()
        if found is not None and self._size_in(found) > checkpoint.size:
            return  # another process was further: what this one signed is in its tree
        if found is not None and not self._follows(found, note):
            raise GuardError(
                f"{self.name} holds a checkpoint under a later key of the log: if this repeats, the Secret of "
                "audit.keysSecret lacks the log's newest key; restore it"
            )
        try:
            await self._write(found, note.decode())
        except httpx2.HTTPError as error:  # ApiError is one
            raise GuardError(f"{self.name} was not written ({_why(error)})") from error

    async def _write(self, found: ConfigMap | None, note: str) -> None:
        data = {self._key: note}
        if found is None:
            labels = {"app.kubernetes.io/managed-by": "dezky-operator"}
            metadata = ObjectMeta(name=NAME, namespace=self._namespace, labels=labels)
            await self._client.create(ConfigMap(metadata=metadata, data=data))
            return
        version = found.metadata.resourceVersion if found.metadata else None
        patch = {"metadata": {"resourceVersion": version}, "data": data}
        await self._client.patch(ConfigMap, NAME, patch, namespace=self._namespace, patch_type=PatchType.MERGE)

    async def _found(self) -> ConfigMap | None:
        try:
            return await self._client.get(ConfigMap, NAME, namespace=self._namespace)
        except httpx2.HTTPError as error:
            if isinstance(error, ApiError) and is_status(error, 404):
                return None
            raise GuardError(f"{self.name} could not be read ({_why(error)})") from error

    def _follows(self, found: ConfigMap, note: bytes) -> bool:
        """Whether the note goes on from the one there; from one that can not be read any does."""
        try:
            return supersedes((found.data or {}).get(self._key, "").encode(), note)
        except NoteError:
            return True

    def _size_in(self, found: ConfigMap) -> int:
        """The size in the note there. One that can not be read was damaged by hand: it is written anew."""
        try:
            return parse_text(parse((found.data or {}).get(self._key, "").encode()).text).size
        except NoteError:
            return 0


def _why(error: httpx2.HTTPError) -> str:
    return f"HTTP {error.status.code}" if isinstance(error, ApiError) else type(error).__name__
