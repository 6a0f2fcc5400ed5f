"""Forms of short texts that come again and again: names, uids, keys. Pure.

Texts that fit are remembered, since a pattern for each field of each event costs more than its hash. Those that do not
are not: a hostile line of 64 KiB must not stay in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def remembered(pattern: str, most: int = 16_384) -> Callable[[str], bool]:
    """Tells whether a text fits ``pattern``, which bounds its length; keeps at most ``most`` that did."""
    fullmatch = re.compile(pattern).fullmatch
    known: set[str] = set()

    def fits(text: str) -> bool:
        if text in known:
            return True
        if fullmatch(text) is None:
            return False
        if len(known) >= most:
            known.clear()
        known.add(text)
        return True

    return fits


_UID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

is_uid = remembered(f"(?:{_UID})?")
"""A uid in lower case, or empty."""
is_src = remembered("[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", 4_096)
"""The name of an AuditSource, as Kubernetes names objects."""
is_source = remembered("[a-z]{1,32}", 256)
"""A type of source."""
is_key = remembered("[a-z0-9_.]{1,128}", 4_096)
"""A key of a line's ``data``."""
is_origin = remembered(f"{_UID}/audit/[1-9][0-9]{{0,15}}", 64)
"""The name of a log: installation and epoch, from 1."""
