"""What the audit commands need from the process they run in, and how they end.

The commands know the store and nothing of Kubernetes: who may verify more than the store, who holds keys, and who
wants to be told that the log was read comes in from outside.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import click
import msgspec

from dezky_operator.audit.errors import AuditError
from dezky_operator.audit.findings import Verdict
from dezky_operator.audit.query import QueryError
from dezky_operator.audit.verify_hot import verify_hot
from dezky_operator.audit.verify_store import StoreVerifier
from dezky_operator.cli.audit.keyfile import KeyFileError, Keys, from_file
from dezky_operator.config import Settings, SettingsError
from dezky_operator.store.interface import Store, StoreError

INTERRUPTED = 130
"""Exit code of what a person stopped, as shells have it."""
Result = TypeVar("Result")
Told = Callable[[str, Mapping[str, str | int]], Awaitable[None]]
"""Hears of each read, export and verification: the action and what of it may stand in the log."""


async def tell_nobody(_action: str, _about: Mapping[str, str | int]) -> None:
    """For a process that does not write to the log."""


class Installation(Protocol):
    """One installation as its cluster knows it. All raise SettingsError."""

    async def store(self) -> Store:
        """The log's store, where it is no file."""

    async def keys(self, store: Store) -> Keys:
        """The log's public keys, and what opens texts in ``store``."""

    async def add_key(self) -> str:
        """Make the key that signs the log next; its vkey."""


class Program(msgspec.Struct, frozen=True):
    """What stands behind the commands.

    Attributes:
        verify: verifies what is in the store.
        keys: reads the keys that open texts and find addresses from the file a person named.
        installation: that of settings, by a kubeconfig or, without one, the pod's service account; None where there is
            no way to any.
        told: is told after the fact what was read, exported or verified.
    """

    verify: StoreVerifier = verify_hot
    keys: Callable[[Path], Keys] = from_file
    installation: Callable[[Settings, str | None], Installation] | None = None
    told: Told = tell_nobody


class Opened(msgspec.Struct, frozen=True):
    """A store that a command works on, with the keys that were given, and who is told what is done with it."""

    store: Store
    keys: Keys | None
    program: Program
    told: Told


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command to its end. What is expected to go wrong becomes one sentence and exit code 2 or 3."""
    try:
        return asyncio.run(work)
    except (QueryError, SettingsError, KeyFileError) as error:
        refuse(str(error))
    except (AuditError, StoreError) as error:
        end(str(error), Verdict.INCOMPLETE)
    except BrokenPipeError:
        # Whoever read has seen enough. What is still in the buffer goes nowhere, or the interpreter would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def refuse(message: str) -> NoReturn:
    """End as a usage error."""
    end(message, Verdict.USAGE)


def end(message: str, code: int) -> NoReturn:
    """Say why and end."""
    click.echo(f"dezky-operator audit: {message}", err=True)
    sys.exit(code)
