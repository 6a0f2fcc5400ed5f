"""A refusal told so that a person can act on it: which object, what was expected, what was found, what to do. Pure.

The clients know what a system answered, but not which object of the tenant it was about: a step does.
"""

from __future__ import annotations

from collections.abc import Callable

from dezky_operator.integrations.errors import AlreadyExists, IntegrationError, NoPermission, NotFound, Rejected
from dezky_operator.integrations.steps import Step

Told = AlreadyExists | NotFound | Rejected | NoPermission
EXPECTED: dict[type[IntegrationError], Callable[[Step], str]] = {
    AlreadyExists: lambda step: (
        f"Expected no {step.kind} of this name, or one with this tenant's mark. Remove or "
        "rename the other one; it is tried again by itself."
    ),
    NotFound: lambda _: "Expected it, and what it refers to, to be there still. It is looked for again by itself.",
    Rejected: lambda _: (
        "Expected it to be accepted. Correct what is named here, in the Tenant or in the system; it is "
        "tried again by itself."
    ),
    NoPermission: lambda _: "Expected the operator to be allowed to.",
}


def told(step: Step, error: Told) -> IntegrationError:
    """``error`` with the object and the way out named. A text that names the object and goes on says both already.

    A new error, as one answer may have failed several calls at once.
    """
    found = str(error)
    if step.name in found and ". " in found:
        return error
    expected = next(sentence(step) for kind, sentence in EXPECTED.items() if isinstance(error, kind))
    text = f"{step.system.title()} did not {step.verb} the {step.kind} {step.name}. {found} {expected}"
    if isinstance(error, AlreadyExists):
        return AlreadyExists(error.system, text, existing_id=error.existing_id)
    return type(error)(error.system, text)
