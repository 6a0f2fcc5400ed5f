"""The AuditSource as the operator reads it and the status as it writes it: a typed view of `crds/auditsource.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dezky_operator.crd.conditions import Condition
from dezky_operator.crd.tenant import Metadata


class InvalidSource(Exception):  # noqa: N818 - named after what it tells
    """An object that can not be understood as an AuditSource. The text names field, expected and found."""


class State(StrEnum):
    """How a source stands."""

    RUNNING = "Running"
    PAUSED = "Paused"
    FAILING = "Failing"
    """It could not be read; the same look is made again."""
    SILENT = "Silent"
    """It is read, and nothing came for longer than it should."""
    WAITING = "Waiting"
    """What it tells can not be kept now: the log takes nothing."""
    INVALID = "Invalid"


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class SecretKey(_View, frozen=True, kw_only=True):
    """A key of a Secret in the operator's namespace."""

    name: str
    key: str = "token"


class AuthentikSource(_View, frozen=True, kw_only=True):
    """`spec.authentik`."""

    token_secret_ref: SecretKey


class OcisSource(_View, frozen=True, kw_only=True):
    """`spec.ocis`."""

    path: str


class AuditSourceSpec(_View, frozen=True, kw_only=True):
    """`spec`. Seconds."""

    type: str
    interval_seconds: int | None = None
    allow: tuple[str, ...] | None = None
    paused: bool = False
    silent_after_seconds: int | None = None
    authentik: AuthentikSource | None = None
    ocis: OcisSource | None = None


class SourceCounts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`status.counts`; ``received`` is the sum of the others. Zeros are written, too: nothing came is an answer."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    collapsed: int = 0
    filtered: int = 0
    quarantined: int = 0


class AuditSourceStatus(_View, frozen=True, kw_only=True):
    """`status`."""

    observed_generation: int | None = None
    state: str | None = None
    cursor: str | None = None
    last_event: str | None = None
    lag_seconds: int | None = None
    counts: SourceCounts | None = None
    conditions: tuple[Condition, ...] = ()


class AuditSource(_View, frozen=True, kw_only=True):
    """The whole object."""

    metadata: Metadata
    spec: AuditSourceSpec
    status: AuditSourceStatus = AuditSourceStatus()

    @property
    def name(self) -> str:
        """Part of the identity of each of its events."""
        return self.metadata.name


def parse(raw: Mapping[str, Any]) -> AuditSource:
    """The object in ``raw``. Raises InvalidSource."""
    try:
        return msgspec.convert(dict(raw), AuditSource)
    except msgspec.ValidationError as error:
        raise InvalidSource(f"AuditSource {raw['metadata']['name']}: {error}") from error
