"""Salted commitments to personal values, pseudonyms and the blind index (facts/audit-log.md 2.8, 6.0). Pure.

A line holds only ``SHA-256(0x02, salt, path, 0x00, value)``. Value and salt live elsewhere and can be erased without
touching the line; without its salt the hash of an e-mail address can not be guessed.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

from dezky_operator.audit.errors import EventError
from dezky_operator.audit.event import PATHS

SALT = 16
"""Bytes of a salt; they come from the system's generator."""
REF = 16
"""Hex digits of a pseudonym."""
_HEADS = {path: path.encode() + b"\0" for path in PATHS}


def commitment(salt: bytes, path: str, value: bytes) -> str:
    """What a line holds in place of ``value``, 64 hex digits. Raises EventError for a path or salt that is none."""
    head = _HEADS.get(path)
    if head is None or len(salt) != SALT:
        raise EventError(f"a commitment needs a known path and a salt of {SALT} bytes, found {path!r}, {len(salt)}")
    return sha256(b"\x02" + salt + head + value).hexdigest()


def commitments(values: Mapping[str, str], salts: bytes) -> tuple[dict[str, str], dict[str, tuple[bytes, str]]]:
    """Commitments by path, and what opens each: its salt, the n-th of ``salts``, and its value.

    The same as :func:`commitment` for each, which is what every verifier and test calls. Written out because it runs
    a few times for each event, and the calls cost as much as the hashes.
    """
    made: dict[str, str] = {}
    opening: dict[str, tuple[bytes, str]] = {}
    start = 0
    for path, value in values.items():
        end = start + SALT
        salt = salts[start:end]
        opening[path] = (salt, value)
        made[path] = sha256(b"\x02" + salt + _HEADS[path] + value.encode()).hexdigest()
        start = end
    return made, opening


def pseudonym(subject_key: bytes, subject: str) -> str:
    """The `ref` of a person or object: the same under one key, and nothing once the key is deleted."""
    return hmac.digest(subject_key, subject.encode(), "sha256").hex()[:REF]


def blind_index(tenant_key: bytes, value: str) -> bytes:
    """What finds a value again without keeping it readable. Kept beside the value and erased with it."""
    return hmac.digest(tenant_key, value.lower().encode(), "sha256")
