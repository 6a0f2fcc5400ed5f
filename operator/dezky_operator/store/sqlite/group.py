"""Group commit: the work of one moment in one transaction, each piece answered after the commit and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

import apsw

from dezky_operator.store.interface import Rows, StartError, UnavailableError
from dezky_operator.store.sqlite.errors import OF_THE_FILE, OF_THE_WORK, unavailable
from dezky_operator.store.sqlite.file import Options, opened
from dezky_operator.store.sqlite.rows import SqliteRows, finish


class Kind(Enum):
    """What a job asks for."""

    OPEN = "open"
    WRITE = "write"
    READ = "read"
    SCRUB = "scrub"


@dataclass(frozen=True)
class Job:
    """A piece of work, and who waits for it."""

    kind: Kind
    work: Callable[[Rows], Awaitable[Any]]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def answer(self, outcome: Outcome) -> None:
        """Give the one who waits what came of it, unless he or his loop has gone."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Outcome) -> None:
        if self.future.done():
            return
        if outcome.error is not None:
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome.result)


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    result: Any = None
    error: BaseException | None = None


class Connected:
    """The file and the connection to it, which comes and goes with the disk's health. Used by one thread only."""

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self._options = options
        self._connection: apsw.Connection | None = None
        self._suspect = False

    def serve(self, group: Sequence[Job]) -> None:
        """Do the jobs, those of one kind that follow each other together."""
        waited_for = [job for job in group if not job.future.cancelled()]
        for kind, jobs in groupby(waited_for, key=lambda job: job.kind):
            self._answered(kind, tuple(jobs))

    def close(self) -> None:
        """Close the file. What was answered is on the disk already, so a disk that fails at this takes nothing back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(apsw.Error):
                connection.close(force=True)

    def _answered(self, kind: Kind, jobs: tuple[Job, ...]) -> None:
        try:
            outcomes = self._outcomes(kind, jobs)
        except apsw.Error as error:
            outcomes = [Outcome(error=unavailable(error, self.path)) for _ in jobs]
            if isinstance(error, OF_THE_FILE):
                self._suspect = True
                self.close()
        except StartError as error:
            # The file was open before, so this is no start: the volume changed under it.
            told = error if kind is Kind.OPEN else UnavailableError(str(error))
            outcomes = [Outcome(error=told) for _ in jobs]
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            outcomes = [Outcome(error=error) for _ in jobs]
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.answer(outcome)

    def _outcomes(self, kind: Kind, jobs: tuple[Job, ...]) -> list[Outcome]:
        connection = self._ready()
        if kind is Kind.WRITE:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                return [self._piece(connection, job) for job in jobs]
        if kind is Kind.READ:
            with _transaction(connection, "BEGIN"):
                return [self._piece(connection, job) for job in jobs]
        if kind is Kind.SCRUB:
            self._empty_wal(connection)
        return [Outcome()] * len(jobs)

    def _ready(self) -> apsw.Connection:
        """The connection, opened again if the last one was closed for an error.

        After a failed sync the kernel may call pages clean that never reached the disk, and the WAL reads as if all
        were well. So all that can be seen is first written anew into the file and synced: only then may an event count
        as "there already".
        """
        if self._connection is None:
            self._connection = opened(self.path, self._options)
        if self._suspect:
            self._empty_wal(self._connection)
            self._suspect = False
        return self._connection

    def _empty_wal(self, connection: apsw.Connection) -> None:
        """Write the WAL into the file, sync it, and cut the WAL to nothing."""
        left, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if left > 0:
            raise UnavailableError(f"{self.path}: a reader holds an older state of the file; try again")

    def _piece(self, connection: apsw.Connection, job: Job) -> Outcome:
        """One job of the transaction. Its own errors undo its own writes; those of the file end the whole group."""
        connection.execute("SAVEPOINT job")
        try:
            outcome = Outcome(result=finish(job.work(SqliteRows(connection))))
        except OF_THE_WORK as error:
            outcome = self._undone(connection, error)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - handed to the one who waits, as it is
            outcome = self._undone(connection, error)
        connection.execute("RELEASE job")
        return outcome

    def _undone(self, connection: apsw.Connection, error: Exception) -> Outcome:
        connection.execute("ROLLBACK TO job")
        return Outcome(error=error)


@contextmanager
def _transaction(connection: apsw.Connection, begin: str) -> Iterator[None]:
    """From ``begin`` to the commit; whatever goes wrong leaves nothing of it."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
