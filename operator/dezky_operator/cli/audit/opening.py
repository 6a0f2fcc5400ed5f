"""Which store a command works on: that of the settings file, or a file that is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from dezky_operator import config
from dezky_operator.audit.checkpoint import KeyChain, KeyRange
from dezky_operator.audit.errors import KeyFormatError
from dezky_operator.audit.keys import parse_vkey
from dezky_operator.cli.audit.keyfile import Keys
from dezky_operator.cli.audit.program import Installation, Opened, Program, Told, refuse, tell_nobody
from dezky_operator.cli.audit.telling import tell
from dezky_operator.config import AuditSettings, Settings, SettingsError
from dezky_operator.store.interface import Store
from dezky_operator.store.sqlite import SqliteStore

PATH = click.Path(path_type=Path)
R = TypeVar("R")


class Where(msgspec.Struct, frozen=True):
    """What a person said about where the log is, and whether its texts are to be opened, and with which keys."""

    config: Path | None
    store: Path | None
    kubeconfig: str | None = None
    keys: Path | None = None
    texts: bool = False


def store_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options that name the store; the command gets them as ``where``."""

    @wraps(command)
    def called(*args: Any, **options: Any) -> R:
        named = {name: options.pop(name) for name in Where.__struct_fields__ if name in options}
        return command(*args, where=Where(**named), **options)

    for option in (
        click.option("--kubeconfig", help="The way to the cluster; without it the pod's service account."),
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
    """The store, closed again at the end. Written to it is only, where it is an installation's own, who read it.

    Raises:
        SettingsError: no store is named, or the file that is named is not there.
        StartError: the store can not be opened.
    """
    there = await _store(program, where)
    try:
        yield Opened(there, await _keys(program, where, there), program, _told(program, where, there))
    finally:
        await there.close()


async def _store(program: Program, where: Where) -> Store:
    path = where.store
    if path is None:
        settings, audit = _audited(where.config)
        if audit.mongodb is not None:
            return await installation(program, settings, where).store()
        path = Path(audit.directory) / f"audit-{audit.epoch}.db"
    if not path.is_file():
        raise SettingsError(f"{path}: no such file. Name the log's SQLite file with --store.")
    if not path.stat().st_size:  # opened, it would be made a log
        raise SettingsError(f"{path}: is empty, and no log. Name the log's SQLite file with --store.")
    return await SqliteStore.open(path)


def _told(program: Program, where: Where, store: Store) -> Told:
    """The log itself, where it is the one of a settings file."""
    if where.store is not None or where.config is None or program.told is not tell_nobody:
        return program.told
    settings = config.load(where.config)
    epoch = settings.audit.epoch if settings.audit else 1
    return partial(tell, store, f"{settings.installation_id}/audit/{epoch}")


async def _keys(program: Program, where: Where, store: Store) -> Keys | None:
    if where.keys is not None:
        return program.keys(where.keys)
    return await installed_keys(program, where, store) if where.texts else None


async def installed_keys(program: Program, where: Where, store: Store) -> Keys:
    """The keys of the installation that a settings file describes. Raises SettingsError."""
    if where.config is None:
        raise SettingsError("the installation's keys are in its cluster: name its settings file with --config.")
    return await installation(program, config.load(where.config), where).keys(store)


def installation(program: Program, settings: Settings, where: Where) -> Installation:
    """The installation of these settings. Raises SettingsError where there is no way to it."""
    if program.installation is None:
        raise SettingsError("this program knows no way to a cluster: run `dezky-operator audit`.")
    return program.installation(settings, where.kubeconfig)


def _audited(path: Path | None) -> tuple[Settings, AuditSettings]:
    if path is None:
        raise SettingsError("name the settings file with --config, or the log's SQLite file with --store.")
    settings = config.load(path)
    if settings.audit is None:
        raise SettingsError(f"{path}: audit: is missing: this installation keeps no audit log.")
    return settings, settings.audit


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
