"""Records to publish, and what counts as published."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dezky_operator.integrations.dns.records import (
    DnsRecord,
    RecordState,
    ZoneError,
    canonical,
    parse_zone,
    state_of,
    verification_record,
)

ZONE = """\
dezky1-rsa._domainkey.acme.test. IN TXT ( "v=DKIM1; k=rsa; h=sha256; p=MIIB"
    "IjAN" )
acme.test. IN TXT "v=spf1 mx -all"
acme.test. IN MX 10 Mail.Lab.test.
_jmap._tcp.acme.test. IN SRV 0 1 443 mail.lab.test.
mta-sts.acme.test. IN CNAME mail.lab.test.
"""


def record(kind: str, value: str, name: str = "acme.test") -> DnsRecord:
    return DnsRecord(name=name, type=kind, value=value)


def test_a_zone_becomes_sorted_records() -> None:
    assert parse_zone("acme.test", ZONE) == (
        record("SRV", "0 1 443 mail.lab.test", "_jmap._tcp.acme.test"),
        record("MX", "10 mail.lab.test"),
        record("TXT", "v=spf1 mx -all"),
        record("TXT", "v=DKIM1; k=rsa; h=sha256; p=MIIBIjAN", "dezky1-rsa._domainkey.acme.test"),
        record("CNAME", "mail.lab.test", "mta-sts.acme.test"),
    )


def test_an_empty_zone_has_no_records() -> None:
    assert parse_zone("acme.test", "") == ()


@pytest.mark.parametrize("text", ["acme.test. IN MX ten mail.", "((", 'acme.test. IN TXT "open', "a b c d e"])
def test_a_zone_that_can_not_be_read_names_its_domain(text: str) -> None:
    with pytest.raises(ZoneError, match=r"acme\.test"):
        parse_zone("acme.test", text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=600))
def test_any_text_survives_being_cut_into_strings(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    pieces, rest = [], quoted
    while rest:
        cut = min(len(rest), 200)
        while rest[:cut].endswith("\\") and (cut - len(rest[:cut].rstrip("\\"))) % 2:
            cut -= 1
        pieces.append(f'"{rest[:cut]}"')
        rest = rest[cut:]
    zone = f"acme.test. IN TXT ( {' '.join(pieces) or chr(34) * 2} )\n"
    assert parse_zone("acme.test", zone) == (record("TXT", text),)


@given(st.text(max_size=200))
def test_no_zone_breaks_the_reader(text: str) -> None:
    try:
        parse_zone("acme.test", text)
    except ZoneError as error:
        assert "acme.test" in str(error)  # noqa: PT017 - a text that happens to be a zone is fine too


@pytest.mark.parametrize(
    ("kind", "value", "published"),
    [
        ("TXT", "v=spf1 mx -all", '"v=spf1 mx -all"'),
        ("TXT", "v=spf1 mx -all", '"v=spf1  mx   -all "'),
        ("TXT", "v=DKIM1; k=rsa; p=AAAABBBB", '"v=DKIM1; k=rsa; " "p=AAAABBBB"'),
        ("TXT", "v=DKIM1; k=rsa; p=AAAA", '"v=DKIM1;k=rsa;p=AAAA;"'),
        ("TXT", 'a="b"', '"a=\\"b\\""'),
        ("TXT", "name=ä", '"name=\\228"'),
        ("MX", "10 mail.lab.test", "10 MAIL.lab.test."),
        ("SRV", "0 1 443 mail.lab.test", "0 1 443 mail.lab.test."),
        ("CNAME", "mail.lab.test", "Mail.Lab.Test."),
    ],
)
def test_spelling_does_not_matter(kind: str, value: str, published: str) -> None:
    assert state_of(record(kind, value), (published,)) is RecordState.PUBLISHED


@pytest.mark.parametrize(
    ("kind", "value", "published"),
    [
        ("TXT", "v=spf1 mx -all", '"v=spf1 -all"'),
        ("TXT", "v=DKIM1; p=AAAA", '"v=DKIM1; p=aaaa"'),
        ("TXT", "dezky-verify=one", '"dezky-verify=two"'),
        ("MX", "10 mail.lab.test", "20 mail.lab.test."),
        ("SRV", "0 1 443 mail.lab.test", "0 1 444 mail.lab.test."),
        ("CNAME", "mail.lab.test", "web.lab.test."),
    ],
)
def test_another_value_is_different(kind: str, value: str, published: str) -> None:
    assert state_of(record(kind, value), (published,)) is RecordState.DIFFERENT


def test_what_others_keep_at_the_same_name_does_not_count() -> None:
    others = ('"google-site-verification=abc"', '"MS=ms123"', '"hello"')
    assert state_of(record("TXT", "v=spf1 mx -all"), others) is RecordState.MISSING
    assert state_of(record("TXT", "v=spf1 mx -all"), (*others, '"v=spf1 mx -all"')) is RecordState.PUBLISHED


def test_two_policies_of_one_kind_are_none() -> None:
    published = ('"v=spf1 mx -all"', '"v=spf1 include:old.test -all"')
    assert state_of(record("TXT", "v=spf1 mx -all"), published) is RecordState.DIFFERENT


def test_a_second_mail_exchanger_beside_ours_is_fine() -> None:
    assert state_of(record("MX", "10 mail.lab.test"), ("10 mail.lab.test.", "20 backup.test.")) is RecordState.PUBLISHED


def test_two_installations_may_verify_one_domain() -> None:
    published = ('"dezky-verify=one"', '"dezky-verify=two"')
    assert state_of(record("TXT", "dezky-verify=one"), published) is RecordState.PUBLISHED


def test_nothing_published_is_missing() -> None:
    assert state_of(record("TXT", "v=spf1 mx -all"), ()) is RecordState.MISSING


@given(st.sampled_from(["TXT", "MX"]), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40))
def test_a_canonical_name_stays_as_it_is(kind: str, text: str) -> None:
    if kind == "MX":
        assert canonical(kind, canonical(kind, text)) == canonical(kind, text)


def test_the_verification_record_carries_the_tenant() -> None:
    tenant = uuid.UUID(int=7)
    assert verification_record("acme.test", tenant) == record("TXT", f"dezky-verify={tenant}", "_dezky.acme.test")
