"""What OCIS must have for a tenant (facts/ocis.md 9, design 6). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dezky_operator.integrations.intent import Phase, Space, TenantIntent

FORBIDDEN = re.compile(r'[/\\.:?*"><|\x00-\x1f\x7f]')
"""What the name of a space must not hold (facts/ocis.md 2.2)."""
LONGEST = 255
"""Bytes of a space's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """``spaces`` must exist and be open, ``detached`` (keys) exist and are closed, ``removed`` (keys) must go."""

    exists: bool
    spaces: tuple[Space, ...]
    detached: tuple[str, ...]
    removed: tuple[str, ...]


def desired(intent: TenantIntent) -> Desired:
    """What must be there in ``intent.phase``."""
    left = [key for key, _ in intent.known_spaces if key not in {space.key for space in intent.spaces}]
    return Desired(
        exists=intent.phase is not Phase.PURGED,
        spaces=intent.spaces,
        detached=tuple(key for key in left if key not in intent.removable),
        removed=tuple(key for key in left if key in intent.removable),
    )


def cleaned(name: str) -> str:
    """A display name as a space can have it: what is forbidden becomes a space, and 255 bytes at most."""
    text = " ".join(FORBIDDEN.sub(" ", name).split())
    shortened = text.encode()[:LONGEST].decode(errors="ignore").strip()
    return shortened or "Files"
