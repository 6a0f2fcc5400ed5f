"""The event source: kopf, in a thread and an event loop of its own.

In the main thread kopf replaces the signal handlers, cancels every task made after its start and, after a stop by
cancellation, ends the process with SIGKILL (facts/operator-practice.md 3, design 4). So it gets its own thread, is
stopped by a flag only, and hands over names, nothing else: no rule lives in a handler.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import kopf
import structlog
from lightkube.config.kubeconfig import SingleConfig

from dezky_operator.kube.resources import GROUP, VERSION

log = structlog.get_logger(__name__)
FAREWELL = 0.25
"""Seconds in which TLS connections take their leave of the API server; aiohttp does not wait, and their sockets would
be left open behind the loop (aiohttp, "Graceful shutdown")."""
Sink = Callable[[str, dict[str, Any]], None]
"""Called in the main loop with the event's type (ADDED, MODIFIED, DELETED, or "" when listed) and the object."""


GRACE = 5.0
"""Seconds a daemon has to end."""


class Served(Protocol):
    """Serves AuditSources in the main loop."""

    def on_event(self, kind: str, raw: Mapping[str, Any]) -> None:
        """Take in a version of an AuditSource."""

    async def serve(self, name: str) -> None:
        """Serve one until cancelled."""


class EventSource:
    """Watches Tenants and hands every event to ``sink`` in the loop that made this object."""

    def __init__(self, config: SingleConfig, sink: Sink, sources: Served | None = None) -> None:
        self._config, self._sink, self._sources = config, sink, sources
        self._home = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.failure: BaseException | None = None

    @property
    def alive(self) -> bool:
        """Whether the watch still runs; a dead one never comes back."""
        return self._thread.is_alive() and not self._over

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    async def stop(self) -> None:
        """End the watch; returns when the thread is gone."""
        self._stop.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, 20.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - the thread's last words: the main loop ends the process on them
            self.failure = self.failure or error
        self._over = True

    async def _operate(self) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=_settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=self._stop,
            )
        except BaseException as error:
            self.failure = error
            raise
        finally:
            if not self._stop.is_set():
                log.error("watch ended", error=repr(self.failure))
            self._over = True
            # A thread of kopf's waits for the flag, and the end of this loop for that thread: it would never come.
            self._stop.set()
            await asyncio.sleep(FAREWELL)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        # With a registry of its own kopf has no way to log in unless it is given one.
        @kopf.on.login(registry=registry)
        async def login(**_: object) -> kopf.ConnectionInfo:
            return connection_info(self._config)

        @kopf.on.event(GROUP, VERSION, "tenants", registry=registry)
        async def tenant(event: Any, **_: object) -> None:
            self._hand_over(event)

        if self._sources is not None:
            self._register(registry, self._sources)
        return registry

    def _register(self, registry: kopf.OperatorRegistry, sources: Served) -> None:
        """A daemon for each AuditSource, which lives here and is served in the main loop."""

        @kopf.on.event(GROUP, VERSION, "auditsources", registry=registry)
        async def told(event: Any, **_: object) -> None:
            self._hand_over(event, sources.on_event)

        @kopf.daemon(GROUP, VERSION, "auditsources", registry=registry, cancellation_timeout=GRACE)
        async def auditsource(name: str | None, stopped: kopf.DaemonStopped, **_: object) -> None:
            serving = asyncio.run_coroutine_threadsafe(sources.serve(str(name)), self._home)
            try:
                await stopped.wait()
            finally:
                serving.cancel()

    def _hand_over(self, event: Any, sink: Sink | None = None) -> None:
        try:
            self._home.call_soon_threadsafe(sink or self._sink, event["type"] or "", dict(event["object"]))
        except RuntimeError:  # the main loop is closed: the process is ending
            self._stop.set()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # else it needs to list namespaces and CRDs; ours is known to be there
    settings.posting.enabled = False
    # Not ours: kopf takes its own finalizer off every object that no handler of it needs one for, which is all of them.
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.watching.server_timeout = 600  # whole seconds: the API server refuses 600.0
    settings.watching.connect_timeout = 10.0
    settings.watching.inactivity_timeout = 70.0  # bookmarks come every minute; a silent stream is a dead one
    settings.process.ultimate_exiting_timeout = None  # else an exit timer kills this process
    return settings


def connection_info(config: SingleConfig) -> kopf.ConnectionInfo:
    """The API server and our credential, from the same place as our own calls take them."""
    cluster, user = config.cluster, config.user
    token = user.token if user else None
    if user and user.token_file:
        token = Path(config.abs_file(user.token_file)).read_text(encoding="utf-8").strip()
    return kopf.ConnectionInfo(
        server=cluster.server,
        ca_path=_path(config, cluster.certificate_auth),
        ca_data=cluster.certificate_auth_data,
        insecure=cluster.insecure,
        token=token,
        certificate_path=_path(config, user.client_cert) if user else None,
        certificate_data=user.client_cert_data if user else None,
        private_key_path=_path(config, user.client_key) if user else None,
        private_key_data=user.client_key_data if user else None,
    )


def _path(config: SingleConfig, name: str | None) -> str | None:
    return str(config.abs_file(name)) if name else None
