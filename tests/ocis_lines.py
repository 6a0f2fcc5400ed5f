"""Lines as OCIS writes them (facts/ocis.md 4.2): `record("file_create", FileID="s$a!n")`."""

from __future__ import annotations

import json
from typing import Any

ALICE = "4c510ada-c86b-4815-8820-42cdf82c3d51"
BOB = "932b4540-8d16-481e-8ef4-588e4b6b151c"
SPACE = "0b0f2a5e-7d0c-5f4e-9a51-3f2f1f1c0a11"
STORAGE = "a0ca6a90-a365-4782-871e-d44447bbc668"
TIME = "2026-11-24T03:59:58Z"


def record(action: str, message: str = f"user '{ALICE}' did it", *, time: str = TIME, user: str = "", **more: Any) -> bytes:
    """One line without its LF; the fields that OCIS never fills are there and empty."""
    fields = {
        "RemoteAddr": "",
        "User": user,
        "URL": "",
        "Method": "",
        "UserAgent": "",
        "Time": time,
        "App": "admin_audit",
        "Message": message,
        "Action": action,
        "CLI": False,
        "Level": 1,
        **more,
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def numbered(number: int) -> bytes:
    """A record that differs from all others, with its LF."""
    node = f"{STORAGE}${SPACE}!node-{number}"
    message = f"user '{ALICE}' created file '{node}'"
    return record("file_create", message, user=BOB, Path=f"./{number}.txt", Owner=BOB, FileID=node) + b"\n"
