"""The source's text, sealed so that erasing one person in it erases it (facts/audit-log.md 2.8). Pure.

AES-256-GCM under a key derived from the keys of everybody the text names, and from the event: no two events share one.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dezky_operator.audit.errors import SealError

CONTEXT = b"dezky.eu/audit/raw/v1"
KEY = 32
"""Bytes of a subject's or tenant's key."""
NONCE = 12
NO_SALT = bytes(32)


def seal(text: bytes, *, key: bytes, nonce: bytes) -> bytes:
    """Nonce, ciphertext and tag. ``key`` is of :func:`text_key`, ``nonce`` is random."""
    return nonce + AESGCM(key).encrypt(nonce, text, None)


def unseal(sealed: bytes, *, key: bytes) -> bytes:
    """The text. Raises SealError when the bytes were changed or the key is another one."""
    if len(sealed) < NONCE + 16:
        raise SealError(f"a sealed text has at least {NONCE + 16} bytes, found {len(sealed)}")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], None)
    except InvalidTag:
        raise SealError("the sealed text was changed, or a key of another event or person was used") from None


def text_key(dk: bytes, *, subjects: Mapping[str, bytes], tenant: bytes) -> bytes:
    """The key of one event's text: HKDF-SHA-256 (RFC 5869, no salt, 32 bytes) over all subjects' keys.

    Args:
        dk: the event's dedupe key.
        subjects: keys by subject id; they are joined in the order of the ids' bytes.
        tenant: the tenant's key, used when nobody is named.
    """
    return expanded(extracted(list(subjects.items()), tenant=tenant), dk)


def extracted(subjects: Sequence[tuple[str, bytes]], *, tenant: bytes) -> bytes:
    """The first step of the key, which is the same for every event that names the same ids. Raises SealError."""
    # Code points sort as their UTF-8 bytes do.
    material = b"".join(key for _, key in sorted(subjects)) if subjects else tenant
    if not material or len(material) % KEY:
        raise SealError(f"keys of subjects and tenants have {KEY} bytes")
    # Both steps of HKDF by hand: for one block they are two HMACs, a tenth of what the general class costs.
    return hmac.digest(NO_SALT, material, "sha256")


def expanded(first: bytes, dk: bytes) -> bytes:
    """The second step: the key of one event's text."""
    return hmac.digest(first, CONTEXT + dk + b"\x01", "sha256")
