"""The operator's own events: which there are, and what of each may be in a line. Pure."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

import msgspec

from dezky_operator.audit.event import Datum, Event, Outcome
from dezky_operator.audit.times import TimeSource

SRC = "operator"
"""The name and the type of this source."""


class Actor(msgspec.Struct, frozen=True):
    """Who wanted something: a user of the API server by name, or the operator itself, without one."""

    name: str = ""

    @property
    def type(self) -> str:
        """``user``, ``service`` (a service account) or ``operator``."""
        if not self.name:
            return SRC
        return "service" if self.name.startswith("system:") else "user"

    @property
    def values(self) -> dict[str, str]:
        """What names the actor."""
        return {"actor.id": self.name, "actor.email": self.name if "@" in self.name else ""}


OPERATOR = Actor()


class Whose(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant an act is about, and who wanted it.

    Attributes:
        tenant: tenantId; empty for what is about no tenant.
        partner: uid of its partner; ``partner_slug`` its name.
    """

    tenant: str = ""
    slug: str = ""
    partner: str = ""
    partner_slug: str = ""
    actor: Actor = OPERATOR


NOBODY = Whose()


def act(  # noqa: PLR0913 - each is one independent fact, all by keyword
    action: str,
    *,
    ext: str,
    now: str,
    whose: Whose = NOBODY,
    outcome: Outcome = Outcome.SUCCESS,
    resource: str = "",
    data: Mapping[str, Datum] | None = None,
    values: Mapping[str, str] | None = None,
) -> Event:
    """An act of the operator, or one it saw.

    Args:
        action: its verb, such as ``step.intent``.
        ext: what tells it from every other act for ever.
        now: canonical time.
        whose: the tenant it is about, and who wanted it.
        outcome: how it ended.
        resource: the kind of object it is about.
        data: what stands in the line; never a name.
        values: names and other personal values, by commitment path.
    """
    named = {"tenant.slug": whose.slug, "partner.slug": whose.partner_slug, **whose.actor.values, **(values or {})}
    return Event(
        src=SRC,
        source=SRC,
        ext=ext,
        action=action,
        outcome=outcome,
        recv=now,
        at=now,
        time_source=TimeSource.SOURCE,
        actor_type=whose.actor.type,
        resource_type=resource,
        tenant=whose.tenant,
        partner=whose.partner,
        data=dict(data or {}),
        values={path: text for path, text in named.items() if text},
    )


def once() -> str:
    """An id for an act that happens once."""
    return str(uuid.uuid4())


def snake(name: str) -> str:
    """``ProofIncomplete`` as ``proof_incomplete``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
