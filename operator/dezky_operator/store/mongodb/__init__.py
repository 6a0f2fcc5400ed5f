"""The store in a MongoDB replica set, shared by several hosts (design.md §8)."""

from __future__ import annotations

from dezky_operator.store.mongodb.server import Options
from dezky_operator.store.mongodb.store import MongoStore

__all__ = ["MongoStore", "Options"]
