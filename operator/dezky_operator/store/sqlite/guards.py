"""What is checked before the file is touched: the library's version and the file system (facts/audit-log.md §2.3, 6).

A file that is opened in spite of these would work, and lose commits one day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dezky_operator.store.interface import StartError

FIRST_SAFE = (3, 51, 3)
"""Older libraries lose commits when a checkpoint and a commit of two connections overlap in WAL mode."""
SAFE_IN_LINE = {(3, 50): 7, (3, 44): 6}
"""Older lines that got the repair: line → first patch release with it."""

NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
"""Types whose locks or shared memory do not reach every machine that has them mounted."""
FUSE = "fuse."
"""Prefix of all file systems in user space (sshfs, rclone, s3fs): none of them is known to keep WAL's promises."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: Path
    kind: str
    source: str


def check_version(version: str) -> None:
    """Accept ``version`` of the SQLite library or refuse to start.

    Raises:
        StartError: it is one of those that lose commits; the message names it.
    """
    found = tuple(int(part) for part in version.split("."))[:3]
    patch = SAFE_IN_LINE.get((found[0], found[1]))
    if found >= FIRST_SAFE or (patch is not None and found[2] >= patch):
        return
    raise StartError(
        f"SQLite {version} loses commits where processes share a file in WAL mode; needed is 3.51.3 or later, "
        "or 3.50.7 and later 3.50.x, or 3.44.6 and later 3.44.x: install the apsw wheel, which brings its own library"
    )


def check_place(path: Path, mounts: str) -> None:
    """Accept the file system ``path`` lies on, or refuse to start. ``mounts`` is the text of /proc/self/mountinfo.

    Raises:
        StartError: the directory is missing, or on a network file system; the message names the mount.
    """
    directory = path.parent.resolve()
    if not directory.is_dir():
        raise StartError(f"the directory {directory} of the store does not exist: create it or mount the volume there")
    mount = mount_of(directory, mounts)
    if mount is not None and (mount.kind in NETWORK or mount.kind.startswith(FUSE)):
        raise StartError(
            f"{path} lies on {mount.point}, a network file system ({mount.kind} of {mount.source}): SQLite's locks "
            "and shared memory do not work there; use a volume of this host, or MongoDB"
        )


def mount_of(directory: Path, mounts: str) -> Mount | None:
    """The mount ``directory`` lies on: the deepest above it, of equal ones the last, which covers the others."""
    found: Mount | None = None
    for mount in map(_mount, mounts.splitlines()):
        if mount is None or not directory.is_relative_to(mount.point):
            continue
        if found is None or len(mount.point.parts) >= len(found.point.parts):
            found = mount
    return found


def _mount(line: str) -> Mount | None:
    """One line of mountinfo (proc_pid_mountinfo(5)): fields, optional fields, a dash, then type and source."""
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 5 or len(rest) < 2:
        return None
    return Mount(point=Path(_unescaped(fields[4])), kind=rest[0], source=_unescaped(rest[1]))


def _unescaped(text: str) -> str:
    """Blank, tab, newline and backslash stand in mountinfo as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
