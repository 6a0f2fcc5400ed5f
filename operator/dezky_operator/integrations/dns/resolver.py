"""Looks records up, with patience and a short memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from dezky_operator.integrations.dns.records import DnsRecord, RecordState, state_of

LOOKUPS = 20
"""Lookups at once."""
REMEMBERED = 5.0
"""Seconds an answer is used again: one reconcile asks for a name several times, the next asks anew."""


class Resolver:
    """Asks the given servers, or the machine's own resolvers."""

    def __init__(self, servers: Sequence[str], *, timeout: float, clock: Callable[[], float]) -> None:
        """``servers`` as ``address`` or ``address:port``; ``timeout`` in seconds for one lookup with its retries."""
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [_nameserver(server) for server in servers]
        self._resolver.lifetime = timeout
        self._resolver.cache = None
        self._clock = clock
        self._slots = asyncio.Semaphore(LOOKUPS)
        self._known: dict[tuple[str, str], tuple[float, tuple[str, ...] | None]] = {}

    async def values(self, name: str, kind: str) -> tuple[str, ...] | None:
        """The published values; empty when there are none, None when DNS does not answer."""
        known = self._known.get((name, kind))
        if known is not None and self._clock() - known[0] < REMEMBERED:
            return known[1]
        async with self._slots:
            values = await self._ask(name, kind)
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[name, kind] = (self._clock(), values)
        return values

    async def state(self, record: DnsRecord) -> RecordState:
        """Whether ``record`` is published."""
        values = await self.values(record.name, record.type)
        return RecordState.UNKNOWN if values is None else state_of(record, values)

    async def _ask(self, name: str, kind: str) -> tuple[str, ...] | None:
        try:
            # A CNAME answers for every type; the name itself is what is asked about.
            answer = await self._resolver.resolve(f"{name}.", kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return ()
        except (dns.exception.DNSException, OSError):
            return None
        return tuple(item.to_text() for item in answer)


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "53")
    return dns.nameserver.Do53Nameserver(address, int(port))
