"""AuditSources: each served by a daemon of kopf's, which lives as long as the object does.

The daemon is in kopf's thread and does nothing but live; what it serves runs in the main loop, as everything that
decides or writes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import structlog
from lightkube import AsyncClient
from lightkube.generic_resource import create_global_resource
from lightkube.types import PatchType

from dezky_operator.audit.event import Event
from dezky_operator.audit.times import written
from dezky_operator.crd.auditsource import AuditSource, AuditSourceStatus, InvalidSource, State, parse
from dezky_operator.ingest.rounds import Accept, Pace, Round, paused
from dezky_operator.ingest.source import Source
from dezky_operator.ingest.tally import Tally
from dezky_operator.kube.patch import as_json, merge_patch
from dezky_operator.kube.resources import GROUP, VERSION
from dezky_operator.kube.source_status import Told, status_of, told, urgent
from dezky_operator.store.interface import Store
from dezky_operator.telemetry.metrics import Metrics
from dezky_operator.tenant.retention import nothing_to_read

log = structlog.get_logger(__name__)
AuditSourceResource = create_global_resource(GROUP, VERSION, "AuditSource", "auditsources")
INTERVALS = {"authentik": 60.0, "ocis": 5.0, "stalwart": 60.0}
"""Seconds between two looks where the object says nothing; for stalwart between two looks at its counts."""
WRITTEN_EVERY = 15.0
"""Seconds between two writes of counts."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What sources need of the open log."""

    store: Store
    accept: Accept
    tell: Callable[[Event], None]


Factory = Callable[[AuditSource, Way], Awaitable[Source]]


