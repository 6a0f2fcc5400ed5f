"""The store in one SQLite file, shared by several processes of one host (design.md §8)."""

from __future__ import annotations

from dezky_operator.store.sqlite.file import Options
from dezky_operator.store.sqlite.store import SqliteStore

__all__ = ["Options", "SqliteStore"]
