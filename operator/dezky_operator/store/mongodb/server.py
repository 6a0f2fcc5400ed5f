"""Which servers the log may be kept on: judged by what they say of themselves, before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dezky_operator.store.interface import StartError

FIRST = (5, 0)
"""Before it reads at majority can be switched off at the server, and a row that a failover takes back would be read."""


@dataclass(frozen=True)
class Options:
    """What may be set about the connection.

    Attributes:
        seconds: within which each call to the server has to be answered; after it there is doubt.
        standalone: whether one server that is no replica set may keep the log. What it acknowledged goes with its disk.
        existing: for whoever only reads: nothing is made, and a database without the log is refused.
    """

    seconds: float = 10.0
    standalone: bool = False
    existing: bool = False


@dataclass(frozen=True)
class Server:
    """A server that was accepted.

    Attributes:
        name: product and version.
        validates: whether it checks documents against a schema.
        compares: whether comparing a document and changing it is one step, whoever else is changing it.
        lacks: what it cannot do, a sentence each, for the one who runs it.
    """

    name: str
    validates: bool
    compares: bool
    lacks: tuple[str, ...]


NO_SCRUB = "deleted values stay in its journal, oplog and free blocks until they are overwritten: encrypt its volumes"
NO_SET = "it is no replica set: what it acknowledged is on one machine"
NO_SCHEMA = "it has no JSON-schema validators: documents are checked by this program only"
NO_COMPARE = "two processes that change one document at once can both succeed: let one process use it at a time"


def accepted(hello: Mapping[str, Any], build: Mapping[str, Any], options: Options) -> Server:
    """Accept a server by its answers to ``hello`` and ``buildInfo``.

    FerretDB calls itself by the version of MongoDB that it answers like, and names its own in ``buildInfo``.

    Raises:
        StartError: the message names what was found and what to do.
    """
    ferretdb = "ferretdbVersion" in build or "ferretdb" in build
    version = tuple(int(part) for part in build.get("versionArray", ())[:2])
    name = f"{'FerretDB as ' if ferretdb else ''}MongoDB {build.get('version', '(no version)')}"
    if version < FIRST:
        raise StartError(f"{name} is too old to keep the audit log: needed is 5.0 or later; update the server")
    if hello.get("msg") == "isdbgrid":
        raise StartError(
            f"{name} is the router of a sharded cluster, which does not keep an event unique over its shards: "
            "name a replica set in the connection string"
        )
    in_a_set = bool(hello.get("setName"))
    if not in_a_set and not options.standalone:
        raise StartError(
            f"{name} is a single server, no replica set: what it acknowledges would be lost with its disk. Name a "
            "replica set in the connection string, or declare audit.mongodb.standalone"
        )
    lacks = (*(() if in_a_set else (NO_SET,)), *((NO_SCHEMA, NO_COMPARE) if ferretdb else ()), NO_SCRUB)
    return Server(name, validates=not ferretdb, compares=not ferretdb, lacks=lacks)
