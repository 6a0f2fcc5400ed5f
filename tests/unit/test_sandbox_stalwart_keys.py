"""Stalwart's stand-in, DKIM keys and the zone file: each trap of facts/stalwart.md 2.4, 2.5, 11.2 and 11.3 once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import dns.rdatatype
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.sandbox.stalwart.caller import Caller, basic
from tests.sandbox.stalwart.server import StalwartStandIn

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
RAW = ED25519.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
RAW_PUBLIC = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
SPKI = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PKCS1 = PrivateFormat.TraditionalOpenSSL
DER = RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
V2 = bytes.fromhex("3051020101300506032b657004220420") + RAW + bytes.fromhex("812100") + RAW_PUBLIC


@dataclass
class Clock:
    """Seconds since 1970: 24 November 2026, 12:00 UTC."""

    now: float = 1_795_521_600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[StalwartStandIn]:
    async with StalwartStandIn(clock=clock) as found:
        yield found


@pytest.fixture
async def admin(server: StalwartStandIn) -> AsyncIterator[Caller]:
    async with Caller(server.url, basic(*server.admin)) as found:
        yield found


@pytest.fixture
async def domain(admin: Caller) -> str:
    made = await admin.make("Domain", {"name": "acme.test", "dkimManagement": {"@type": "Manual"}})
    return str(made["id"])


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return str(key.private_bytes(Encoding.PEM, form, NoEncryption()).decode())


def armoured(der: bytes) -> str:
    return f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(der).decode()}-----END PRIVATE KEY-----\n"


def body(domain: str, secret: str, kind: str = "Dkim1RsaSha256", **more: Any) -> dict[str, Any]:
    private = {"@type": "Text", "secret": secret}
    return {"@type": kind, "domainId": domain, "selector": "dz1", "privateKey": private, **more}


async def keys(admin: Caller, domain: str) -> list[dict[str, Any]]:
    ids = await admin.ids("DkimSignature", filter={"domainId": domain})
    return await admin.get("DkimSignature", *ids) if ids else []


# -- automatic keys ------------------------------------------------------------------------------


async def test_automatic_keys_come_a_moment_after_the_domain_and_sign_at_once(admin: Caller, clock: Clock) -> None:
    domain = (await admin.make("Domain", {"name": "acme.test"}))["id"]
    assert await keys(admin, domain) == [], "the answer comes before the worker has made them"
    clock.now += 0.11
    made = await keys(admin, domain)
    assert {key["selector"] for key in made} == {"v1-rsa-20261124", "v1-ed25519-20261124"}
    assert {key["stage"] for key in made} == {"active"}


async def test_keys_that_were_destroyed_are_not_made_again_by_the_same_setting(admin: Caller, clock: Clock) -> None:
    domain = (await admin.make("Domain", {"name": "acme.test"}))["id"]
    clock.now += 1
    await admin.remove("DkimSignature", *(key["id"] for key in await keys(admin, domain)))
    await admin.change("Domain", domain, {"dkimManagement": {"@type": "Automatic"}})
    clock.now += 1
    assert await keys(admin, domain) == []
    await admin.change("Domain", domain, {"dkimManagement": {"@type": "Manual"}})
    await admin.change("Domain", domain, {"dkimManagement": {"@type": "Automatic"}})
    clock.now += 1
    assert len(await keys(admin, domain)) == 2


async def test_a_domain_with_manual_keys_gets_none(admin: Caller, domain: str, clock: Clock) -> None:
    clock.now += 1
    assert await keys(admin, domain) == []


# -- explicit keys -------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [pem(RSA), pem(RSA, PKCS1)], ids=["PKCS#8", "PKCS#1"])
async def test_rsa_keys_are_taken_in_both_forms(secret: str, admin: Caller, domain: str) -> None:
    key = await admin.one("DkimSignature", (await admin.make("DkimSignature", body(domain, secret)))["id"])
    assert key["publicKey"] == base64.b64encode(SPKI).decode()


@pytest.mark.parametrize("secret", [pem(ED25519), armoured(V2)], ids=["version 1", "version 2"])
async def test_ed25519_keys_are_taken_in_both_versions(secret: str, admin: Caller, domain: str) -> None:
    made = await admin.make("DkimSignature", body(domain, secret, "Dkim1Ed25519Sha256"))
    key = await admin.one("DkimSignature", made["id"])
    assert key["publicKey"] == base64.b64encode(RAW_PUBLIC).decode()


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("Dkim1RsaSha256", base64.b64encode(DER).decode()),
        ("Dkim1RsaSha256", DER.decode("latin-1")),
        ("Dkim1Ed25519Sha256", base64.b64encode(RAW).decode()),
        ("Dkim1Ed25519Sha256", armoured(RAW)),
        ("Dkim1RsaSha256", pem(ED25519)),
        ("Dkim1Ed25519Sha256", pem(RSA)),
        ("Dkim1RsaSha256", pem(ec.generate_private_key(ec.SECP256R1()))),
        ("Dkim1RsaSha256", "generate"),
    ],
    ids=["base64", "DER", "raw", "raw in PEM", "other kind", "other kind too", "EC", "a wish"],
)
async def test_no_other_form_of_key_is_taken(kind: str, secret: str, admin: Caller, domain: str) -> None:
    error = await admin.not_made("DkimSignature", body(domain, secret, kind))
    assert error["type"] == "invalidProperties"
    assert error["description"].startswith("Failed to validate DKIM signature")


async def test_a_short_rsa_key_is_too_small(admin: Caller, domain: str) -> None:
    short = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))  # noqa: S505 - refused, that is why
    error = await admin.not_made("DkimSignature", body(domain, short))
    assert error["type"] == "invalidProperties"
    assert "TooSmall" in error["description"]


async def test_a_private_key_is_read_as_a_mask_and_the_mask_is_no_key(admin: Caller, domain: str) -> None:
    made = await admin.make("DkimSignature", body(domain, pem(RSA)))
    key = await admin.one("DkimSignature", made["id"])
    assert key["privateKey"] == {"@type": "Text", "secret": "****"}
    error = await admin.not_changed("DkimSignature", made["id"], {"privateKey": key["privateKey"]})
    assert error["type"] == "invalidProperties"


async def test_a_stage_is_changed_without_the_key(admin: Caller, domain: str) -> None:
    key = (await admin.make("DkimSignature", body(domain, pem(RSA), stage="pending")))["id"]
    await admin.change("DkimSignature", key, {"stage": "active"})
    assert (await admin.one("DkimSignature", key))["stage"] == "active"
    assert (await admin.not_changed("DkimSignature", key, {"stage": "signing"}))["type"] == "invalidPatch"


async def test_a_second_key_of_a_selector_is_taken(admin: Caller, domain: str) -> None:
    for _ in range(2):
        await admin.make("DkimSignature", body(domain, pem(RSA)))
    assert [key["selector"] for key in await keys(admin, domain)] == ["dz1", "dz1"]
    assert (await admin.one("Domain", domain))["dnsZoneFile"].count("dz1._domainkey") == 2


async def test_a_key_of_a_domain_that_is_not_there_is_refused(admin: Caller) -> None:
    error = await admin.not_made("DkimSignature", body("zz", pem(RSA)))
    assert error == {"type": "invalidForeignKey", "objectId": {"object": "Domain", "id": "zz"}}


async def test_a_domain_stays_while_it_has_keys(admin: Caller, domain: str) -> None:
    key = (await admin.make("DkimSignature", body(domain, pem(RSA))))["id"]
    links = (await admin.not_removed("Domain", domain))["linkedObjects"]
    assert links == [{"object": "DkimSignature", "id": key}]


# -- the zone file ----------------------------------------------------------------------------------


async def test_keys_of_every_stage_are_in_the_zone(admin: Caller, domain: str) -> None:
    for stage in ("pending", "active", "retiring", "retired"):
        await admin.make("DkimSignature", body(domain, pem(RSA), stage=stage, selector=f"s-{stage}"))
    zone = (await admin.one("Domain", domain))["dnsZoneFile"]
    assert all(f"s-{stage}._domainkey.acme.test." in zone for stage in ("pending", "active", "retiring", "retired"))


async def test_the_zone_can_be_parsed_and_long_keys_are_whole(admin: Caller, domain: str) -> None:
    await admin.make("DkimSignature", body(domain, pem(RSA), selector="r"))
    await admin.make("DkimSignature", body(domain, pem(ED25519), "Dkim1Ed25519Sha256", selector="e"))
    text = (await admin.one("Domain", domain))["dnsZoneFile"]
    assert '( "v=DKIM1; k=rsa; h=sha256; p=' in text, "over two strings in parentheses"
    zone = dns.zone.from_text("$TTL 3600\n" + text, origin="acme.test", relativize=False, check_origin=False)
    records = {f"{name} {dns.rdatatype.to_text(found.rdtype)}" for name, found in zone.iterate_rdatasets()}
    assert records == {
        "acme.test. MX",
        "acme.test. TXT",
        "r._domainkey.acme.test. TXT",
        "e._domainkey.acme.test. TXT",
        "_dmarc.acme.test. TXT",
        "_mta-sts.acme.test. TXT",
        "_smtp._tls.acme.test. TXT",
        "_ua-auto-config.acme.test. TXT",
        *(f"{name}.acme.test. CNAME" for name in ("mta-sts", "ua-auto-config", "autoconfig", "autodiscover")),
        *(f"_{name}._tcp.acme.test. SRV" for name in ("caldavs", "carddavs", "jmap", "imaps", "pop3s", "submissions")),
    }
    key = zone.find_rdataset("r._domainkey.acme.test.", "TXT")[0]
    assert base64.b64encode(SPKI) in b"".join(key.strings)


async def test_an_alias_has_no_zone(admin: Caller, domain: str) -> None:
    await admin.change("Domain", domain, {"aliases/acme.eu": True})
    assert "acme.eu" not in (await admin.one("Domain", domain))["dnsZoneFile"]