class Sources:
    """Serves all AuditSources of an installation."""

    def __init__(
        self,
        client: AsyncClient,
        *,
        way: Callable[[], Way],
        factory: Factory,
        metrics: Metrics,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Serve through the log that ``way`` gives once it is open; ``factory`` makes what is read."""
        self._client, self._way, self._factory = client, way, factory
        self._metrics, self._clock, self._jitter = metrics, clock, jitter
        self._raw: dict[str, Mapping[str, Any]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._read_until: dict[str, datetime | None] = {}
        self._written: dict[str, float] = {}

    # -- what the watch tells -----------------------------------------------------------

    def on_event(self, kind: str, raw: Mapping[str, Any]) -> None:
        """Take in a version of an AuditSource."""
        name = raw["metadata"]["name"]
        if kind == "DELETED":
            self._forget(name)
            return
        before = self._raw.get(name)
        self._raw[name] = raw
        if before is None or before["metadata"].get("generation") != raw["metadata"].get("generation"):
            self._event(name).set()

    def read_until(self) -> datetime | None:
        """Up to when the events of every sign-in were read; None where one never was."""
        times = list(self._read_until.values())
        if not times:
            return nothing_to_read()
        known = [moment for moment in times if moment is not None]
        return min(known) if len(known) == len(times) else None

    async def serve(self, name: str) -> None:
        """Serve one AuditSource until cancelled, beginning again whenever its spec changes."""
        was_paused: bool | None = None
        while True:
            changed = self._event(name)
            changed.clear()
            raw = self._raw.get(name)
            if raw is None:
                await changed.wait()
                continue
            try:
                source = parse(raw)
            except InvalidSource as error:
                await self._stands(name, Told(state=State.INVALID, reason="InvalidSpec", message=str(error)))
                await changed.wait()
                continue
            self._tell_pause(source, was_paused)
            was_paused = source.spec.paused
            if source.spec.paused:
                await self._stands(name, await self._at_rest(source))
                await changed.wait()
            else:
                await self._until_changed(source, changed)

    # -- one source ------------------------------------------------------------------------

    async def _until_changed(self, source: AuditSource, changed: asyncio.Event) -> None:
        reading, waiting = asyncio.create_task(self._read(source)), asyncio.create_task(changed.wait())
        try:
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        except Exception:
            # A defect of ours with one source must not end the others: it is told, and begun again.
            log.exception("source broke", source=source.name)
            await asyncio.sleep(INTERVALS["ocis"])
        finally:
            for task in (reading, waiting):
                task.cancel()
            await asyncio.gather(reading, waiting, return_exceptions=True)

    async def _read(self, source: AuditSource) -> None:
        way, spec = self._way(), source.spec
        if spec.type == "authentik":
            self._read_until.setdefault(source.name, None)
        opened = await self._factory(source, way)
        tally = Tally(way.store, source.name)
        reading = Round(
            opened,
            tally,
            name=source.name,
            accept=way.accept,
            tell=way.tell,
            pace=Pace(
                interval=float(spec.interval_seconds or INTERVALS[spec.type]),
                silent_after=float(spec.silent_after_seconds or 0),
            ),
            now=_now,
            jitter=self._jitter,
            sent=spec.type == "stalwart",
        )
        try:
            await reading.run(lambda: self._looked(source, reading, tally))
        finally:
            await opened.close()

    async def _looked(self, source: AuditSource, reading: Round, tally: Tally) -> None:
        row = tally.row
        standing = reading.standing
        if source.spec.type == "authentik" and reading.caught_up is not None:
            self._read_until[source.name] = reading.caught_up
        found = told(
            standing,
            counts=tally.counts,
            cursor=row.position if row else "",
            last_event=row.last_event if row else "",
            lag=reading.lag,
            verified=reading.verified,
        )
        self._metrics.audit_source_up.labels(source.name).set(standing.state in {"Running", "Silent"})
        if row is not None and row.last_event:
            self._metrics.audit_source_last_event.labels(source.name).set(_seconds(row.last_event))
        if reading.lag is not None:
            self._metrics.ingest_lag.labels(source.name).set(reading.lag)
        await self._stands(source.name, found)

    async def _at_rest(self, source: AuditSource) -> Told:
        """What a paused source says: its counts stay."""
        tally = Tally(self._way().store, source.name)
        row = await tally.load()
        return Told(
            state=State.PAUSED,
            reason="Paused",
            message="spec.paused is true: nothing is read. What it tells meanwhile is read when it goes on.",
            counts=tally.counts,
            cursor=row.position if row else "",
            last_event=row.last_event if row else "",
        )

    def _tell_pause(self, source: AuditSource, before: bool | None) -> None:  # noqa: FBT001 - what it was, or not known
        """That somebody pauses a source is worth an event; that one is found paused after a restart is none."""
        if before is not None and before != source.spec.paused:
            self._way().tell(paused(source.name, now=_now(), going_on=before))

    # -- its status --------------------------------------------------------------------------

    async def _stands(self, name: str, found: Told) -> None:
        """Write the status where it differs: at once what a person should see, counts now and then."""
        raw = self._raw.get(name)
        if raw is None:
            return
        before = _status(raw)
        source = _outline(raw, before)
        after = status_of(source, found, now=written(datetime.now(UTC))[:19] + "Z")
        due = self._clock() - self._written.get(name, -WRITTEN_EVERY) >= WRITTEN_EVERY
        patch = merge_patch(raw.get("status") or {}, as_json(after))
        if not patch or not (due or urgent(before, after)):
            return
        try:
            written_back = await self._client.patch(
                AuditSourceResource.Status, name, {"status": patch}, patch_type=PatchType.MERGE
            )
        except httpx2.HTTPError as error:  # ApiError is one
            log.warning("source status not written", source=name, error=type(error).__name__)
            return
        self._written[name] = self._clock()
        self._raw[name] = {**self._raw.get(name, raw), "status": dict(written_back).get("status")}

    def _event(self, name: str) -> asyncio.Event:
        return self._changed.setdefault(name, asyncio.Event())

    def _forget(self, name: str) -> None:
        for held in (self._raw, self._read_until, self._written):
            held.pop(name, None)
        for gauge in (self._metrics.audit_source_up, self._metrics.audit_source_last_event, self._metrics.ingest_lag):
            try:
                gauge.remove(name)
            except KeyError:
                continue  # it never was measured


def _status(raw: Mapping[str, Any]) -> AuditSourceStatus:
    """The status there is; one that somebody damaged is written anew."""
    try:
        return msgspec.convert(raw.get("status") or {}, AuditSourceStatus)
    except msgspec.ValidationError:
        return AuditSourceStatus()


def _outline(raw: Mapping[str, Any], status: AuditSourceStatus) -> AuditSource:
    """The object as far as its status needs it, also where its spec can not be understood."""
    return msgspec.convert(
        {"metadata": dict(raw["metadata"]), "spec": {"type": "authentik"}, "status": msgspec.to_builtins(status)},
        AuditSource,
    )


def _now() -> str:
    return written(datetime.now(UTC))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
