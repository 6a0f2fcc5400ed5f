"""The canary that really tries: made for one suspension, signed in everywhere, the same tokens again after the lock.

Making it is a plan like any other, applied by the systems' own performers and recorded. Trying is only asking.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import structlog

from dezky_operator.integrations.apply import Applied, Outputs, Performer, Trail, apply
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.canary import observe, plan
from dezky_operator.integrations.canary.answers import Answer, Outcome, summary, verdict
from dezky_operator.integrations.canary.door import Door
from dezky_operator.integrations.canary.keys import App, Keys, Link, MailKey, OAuthClient, Pass
from dezky_operator.integrations.canary.model import Attempt, Rehearsal
from dezky_operator.integrations.canary.tries import REFRESHES, SIGN_IN, TRIED, Tries
from dezky_operator.integrations.errors import IntegrationError
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.client import OcisClient
from dezky_operator.integrations.stalwart.client import StalwartClient
from dezky_operator.integrations.steps import Plan, System
from dezky_operator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
T = TypeVar("T")
SYSTEMS = (System.AUTHENTIK, System.STALWART, System.OCIS)
LINK_FOR = timedelta(hours=1)
"""How long the link lives: longer than any lock should take, and short for something that nobody takes away."""
PHASE = "Proof"
"""What its steps are for: none of a tenant's phases, in which nobody would look for what they made."""
NO_NAME = "The tenant has no domain, so the canary has no name."
NOBODY = "The canary is not there, so nobody could try."


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a canary works with: clients to look with, performers to make it, doors to try."""

    authentik: AuthentikClient
    stalwart: StalwartClient
    ocis: OcisClient
    performers: Mapping[System, Performer]
    trail: Trail
    doors: Mapping[System, Door]
    metrics: Metrics


@dataclass(slots=True, kw_only=True)
class _Made:
    """What there is to try with, and why there is not more."""

    failures: dict[System, str] = field(default_factory=dict)
    outputs: Mapping[str, Outputs] = field(default_factory=dict, repr=False)
    clients: Mapping[App, OAuthClient] = field(default_factory=dict)
    by_token: bool = False
    space: str = ""
    link_until: float = 0.0


class ProbeCanary:
    """Tries the doors of tenants. ``clock`` gives seconds that only go forward, ``now`` the time of day."""

    def __init__(
        self,
        means: Means,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._means, self._clock, self._now = means, clock, now
        self._tries = Tries(means.doors, clock=clock)

    async def rehearse(self, intent: TenantIntent) -> Rehearsal:
        """Make a new canary and sign it in everywhere. Never raises IntegrationError."""
        if intent.canary is None:
            return Rehearsal(controls={}, failures=dict.fromkeys(SYSTEMS, NO_NAME), keys=None)
        made, keys = await self._made(intent), Keys()
        answers = {System.AUTHENTIK: await self._signed_in(intent, made, keys)}
        answers[System.STALWART], answers[System.OCIS] = await asyncio.gather(
            self._mail(intent, made, keys), self._files(made, keys)
        )
        controls = {}
        for system, tried in answers.items():
            if system in made.failures:
                continue
            if all(answer.open for answer in tried):
                controls[system] = summary(tried)
            else:
                made.failures[system] = f"Before the lock: {summary(tried)}."
        return Rehearsal(controls=controls, failures=made.failures, keys=keys)

    async def attempt(self, rehearsal: Rehearsal, intent: TenantIntent, system: System) -> Attempt:  # noqa: ARG002
        """Try the doors of ``system`` with what the rehearsal holds. Never raises IntegrationError."""
        keys = rehearsal.keys
        if not isinstance(keys, Keys) or system not in rehearsal.controls:
            return Attempt(tried=(), after=NOBODY, refused=None)
        answers = await self._again(keys, system)
        return Attempt(tried=TRIED[system], after=self._told(answers, keys, system), refused=verdict(answers))

    # -- making it -----------------------------------------------------------------------

    async def _made(self, intent: TenantIntent) -> _Made:
        """Look, plan, apply. What fails in one system keeps no other from being tried."""
        made, plans, means = _Made(), Plan(), self._means
        identity, mail, files = await asyncio.gather(
            _or_why(observe.identity(means.authentik, intent), System.AUTHENTIK, made),
            _or_why(observe.mail(means.stalwart, intent), System.STALWART, made),
            _or_why(observe.files(means.ocis, intent), System.OCIS, made),
        )
        if identity is not None:
            made.clients, plans = identity.clients, plans + plan.identity(intent, identity)
        if mail is not None:
            made.by_token, plans = mail.by_token, plans + plan.mail(mail)
        if files is not None:
            made.space = f"/dav/spaces/{quote(files.id, safe='')}"
            made.link_until = self._clock() + LINK_FOR.total_seconds()
            plans += plan.files(files, self._now() + LINK_FOR)
        applied = await apply(plans, means.performers, means.trail.of(str(intent.tenant_id), PHASE))
        self._count(applied)
        made.outputs = applied.outputs
        for obstacle in plans.obstacles:
            made.failures.setdefault(obstacle.system, obstacle.message)
        for system in SYSTEMS:
            for error in applied.errors_of(system)[:1]:
                made.failures.setdefault(system, str(error))
        return made

    def _count(self, applied: Applied) -> None:
        for step in applied.done:
            self._means.metrics.steps.labels(step.system, step.kind, step.verb, "done").inc()
            log.info("step done", step=step.id, verb=step.verb, object=step.name, fields=list(step.fields))
        for key, error in applied.failed.items():
            system, kind = key.split("/")[:2]
            self._means.metrics.steps.labels(system, kind, "", "failed").inc()
            log.warning("step failed", step=key, error=str(error))

    # -- the control ---------------------------------------------------------------------

    async def _signed_in(self, intent: TenantIntent, made: _Made, keys: Keys) -> list[Answer]:
        """Sign in once, and get the tokens of all three applications."""
        if System.AUTHENTIK in made.failures:
            return []
        visit = self._tries.visit(keys.cookies)
        try:
            await visit.sign_in(intent.canary or "", made.outputs[plan.ACCOUNT.step]["password"])
        except IntegrationError as error:
            made.failures[System.AUTHENTIK] = str(error)
            return []
        passes = await asyncio.gather(
            *(_or_why(visit.tokens(client), System.AUTHENTIK, made) for client in made.clients.values())
        )
        keys.passes = {app: kept for app, kept in zip(made.clients, passes, strict=True) if kept is not None}
        return [
            *(Answer(REFRESHES[app], "200", Outcome.OPEN) for app in keys.passes),
            Answer(SIGN_IN, "a code", Outcome.OPEN),
        ]

    async def _mail(self, intent: TenantIntent, made: _Made, keys: Keys) -> list[Answer]:
        if System.STALWART in made.failures:
            return []
        if made.by_token:
            token = keys.passes.get(App.MAIL)
            header = f"Bearer {token.access}" if token else ""
        else:
            token, header = None, _basic(intent.canary or "", made.outputs[plan.PASSWORD.step]["password"])
        if not header:
            made.failures[System.STALWART] = f"There is no token for mail. {made.failures.get(System.AUTHENTIK, '')}"
            return []
        keys.mail = MailKey(header=header, token=token)
        return [await self._tries.mail(keys.mail)]

    async def _files(self, made: _Made, keys: Keys) -> list[Answer]:
        if System.OCIS in made.failures:
            return []
        token, link = keys.passes.get(App.FILES), made.outputs[plan.LINK.step]
        if token is None:
            made.failures[System.OCIS] = f"There is no token for files. {made.failures.get(System.AUTHENTIK, '')}"
            return []
        keys.space = made.space
        keys.link = Link(
            path=f"/dav/public-files/{link['token']}",
            header=_basic("public", link["password"]),
            until=made.link_until,
        )
        return list(await asyncio.gather(self._tries.space(keys.space, token), self._tries.link(keys.link)))

    # -- the attempt ---------------------------------------------------------------------

    async def _again(self, keys: Keys, system: System) -> list[Answer]:
        if system is System.AUTHENTIK:
            refreshes = (self._tries.refresh(app, kept) for app, kept in keys.passes.items())
            return list(await asyncio.gather(*refreshes, self._tries.sign_in(keys)))
        if system is System.STALWART and keys.mail is not None:
            return [await self._tries.mail(keys.mail)]
        if system is System.OCIS and keys.link is not None:
            token = keys.passes[App.FILES]
            return list(await asyncio.gather(self._tries.space(keys.space, token), self._tries.link(keys.link)))
        return []

    def _told(self, answers: list[Answer], keys: Keys, system: System) -> str:
        """What came back, and how long a token lives that was handed out before: no lock takes that back."""
        token = self._token_of(keys, system)
        left = token.left(self._clock()) if token else 0.0
        more = f". The access token by itself is valid for {left:.0f} s more" if left > 0 else ""
        return f"{summary(answers)}{more}"

    @staticmethod
    def _token_of(keys: Keys, system: System) -> Pass | None:
        if system is System.STALWART:
            return keys.mail.token if keys.mail else None
        return keys.passes.get(App.FILES) if system is System.OCIS else None


async def _or_why(looking: Awaitable[T], system: System, made: _Made) -> T | None:
    """The result; where there is none, the first reason is noted."""
    try:
        return await looking
    except IntegrationError as error:
        made.failures.setdefault(system, str(error))
        return None


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
