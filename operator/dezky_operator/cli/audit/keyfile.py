"""Keys from a file: for somebody who was given those of one tenant, or of all.

JSON: ``{"vkeys": [...], "tenants": {"<tenantId>": "<base64>"}, "subjects": {"<tenantId>/<id>": "<base64>"}}``, every
part optional. What is not in it stays sealed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from dezky_operator.audit.base64text import from_base64
from dezky_operator.audit.errors import SealError
from dezky_operator.audit.keyring import KeyRing
from dezky_operator.audit.keystore import Named


class KeyFileError(Exception):
    """The file can not be used. The text names it and never holds a key."""


async def all_there(_named: Collection[Named]) -> None:
    """For keys that are all in memory."""


class Keys(msgspec.Struct, frozen=True):
    """What a person was given.

    Attributes:
        ring: opens texts and finds addresses; raises SealError for a key that is not there.
        vkeys: public keys of the log, oldest first.
        find: is asked for keys of tenants and people, by tenantId and id, before ``ring`` is.
    """

    ring: KeyRing
    vkeys: tuple[str, ...] = ()
    find: Callable[[Collection[Named]], Awaitable[None]] = all_there


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vkeys: Sequence[str] = ()
    tenants: Mapping[str, str] = {}
    subjects: Mapping[str, str] = {}


def from_file(path: Path) -> Keys:
    """The keys of a file. Raises KeyFileError."""
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_File)
        tenants = {tenant: from_base64(key) for tenant, key in read.tenants.items()}
        subjects = {subject: from_base64(key) for subject, key in read.subjects.items()}
    except OSError as error:
        raise KeyFileError(f"{path}: can not be read ({error.strerror})") from None
    except (msgspec.MsgspecError, ValueError):
        raise KeyFileError(f"{path}: expected JSON with vkeys, tenants and subjects, keys in base64") from None
    ring = KeyRing(
        lambda tenant, subject: _held(subjects, f"{tenant}/{subject}"), lambda tenant: _held(tenants, tenant)
    )
    return Keys(ring, tuple(read.vkeys))


def _held(keys: Mapping[str, bytes], name: str) -> bytes:
    if name not in keys:
        raise SealError("the key of a person or tenant was not given")
    return keys[name]
