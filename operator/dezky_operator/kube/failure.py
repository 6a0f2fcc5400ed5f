"""What a reconcile that raised came to: what is known to happen, and what is a defect of ours."""

from __future__ import annotations

import httpx2

from dezky_operator.kube.records import ForeignRecord


class Superseded(Exception):  # noqa: N818 - it is what happened
    """The Tenant that is reconciled is gone, or another of the same name took its place. Nothing is done for it."""


KNOWN = (Superseded, ForeignRecord, httpx2.HTTPError)
"""What a reconcile may come to without a defect of ours; ApiError is an HTTPError."""


def cause(error: BaseException) -> BaseException:
    """What is behind the groups that parallel work wraps its errors in: a defect if there is one, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [cause(inner) for inner in error.exceptions]
    return next((found for found in causes if not isinstance(found, KNOWN)), causes[0])
