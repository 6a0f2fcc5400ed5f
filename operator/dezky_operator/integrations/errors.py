"""What can go wrong between the operator and an external system.

::

    IntegrationError
    ├── Unreachable        no answer, or a 5xx that says nothing about the object; try again later
    │   ├── IdentityDown   no token can be had because the sign-in does not answer; the system itself may be well
    │   └── HeldBack       nothing was sent: it failed again and again, and is left alone for a while
    ├── RateLimited        429; `retry_after` seconds
    ├── AuthFailed         the credential itself is refused: the whole system stops until its Secret changes
    ├── NoPermission       the credential works, but not for this object
    ├── Rejected           the system understood and refused what was sent (400, invalidProperties, …)
    ├── NotFound
    ├── AlreadyExists      a name or id is taken; `existing_id` where the system says by what
    ├── WriteRefused       this process may not write any more (its Lease is gone or about to go)
    └── Unrecorded         nothing was sent: the audit log can not keep what was about to be done

Messages name the object, what was expected, what was found and what to do. They never hold a request or response body:
bodies carry secrets (facts/stalwart.md 11.1, facts/authentik.md 11.5).
"""

from __future__ import annotations

from dezky_operator.integrations.steps import System


class IntegrationError(Exception):
    """An external system did not do what was asked. ``system`` says which one; the text is fit for a condition."""

    def __init__(self, system: System, message: str) -> None:
        super().__init__(message)
        self.system = system


class Unreachable(IntegrationError):  # noqa: N818 - named after the state it reports, as conditions are
    """No answer, or one that says nothing about the object. A write may have been done: observe again."""


class IdentityDown(Unreachable):
    """Authentik gives no token for another system, and the last one has run out."""


class HeldBack(Unreachable):
    """Nothing was sent, so nothing new is known: what was told of the failure before still stands."""


class RateLimited(IntegrationError):  # noqa: N818 - see Unreachable
    """The system asked for a pause of ``retry_after`` seconds."""

    def __init__(self, system: System, message: str, *, retry_after: float) -> None:
        super().__init__(system, message)
        self.retry_after = retry_after


class AuthFailed(IntegrationError):  # noqa: N818 - see Unreachable
    """The credential is refused. Nothing more is sent until the Secret changes: repeated failures ban the node."""


class NoPermission(IntegrationError):  # noqa: N818 - see Unreachable
    """The credential works but not for this object."""


class Rejected(IntegrationError):  # noqa: N818 - see Unreachable
    """The system refused the content of a request. Repeating it helps only after the spec or the system changed."""


class NotFound(IntegrationError):  # noqa: N818 - see Unreachable
    """The object is not there."""


class AlreadyExists(IntegrationError):  # noqa: N818 - see Unreachable
    """A unique name or id is taken. ``existing_id`` is given where the system tells by which object."""

    def __init__(self, system: System, message: str, *, existing_id: str | None = None) -> None:
        super().__init__(system, message)
        self.existing_id = existing_id


class WriteRefused(IntegrationError):  # noqa: N818 - see Unreachable
    """This process no longer holds the right to write. Another one does, or nobody."""


class Unrecorded(IntegrationError):  # noqa: N818 - see Unreachable
    """Nothing was sent: neither the audit log nor its spool could record that it was about to be."""
