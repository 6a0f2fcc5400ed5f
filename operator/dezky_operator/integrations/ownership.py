"""Whose an object is, and whether it may be taken (design 5 and 6). Pure.

Objects without our mark are never changed or deleted. `spec.adoption` widens that, but never to what belongs to a
living or retained tenant, and never to what bootstrap made.
"""

from __future__ import annotations

from dataclasses import dataclass

from dezky_operator.integrations.intent import Adoption, TenantIntent

PLATFORM = ":platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the mark of an object says. ``held``: its owner is a living or retained tenant, or the platform itself."""

    mark: str | None
    ours: bool
    held: bool

    def takeable(self, adoption: Adoption) -> bool:
        """Whether this tenant may treat the object as its own."""
        if self.ours or self.held:
            return self.ours
        if self.mark is None:
            return adoption is not Adoption.NEVER
        return adoption is Adoption.FORCE

    @property
    def sentence(self) -> str:
        """For a message, after the object's name."""
        if self.mark is None:
            return "carries no mark of this operator"
        return f"is marked {self.mark}"

    def way_out(self, adoption: Adoption) -> str:
        """What a person can do."""
        if self.held:
            return "Its owner exists; choose another name for this tenant."
        if self.mark is None:
            return "Remove or rename it, or set spec.adoption: IfUnowned to take it."
        return f"Remove it, or set spec.adoption: Force to take it (now {adoption})."


def owner_of(mark: str | None, expected: str, intent: TenantIntent) -> Owner:
    """Whose ``mark`` is; ``expected`` is the mark the object would have if it were ours in this role."""
    held = (
        mark is not None
        and mark != expected
        and (mark.endswith(PLATFORM) or any(mark.startswith(other) for other in intent.living_marks))
    )
    return Owner(mark=mark or None, ours=mark == expected, held=held)
