"""The resolver against a real DNS server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from dezky_operator.integrations.dns.records import DnsRecord, RecordState
from dezky_operator.integrations.dns.resolver import REMEMBERED, Resolver
from tests.sandbox.dns.server import DnsStandIn

SPF = DnsRecord(name="acme.test", type="TXT", value="v=spf1 mx -all")


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[DnsStandIn]:
    async with DnsStandIn() as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(server: DnsStandIn, clock: Clock) -> Resolver:
    return Resolver([f"127.0.0.1:{server.port}"], timeout=0.5, clock=clock)


async def test_a_published_record_is_seen(server: DnsStandIn, resolver: Resolver) -> None:
    server.set("acme.test", "TXT", ['"v=spf1 mx -all"'])
    assert await resolver.state(SPF) is RecordState.PUBLISHED


async def test_a_name_without_records_is_missing(server: DnsStandIn, resolver: Resolver) -> None:
    assert await resolver.state(SPF) is RecordState.MISSING
    server.set("other.test", "MX", ["10 mail.test."])
    assert await resolver.values("other.test", "TXT") == ()


async def test_another_value_is_different(server: DnsStandIn, resolver: Resolver) -> None:
    server.set("acme.test", "TXT", ['"v=spf1 -all"'])
    assert await resolver.state(SPF) is RecordState.DIFFERENT


async def test_a_key_too_long_for_udp_comes_over_tcp(server: DnsStandIn, resolver: Resolver) -> None:
    key = "v=DKIM1; k=rsa; p=" + "A" * 2000
    strings = " ".join(f'"{key[start : start + 250]}"' for start in range(0, len(key), 250))
    server.set("k._domainkey.acme.test", "TXT", [strings])
    record = DnsRecord(name="k._domainkey.acme.test", type="TXT", value=key)
    assert await resolver.state(record) is RecordState.PUBLISHED


@pytest.mark.parametrize(
    ("kind", "value", "published"),
    [
        ("MX", "10 mail.lab.test", "10 Mail.lab.test."),
        ("SRV", "0 1 443 mail.lab.test", "0 1 443 mail.lab.test."),
        ("CNAME", "mail.lab.test", "mail.lab.test."),
    ],
)
async def test_every_type_of_the_zone_can_be_looked_up(
    kind: str, value: str, published: str, server: DnsStandIn, resolver: Resolver
) -> None:
    server.set("x.acme.test", kind, [published])
    assert await resolver.state(DnsRecord(name="x.acme.test", type=kind, value=value)) is RecordState.PUBLISHED


@pytest.mark.parametrize("mode", ["silent", "servfail"])
async def test_without_an_answer_nothing_is_claimed(mode: str, server: DnsStandIn, resolver: Resolver) -> None:
    """A DNS that is down must not look like records that were removed."""
    server.set("acme.test", "TXT", ['"v=spf1 mx -all"'])
    server.mode = mode
    assert await resolver.state(SPF) is RecordState.UNKNOWN


async def test_a_server_that_is_not_there_is_no_answer(clock: Clock) -> None:
    assert await Resolver(["127.0.0.1:9"], timeout=0.5, clock=clock).state(SPF) is RecordState.UNKNOWN


async def test_an_answer_is_used_again_for_some_seconds_only(
    server: DnsStandIn, resolver: Resolver, clock: Clock
) -> None:
    assert await resolver.state(SPF) is RecordState.MISSING
    server.set("acme.test", "TXT", ['"v=spf1 mx -all"'])
    assert await resolver.state(SPF) is RecordState.MISSING
    clock.now += REMEMBERED
    assert await resolver.state(SPF) is RecordState.PUBLISHED


async def test_many_lookups_at_once_all_get_their_answer(server: DnsStandIn, resolver: Resolver) -> None:
    for number in range(100):
        server.set(f"n{number}.test", "TXT", [f'"a={number}"'])
    found = await asyncio.gather(*(resolver.values(f"n{number}.test", "TXT") for number in range(100)))
    assert found == [(f'"a={number}"',) for number in range(100)]
