"""Why nothing is appended.

::

    AuditError
    └── NotAppendedError    the log takes no line now; spool or inbox keep what comes
        ├── ClockError      the clock is too far from the API server's to say when anything happened
        ├── BrokenLogError  the store's end is missing: it was cut, or is not the log it was
        ├── FullLogError    every number a line can have is used
        └── RollbackError   the store holds less, or something else, than what was signed and kept elsewhere
"""

from __future__ import annotations

from dezky_operator.audit.errors import AuditError


class NotAppendedError(AuditError):
    """The log takes no line now. The message says why and what to do."""


class ClockError(NotAppendedError):
    """The clock differs from the API server's by more than the log allows."""


class BrokenLogError(NotAppendedError):
    """The end of the log is not where its head says it was."""


class FullLogError(NotAppendedError):
    """Every number a line can have is used: a new epoch is due."""


class RollbackError(NotAppendedError):
    """The log in the store is not the one that was signed: an older copy of it, or one that was changed."""
