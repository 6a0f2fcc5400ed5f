"""Stalwart's ids: numbers in base32 (facts/stalwart.md 2.2)."""

from __future__ import annotations

ALPHABET = "abcdefghijklmnopqrstuvwxyz792013"
RECOVERY_ADMIN = "d333333"
"""The account number of whoever signs in with the recovery credential: the highest of 32 bits."""


def encode(number: int) -> str:
    """A number as JMAP writes it: base32 without padding, the lowest letter for 0."""
    text = ""
    while True:
        text = ALPHABET[number & 31] + text
        number >>= 5
        if number == 0:
            return text


def decode(text: str) -> int:
    """The number of an id. Raises ValueError."""
    number = 0
    for letter in text:
        number = number << 5 | ALPHABET.index(letter)
    return number


def is_id(text: object) -> bool:
    """Whether this can be an id at all."""
    return isinstance(text, str) and 0 < len(text) <= 13 and all(letter in ALPHABET for letter in text)
