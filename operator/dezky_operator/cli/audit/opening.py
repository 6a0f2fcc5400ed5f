"""Which store a command works on: that of the settings file, or a file that is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from dezky_operator import config
from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.errors import KeyFormatError
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.cli.audit.program import Opened, Program, refuse
from dezky_operator.config import SettingsError
from dezky_operator.store.interface import Store
from dezky_operator.store.sqlite import SqliteStore

PATH = click.Path(path_type=Path)
R = TypeVar("R")


class Where(msgspec.Struct, frozen=True):
    """What a person said about where the log is, and whether its texts are to be opened, and with which keys."""

    config: Path | None
    store: Path | None
    keys: Path | None = None
    texts: bool = False


def store_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options that name the store; the command gets them as ``where``."""

    @wraps(command)
    def called(*args: Any, config: Path | None, store: Path | None, **options: Any) -> R:
        where = Where(config, store, options.pop("keys", None), options.pop("texts", False))
        return command(*args, where=where, **options)

    for option in (
        click.option("--store", type=PATH, help="The log's SQLite file, instead of --config."),
        click.option("--config", type=PATH, envvar="DEZKY_CONFIG", help="The settings file."),
    ):
        called = option(called)
    return called


def key_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options about what is sealed; they stand above :func:`store_options`."""
    file = click.option("--keys", type=PATH, help="Keys that open texts and find addresses, in a file.")
    return file(click.option("--texts", is_flag=True, help="Open texts with the installation's keys.")(command))


@asynccontextmanager
async def opened(program: Program, where: Where) -> AsyncIterator[Opened]:
    """The store, closed again at the end. Nothing is written to it: reads only go through it.

    Raises:
        SettingsError: no store is named, or the file that is named is not there.
        StartError: the store can not be opened.
    """
    path = where.store or _of_settings(where.config)
    if not path.is_file():
        raise SettingsError(f"{path}: no such file. Name the log's SQLite file with --store.")
    there = await SqliteStore.open(path)
    try:
        yield Opened(there, await _keys(program, where, there), program)
    finally:
        await there.close()


async def _keys(program: Program, where: Where, store: Store) -> Keys | None:
    if where.keys is not None:
        return program.keys(where.keys)
    return await installed_keys(program, where.config, store) if where.texts else None


async def installed_keys(program: Program, path: Path | None, store: Store) -> Keys:
    """The keys of the installation that a settings file describes. Raises SettingsError."""
    if program.installed is None or path is None:
        raise SettingsError("the installation's keys are in its cluster: name its settings file with --config.")
    return await program.installed(config.load(path), store)


def _of_settings(path: Path | None) -> Path:
    if path is None:
        raise SettingsError("name the settings file with --config, or the log's SQLite file with --store.")
    audit = config.load(path).audit
    if audit is None:
        raise SettingsError(f"{path}: audit: is missing: this installation keeps no audit log.")
    if audit.mongodb is not None:
        raise SettingsError(f"{path}: audit.mongodb: this command reads SQLite files only.")
    return Path(audit.directory) / f"audit-{audit.epoch}.db"


def chain_of(vkey: str) -> KeyChain:
    """The key that a person gave. Ends the process if it is none."""
    try:
        return KeyChain([KeyRange(parse_vkey(vkey))])
    except KeyFormatError as error:
        refuse(f"--key: {error}")


def read(path: Path, option: str) -> bytes:
    """A file that a person named. Ends the process if it can not be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        refuse(f"{option} {path}: can not be read ({error.strerror})")
