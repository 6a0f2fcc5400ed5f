"""What SQLite's errors mean for the one who handed work in."""

from __future__ import annotations

from pathlib import Path

import apsw

from dezky_operator.store.interface import UnavailableError

OF_THE_WORK = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.SQLError,
    apsw.TooBigError,
)
"""Errors of one statement: they leave the transaction, and the work of others in it, whole."""
OF_THE_FILE = (
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.IOError,
    apsw.NotADBError,
)
"""After these the connection is closed, and opened again for the next work (facts/audit-log.md §2.3, 6).

Not after a full disk or a read-only volume: what was acknowledged is safe there and has to stay readable.
"""


def unavailable(error: Exception, path: Path) -> UnavailableError:
    """The error for everybody whose work was in the transaction. Says what to do, not what SQLite calls it."""
    if isinstance(error, apsw.BusyError):
        return UnavailableError(f"{path}: another process kept the write lock; the work was not done, try again")
    if isinstance(error, apsw.FullError):
        return UnavailableError(f"{path}: the disk is full; nothing of this work is stored, free space and try again")
    if isinstance(error, apsw.ReadOnlyError):
        return UnavailableError(f"{path}: the volume became read-only; nothing of this work is stored")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return UnavailableError(f"{path}: the file is damaged ({error}); restore it from a backup and verify the log")
    return UnavailableError(f"{path}: the disk failed ({error}); whether this work is stored is found by looking again")
