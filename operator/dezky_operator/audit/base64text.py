"""Base64 that has one form only. Pure.

The usual readers ignore the unused bits of the last digit, so two texts give the same bytes and a changed byte of a
signed note would go unseen (facts/audit-log.md 4, case 32).
"""

from __future__ import annotations

import base64
import binascii


def to_base64(data: bytes) -> str:
    """Standard alphabet, padded."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """The bytes. Raises ValueError unless ``text`` is exactly what :func:`to_base64` makes of them."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if to_base64(data) != text:
        raise ValueError("not canonical base64")
    return data
