"""Opening the file: guards first, then the settings its promises rest on, each read back (design.md §8)."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from dezky_operator.store.interface import StartError
from dezky_operator.store.sqlite.guards import check_place, check_version
from dezky_operator.store.sqlite.schema import APPLICATION, SHAPES, VERSION

SETTINGS: tuple[tuple[str, str, object], ...] = (
    ("synchronous", "FULL", 2),
    ("secure_delete", "ON", 1),
    ("temp_store", "MEMORY", 2),  # no plaintext in a temporary file
    ("trusted_schema", "OFF", 0),
    ("journal_size_limit", str(64 * 2**20), 64 * 2**20),  # a WAL that a long reader let grow shrinks again
)
STATEMENTS_KEPT = 200
PRIVATE = 0o600


def _mounts() -> str:
    """The mounts of this process. Elsewhere than on Linux nobody can be asked: development only."""
    return Path("/proc/self/mountinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""


@dataclass(frozen=True)
class Options:
    """What may be set about the file.

    Attributes:
        busy_seconds: how long a write waits for another process before it is UnavailableError.
        max_pages: pages of 4 KiB the file may have, 0 for no bound; beyond it the disk counts as full.
        mmap_size: must be 0: with it a failing disk is a SIGBUS and a truncated file garbage. There to be refused.
        version: of the SQLite library.
        mounts: text of /proc/self/mountinfo.
        vfs: name of the layer between SQLite and the disk, empty for its own.
    """

    busy_seconds: float = 10.0
    max_pages: int = 0
    mmap_size: int = 0
    version: str = field(default_factory=apsw.sqlite_lib_version)
    mounts: str = field(default_factory=_mounts)
    vfs: str = ""


def check(path: Path, options: Options) -> None:
    """Everything that can be said without touching the file.

    Raises:
        StartError: the message names the version, the mount or the setting.
    """
    check_version(options.version)
    if not apsw.using_amalgamation:
        raise StartError("apsw was built against the system's SQLite: install its wheel, which brings its own library")
    if options.mmap_size > 0:
        raise StartError(f"mmap_size is {options.mmap_size}: the store must not be memory-mapped, set it to 0")
    check_place(path, options.mounts)


def opened(path: Path, options: Options) -> apsw.Connection:
    """Open ``path``, made if it is not there, and leave it ready for work.

    Raises:
        StartError: the file is not ours, of a later version, read-only, or a setting does not hold.
        apsw.Error: the disk failed, or another process held the file for too long.
    """
    _make_private(path)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags, options.vfs or None, STATEMENTS_KEPT)
    try:
        connection.set_busy_timeout(round(options.busy_seconds * 1000))
        _refuse_read_only(connection, path)
        _refuse_foreign(connection, path)
        _settle(connection, options)
        _make_tables(connection)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def _make_private(path: Path) -> None:
    """Make the file, readable by its owner only: SQLite gives its journals the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    except OSError as error:
        raise StartError(f"the store {path} cannot be opened for writing: {error.strerror}") from error


def _refuse_read_only(connection: apsw.Connection, path: Path) -> None:
    if connection.readonly("main"):
        raise StartError(f"the store {path} is on a read-only volume, or its rights do not let this user write")
    if not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StartError(f"the directory {path.parent} must be writable: SQLite keeps its journal beside the file")


def _refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    """Refuse a file of another program and one written by a later version of this one."""
    try:
        connection.execute("BEGIN")  # one state: another process may be making the tables right now
        application, version = connection.pragma("application_id"), connection.pragma("user_version")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        connection.execute("COMMIT")
    except apsw.NotADBError as error:
        raise StartError(f"{path} is no SQLite database: it is left as it is") from error
    if application not in {0, APPLICATION} or (application == 0 and tables):
        raise StartError(f"{path} belongs to another program (application id {application}): it is left as it is")
    if version > VERSION:
        raise StartError(f"{path} has schema {version}, this program knows up to {VERSION}: start the later version")


def _settle(connection: apsw.Connection, options: Options) -> None:
    _expect(_in_wal(connection, options.busy_seconds), "wal", "journal_mode")
    _expect(connection.pragma("mmap_size", 0), 0, "mmap_size")
    for name, value, expected in SETTINGS:
        connection.pragma(name, value)
        _expect(connection.pragma(name), expected, name)
    if options.max_pages:
        connection.pragma("max_page_count", options.max_pages)


def _in_wal(connection: apsw.Connection, seconds: float) -> object:
    """Switch to WAL. Two processes making the file at once are in each other's way, and SQLite does not wait here."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(apsw.BusyError):
            return connection.pragma("journal_mode", "wal")
        time.sleep(0.01)
    return connection.pragma("journal_mode", "wal")


def _expect(found: object, expected: object, name: str) -> None:
    if found != expected:
        raise StartError(f"SQLite keeps {name} at {found!r} where {expected!r} is needed: is the volume local?")


def _make_tables(connection: apsw.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.pragma("user_version") < VERSION:  # of an earlier version, only what came later is missing
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            missing = [shape for name, shape in SHAPES.items() if name not in there]
            for statement in (one for shape in missing for one in shape.create):
                connection.execute(statement)
            connection.pragma("application_id", APPLICATION)
            connection.pragma("user_version", VERSION)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
