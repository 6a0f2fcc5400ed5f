"""What makes an event of Stalwart's the same event in every delivery (facts/stalwart.md 5.3). Pure.

Its own ids do not: a repeated delivery has new ones, and older servers give two events of one second the same. So the
id is a hash of what the event says, under the installation's key since what it says is guessable, and the number of the
event among those of its body that say the same.

The residual: equal events of one second that come in two accepted bodies count as one. A batch that was refused comes
again merged with newer events, all in one body, so nothing of it is lost; one that was accepted although its answer was
lost gives its events the same numbers again, and only an equal event that is new adds one.
"""

from __future__ import annotations

import hmac

import msgspec

REMEMBERED = 100_000
"""Contents of one body that are counted. Equal events are of the same second, so they do not stand further apart."""

_CANONICAL = msgspec.json.Encoder(order="sorted")


def content_hash(key: bytes, content: object) -> bytes:
    """32 bytes that stand for ``content`` (JSON as decoded) whatever the order of its keys."""
    return hmac.digest(key, _CANONICAL.encode(content), "sha256")


class Ordinals:
    """Counts equal contents of one body, in the order they come."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._counts: dict[bytes, int] = {}

    def ext(self, content: bytes) -> str:
        """The id of the next event with this content: its hash, and how many equal ones came before it."""
        before = self._counts.pop(content, 0)
        self._counts[content] = before + 1
        if len(self._counts) > self._remembered:
            del self._counts[next(iter(self._counts))]
        return f"{content.hex()}:{before}"
