"""Records to publish, and how a published one is compared with them. Pure."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum

import dns.exception
import dns.rdatatype
import dns.zone

VERIFICATION_LABEL = "_dezky"


class RecordState(StrEnum):
    """Whether a record is published."""

    PUBLISHED = "Published"
    MISSING = "Missing"
    DIFFERENT = "Different"
    """There is a record of this name and type, with another value."""
    UNKNOWN = "Unknown"
    """DNS did not answer."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class DnsRecord:
    """One record, its name with the final dot left out, a TXT value as one string without quotes."""

    name: str
    type: str
    value: str


class ZoneError(ValueError):
    """A zone file that can not be read."""


def parse_zone(domain: str, text: str) -> tuple[DnsRecord, ...]:
    """The records of a zone file as Stalwart writes it (facts/stalwart.md 2.5, 11.2), sorted. Raises ZoneError."""
    try:
        zone = dns.zone.from_text(f"$TTL 3600\n{text}\n", origin=f"{domain}.", relativize=False, check_origin=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ZoneError(f"the zone file of {domain} can not be read: {error}") from error
    found = set()
    for name, _, rdata in zone.iterate_rdatas():
        kind = dns.rdatatype.to_text(rdata.rdtype)
        found.add(DnsRecord(name=_plain(name.to_text()), type=kind, value=canonical(kind, rdata.to_text())))
    return tuple(sorted(found))


def canonical(kind: str, text: str) -> str:
    """One spelling for one value: TXT strings joined, names in lower case without the final dot."""
    if kind == "TXT":
        parts = re.findall(r'"((?:[^"\\]|\\.)*)"', text)
        joined = "".join(parts) if parts else text
        return re.sub(r"\\(\d{3}|.)", _unescaped, joined)
    return " ".join(_plain(part) for part in text.split())


def state_of(record: DnsRecord, published: tuple[str, ...]) -> RecordState:
    """Whether ``record`` is among the published values of its name and type."""
    wanted = _folded(record.type, record.value)
    values = {_folded(record.type, canonical(record.type, value)) for value in published}
    tag = _tag(wanted) if record.type == "TXT" else None
    rivals = {value for value in values - {wanted} if tag is None or _tag(value) == tag}
    if wanted not in values:
        return RecordState.DIFFERENT if rivals else RecordState.MISSING
    # Two policies of one kind are none: a receiver that finds two SPF records treats both as an error (RFC 7208, 4.5).
    single = tag is not None and tag.startswith("v=")
    return RecordState.DIFFERENT if single and rivals else RecordState.PUBLISHED


def _tag(value: str) -> str | None:
    """What a TXT value is about (``v=spf1``, ``dezky-verify``): several records share a name, each with its own."""
    if value.lower().startswith("v="):
        return re.split(r"[;\s]", value.lower(), maxsplit=1)[0]
    return value.split("=", 1)[0] if "=" in value else value


def _folded(kind: str, value: str) -> str:
    """For comparison only: providers' forms put blanks where people break lines, and drop the last semicolon."""
    if kind != "TXT":
        return value
    return re.sub(r"\s*;\s*", ";", " ".join(value.split())).rstrip(";")


def _unescaped(found: re.Match[str]) -> str:
    text = found.group(1)
    return chr(int(text)) if len(text) == 3 else text


def verification_record(domain: str, tenant_id: uuid.UUID) -> DnsRecord:
    """The record that proves that the customer owns ``domain`` (design 6, Domains)."""
    return DnsRecord(name=f"{VERIFICATION_LABEL}.{domain}", type="TXT", value=f"dezky-verify={tenant_id}")


def _plain(name: str) -> str:
    return name.rstrip(".").lower() or "."
