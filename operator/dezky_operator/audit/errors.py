"""What can be wrong with the audit log's own things.

::

    AuditError
    ├── EventError      what a source handed over can not become a line; the adapter puts it into quarantine
    ├── LineError       a stored line is not line v1
    ├── SealError       a sealed text does not open, or not under these keys
    ├── ProofError      an inclusion or consistency proof does not prove what it should
    ├── TileError       a stored tile is missing, too short or holds other hashes
    ├── KeyFormatError  a key or its printed form is malformed
    ├── LedgerError     the list of an erasure is malformed
    └── NoteError       a signed note or checkpoint is malformed, unsigned, or signed by a key that may not

Messages name the thing, what was expected and what was found. They never hold a personal value.
"""

from __future__ import annotations


class AuditError(Exception):
    """Something of the audit log is not as it has to be."""


class EventError(AuditError):
    """An event breaks a rule of line v1 (facts/audit-log.md 6.0). Nothing of it is stored as a line."""


class LineError(AuditError):
    """A stored line is not canonical, or a field of it holds what line v1 forbids."""


class SealError(AuditError):
    """A sealed text was changed, belongs to another event, or its keys are not these."""


class ProofError(AuditError):
    """A proof leads to another root, or has the wrong length."""


class TileError(AuditError):
    """A tile does not hold the hashes that a tree of this size has there."""


class KeyFormatError(AuditError):
    """A key, its name or its printed form is malformed."""


class LedgerError(AuditError):
    """The list of an erasure is not what it has to be."""


class NoteError(AuditError):
    """A signed note is malformed or its signatures do not carry it."""
