"""The signature of a webhook body (facts/stalwart.md 5.2): HMAC-SHA-256 over the bytes as they came. No I/O."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

HEADER = "X-Signature"
LENGTH = 32
_HEX = 2 * LENGTH


def signature_of(header: str) -> bytes | None:
    """The 32 bytes that the header says, in base64 as Stalwart writes them or in hex as older senders did."""
    try:
        found = bytes.fromhex(header) if len(header) == _HEX else base64.b64decode(header, validate=True)
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == LENGTH else None


class Seal:
    """Signs a body while it comes in, with each of the secrets in use: two of them while one is rotated."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._codes = [hmac.new(secret, digestmod="sha256") for secret in secrets]

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for code in self._codes:
            code.update(chunk)

    def fits(self, signature: bytes) -> bool:
        """Whether one of the secrets made ``signature``. Takes as long whichever it was, and if none did."""
        found = False
        for code in self._codes:
            found |= hmac.compare_digest(code.digest(), signature)
        return found
