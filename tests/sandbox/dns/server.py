"""A small authoritative DNS server on loopback, and a way to set records over HTTP."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone
from aiohttp import web

from tests.sandbox.standin import StandIn

TTL = 1


class DnsStandIn(StandIn):
    """Answers over UDP and TCP on ``port``. ``mode`` is ``normal``, ``silent`` or ``servfail``."""

    name = "dns"

    def __init__(self) -> None:
        super().__init__()
        self.port = 0
        self.mode = "normal"
        self.records: dict[tuple[str, str], list[str]] = {}
        self.app.router.add_post("/zone", self._publish)
        self.app.router.add_post("/record", self._set)
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """DNS on one free port for UDP and TCP, control over HTTP."""
        url = await super().start(host, port)
        self._tcp = await asyncio.start_server(self._stream, host, self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(host, self.port), family=socket.AF_INET
        )
        return url

    async def stop(self) -> None:
        """Close all listeners; records stay."""
        if self._transport:
            self._transport.close()
        if self._tcp:
            self._tcp.close()
        await super().stop()

    def set(self, name: str, kind: str, values: list[str]) -> None:
        """Publish ``values`` (in zone file form) under a name and type; an empty list removes them."""
        self.records[name.lower().rstrip("."), kind] = values

    def publish_zone(self, domain: str, text: str) -> None:
        """Publish everything in a zone file."""
        zone = dns.zone.from_text(f"$TTL {TTL}\n{text}\n", origin=f"{domain}.", relativize=False, check_origin=False)
        for name, _, rdata in zone.iterate_rdatas():
            key = (name.to_text().lower().rstrip("."), dns.rdatatype.to_text(rdata.rdtype))
            self.records.setdefault(key, [])
            if rdata.to_text() not in self.records[key]:
                self.records[key].append(rdata.to_text())

    def answer(self, wire: bytes, *, longest: int | None) -> bytes | None:
        """The answer to a query; None stays silent. Over UDP too long ones are cut, and asked again over TCP."""
        query = dns.message.from_wire(wire)
        if self.mode == "silent":
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.mode == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        question = query.question[0]
        name, kind = question.name.to_text().lower().rstrip("."), dns.rdatatype.to_text(question.rdtype)
        values = self.records.get((name, kind), [])
        if values:
            response.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", kind, values))
        elif not any(known == name and found for (known, _), found in self.records.items()):
            response.set_rcode(dns.rcode.NXDOMAIN)
        answer = response.to_wire()
        if longest is not None and len(answer) > longest:
            response.flags |= dns.flags.TC
            response.answer.clear()
            answer = response.to_wire()
        return answer

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readexactly(2):
                answer = self.answer(await reader.readexactly(int.from_bytes(head, "big")), longest=None)
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2, "big") + answer)
        except asyncio.IncompleteReadError:
            pass  # the client closed the connection
        writer.close()

    async def _publish(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.publish_zone(body["domain"], body["zone"])
        return web.json_response({})

    async def _set(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.set(body["name"], body["type"], body["values"])
        return web.json_response({})


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsStandIn) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop's own class is not declared as a DatagramTransport, although it is one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, longest=1232)
        if answer is not None:
            self._transport.sendto(answer, addr)
