"""What OCIS must have for a tenant (facts/ocis.md 9, design 6). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dezky_operator.integrations.intent import Adoption, Phase, Space, TenantIntent
from dezky_operator.integrations.ocis.model import PROJECT, Drive

FORBIDDEN = re.compile(r'[/\\.:?*"><|\x00-\x1f\x7f]')
"""What the name of a space must not hold (facts/ocis.md 2.2)."""
LONGEST = 255
"""Bytes of a space's name."""
OURS = "project/dezky-"
"""How the alias of every tenant's space begins."""
FURTHER = "_"
"""Between slug and key of a further space: no slug holds it, so `labs` of acme is never the main space of acme-labs.

Not a `/`: the web page takes what follows the alias of a space for a folder in it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """``spaces`` must exist and be open, ``detached`` (keys) exist and are closed, ``removed`` (keys) must go.

    ``exists`` is False when everything of the tenant must be gone.
    """

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


def alias_of(slug: str, key: str | None = None) -> str:
    """The alias of a tenant's main space, or of a further one. The slug is what stands before the first ``_``."""
    return f"{OURS}{slug}{FURTHER}{key}" if key else f"{OURS}{slug}"


def owns(intent: TenantIntent, drive: Drive) -> bool:
    """Whether a space that has one of our ids is ours.

    Whoever can make spaces can choose their ids, and there is no field for a mark that people do not see: type and
    alias decide (facts/ocis.md 9).
    """
    alias = alias_of(intent.slug)
    ours = drive.drive_alias == alias or drive.drive_alias.startswith(f"{alias}{FURTHER}")
    return drive.drive_type == PROJECT and ours


def may_use(intent: TenantIntent, key: str, drive: Drive) -> bool:
    """Whether a space that has one of our ids may be changed: it is ours, or the spec wants and may take it.

    What is taken gets our alias in the same round. A space that is to be closed or destroyed is never taken for that.
    """
    if owns(intent, drive):
        return True
    wanted = intent.phase is not Phase.PURGED and any(space.key == key for space in intent.spaces)
    if not wanted or drive.drive_type != PROJECT:
        return False
    if drive.drive_alias.startswith(OURS):
        return intent.adoption is Adoption.FORCE
    return intent.adoption is not Adoption.NEVER


def cleaned(name: str) -> str:
    """A display name as a space can have it: what is forbidden becomes a space, and 255 bytes at most."""
    text = " ".join(FORBIDDEN.sub(" ", name).split())
    shortened = text.encode()[:LONGEST].decode(errors="ignore").strip()
    return shortened or "Files"
