"""The zone file of a domain: what its owner is to publish (facts/stalwart.md 2.5, 11.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Record = dict[str, Any]
SERVICES = (
    ("caldavs", 443),
    ("carddavs", 443),
    ("jmap", 443),
    ("imaps", 993),
    ("pop3s", 995),
    ("submissions", 465),
)


def zone_file(name: str, host: str, keys: Iterable[Record]) -> str:
    """Keys of every stage first. Nothing for aliases of the domain."""
    lines = [_key(key, name) for key in keys]
    lines += [
        f'{name}. IN TXT "v=spf1 mx -all"',
        f"{name}. IN MX 10 {host}.",
        f'_dmarc.{name}. IN TXT "v=DMARC1; p=reject; rua=mailto:postmaster@{name}"',
    ]
    lines += [f"_{service}._tcp.{name}. IN SRV 0 1 {port} {host}." for service, port in SERVICES]
    lines += [f"{label}.{name}. IN CNAME {host}." for label in ("mta-sts", "ua-auto-config", "autoconfig")]
    lines += [
        f"autodiscover.{name}. IN CNAME {host}.",
        f'_mta-sts.{name}. IN TXT "v=STSv1; id=8140060606123217157"',
        f'_smtp._tls.{name}. IN TXT "v=TLSRPTv1; rua=mailto:postmaster@{name}"',
        f'_ua-auto-config.{name}. IN TXT "v=UAAC1; a=sha256; d=4k9MbJzY0cX1hZ3m7rQnq5p0u8vWb2sDf6gTy1eLkHo="',
    ]
    return "\n".join(lines) + "\n"


def _key(key: Record, name: str) -> str:
    public = key["publicKey"]
    if "Ed25519" in key["@type"]:
        return f'{key["selector"]}._domainkey.{name}. IN TXT "v=DKIM1; k=ed25519; h=sha256; p={public}"'
    text = f"v=DKIM1; k=rsa; h=sha256; p={public}"
    return f'{key["selector"]}._domainkey.{name}. IN TXT ( "{text[:255]}"\n    "{text[255:]}" )'
