"""What one reconcile of a Tenant leads to."""

from __future__ import annotations

from dataclasses import dataclass

from dezky_operator.crd.tenant import TenantStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened, for a Kubernetes event."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The status to write (None: the Tenant is gone or must not be written), what to tell, and when to look again.

    Attributes:
        status: the whole new status.
        notices: events to post, oldest first.
        settled: nothing is left to do; otherwise the key is tried again with a growing delay.
        recheck: seconds until something outside is worth another look although all is well (published DNS records).
        not_before: seconds a system asked to be left alone.
    """

    status: TenantStatus | None
    notices: tuple[Notice, ...] = ()
    settled: bool = True
    recheck: float | None = None
    not_before: float = 0.0
