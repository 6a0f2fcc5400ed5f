"""The settings in force: objects are only stored until somebody reloads (facts/stalwart.md 2.2, 11.0, 11.7)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.sandbox.stalwart.errors import SetError, linked
from tests.sandbox.stalwart.objects import Objects
from tests.sandbox.stalwart.shapes import copied

Record = dict[str, Any]
RUNNING = ("url", "signatureKey", "httpHeaders", "httpAuth", "timeout", "throttle", "discardAfter")
"""What a hook that is running keeps until it was once off."""
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Live:
    """What the server works with, as of the last reload that succeeded."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.http: Record = {}
        self.ban_after = 0
        self.allowed: list[str] = []
        self.throttles: list[Record] = []
        self.hooks: dict[str, Record] = {}
        """Hooks that would send, by id."""
        self.directory: Record | None = None
        self.blocked: set[str] = set()
        """Addresses that are shut out. Bans act at once; taking one back needs its own reload."""
        objects.directory_rules = self.has_directory
        self.reload()

    def has_directory(self) -> bool:
        """Whether passwords are known by a directory outside."""
        return self.directory is not None

    def reload(self) -> None:
        """Take over every setting, or none while one is bad: the error names whose. Raises SetError."""
        stored, settings = self._objects.by_type, self._objects.singletons
        for kind, key, problem in self._problems():
            raise SetError("validationFailed", objectId=linked(kind, key), description=problem)
        self.http = copied(settings["Http"])
        self.ban_after = settings["Security"]["authBanRate"]["count"]
        self.allowed = [one["address"] for one in stored["AllowedIp"].values()]
        self.throttles = [copied(one) for one in stored["MtaInboundThrottle"].values() if one["enable"]]
        self.hooks = {key: self._hook(key, one) for key, one in stored["WebHook"].items() if one["enable"]}
        self.directory = copied(stored["Directory"].get(settings["Authentication"]["directoryId"] or ""))

    def reload_bans(self) -> None:
        """Take over the list of blocked addresses."""
        self.blocked = {one["address"] for one in self._objects.by_type["BlockedIp"].values()}

    def _hook(self, key: str, stored: Record) -> Record:
        hook: Record = copied(stored)
        if running := self.hooks.get(key):
            hook |= {name: running[name] for name in RUNNING}
        return hook

    def _problems(self) -> Iterator[tuple[str, str, str]]:
        """(type, id, what is wrong) of the objects that can not be used."""
        for key, hook in self._objects.by_type["WebHook"].items():
            if not hook["enable"]:
                continue
            if bad := [name for name in hook["httpHeaders"] if not HEADER.fullmatch(name)]:
                yield "WebHook", key, f"Unable to build HTTP headers: {bad[0]}"
            if not _is_readable(hook["signatureKey"]):
                yield "WebHook", key, "Unable to retrieve signature key"


def _is_readable(secret: Record) -> bool:
    if secret["@type"] == "EnvironmentVariable":
        return secret.get("variableName", "") in os.environ
    return secret["@type"] != "File" or Path(secret.get("filePath", "")).is_file()
