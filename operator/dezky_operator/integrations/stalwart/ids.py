"""Stalwart's ids: JMAP writes them in base32 of its own, events as plain numbers (facts/stalwart.md 2.2). Pure."""

from __future__ import annotations

ALPHABET = "abcdefghijklmnopqrstuvwxyz792013"


def as_id(number: int) -> str:
    """The number of an event as JMAP writes it, without padding; 0 is ``a``. ``number`` is not below 0."""
    letters = [ALPHABET[number & 31]]
    while number := number >> 5:
        letters.append(ALPHABET[number & 31])
    return "".join(reversed(letters))
