"""What there must be only one of and Authentik keeps several of, as steps. Pure.

Authentik checks that a host has one brand, but its database does not: two writers at once make two, and which of them
a browser is shown is chance. How old a brand is can not be asked. Second bindings go with :mod:`plan`'s own.
"""

from __future__ import annotations

from collections.abc import Iterator

from dezky_operator.integrations.authentik.graph import Found, authentik_step
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.steps import Obstacle, System, Verb


def surplus_brands(intent: TenantIntent, observed: Observed) -> Iterator[Found]:
    """The brands of the tenant's host beside the first: ours go, for nothing hangs on a brand; others are told of."""
    for number, found in enumerate(observed.more_brands, start=2):
        if found.mark == f"{intent.mark}:brand":
            reason = "A second one of the same host."
            yield authentik_step(
                "brand", f"main-{number}", Verb.DELETE, name=found.domain, target=found.brand_uuid, reason=reason
            )
        elif observed.brand is not None:
            yield Obstacle(
                system=System.AUTHENTIK,
                reason="ForeignObject",
                message=f"Authentik has two brands of {found.domain}: {observed.brand.brand_uuid} is used, "
                f"{found.brand_uuid} is not this tenant's and is not touched. It may be shown instead; remove one.",
                blocking=False,
            )
