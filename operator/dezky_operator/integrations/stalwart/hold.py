"""Holding a suspended tenant's mail: senders are told to come again, for a limited time (facts/stalwart.md 11.8). Pure.

A throttle that lets one message in ten years through (0 is refused by the server; that one message is stored, not
lost). Throttles are settings: they act only after a reload, which applies nothing while any one setting is bad.
"""

from __future__ import annotations

from collections.abc import Iterator

from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.stalwart.graph import stalwart_step
from dezky_operator.integrations.stalwart.model import Rate, Throttle
from dezky_operator.integrations.stalwart.observe import Observed
from dezky_operator.integrations.steps import Step, Value, Verb

TEN_YEARS = 315_360_000_000
"""Milliseconds."""
COUNTED_BY = {"rcptDomain": True}
"""Without a key of its own every throttle of the same rate counts together, over all tenants (measured)."""


def hold_mark(intent: TenantIntent, domain: str) -> str:
    """The description of the throttle of one domain; it can not be changed later, which makes it a good mark."""
    return f"{intent.mark}:hold:{domain}"


def holds(intent: TenantIntent, observed: Observed) -> Iterator[Step]:
    """The throttles that must be there, no others of ours, and a reload whenever the server may not know of them."""
    wanted = {hold_mark(intent, name): name for name in sorted(observed.owned(intent))} if intent.hold else {}
    steps = [*_surplus(intent, wanted, observed), *_missing(wanted, observed)]
    yield from steps
    if steps or observed.hold_active != intent.hold:
        yield stalwart_step(
            "settings",
            "reload",
            Verb.UPDATE,
            name="settings",
            target="reload",
            fields=("MtaInboundThrottle",),
            body={"hold": intent.hold, "mark": intent.mark},
            reason="Throttles act only after a reload.",
            after=tuple(step.id for step in steps),
            privileged=False,
        )


def _missing(wanted: dict[str, str], observed: Observed) -> Iterator[Step]:
    have = {found.description for found in observed.throttles if as_wanted(found)}
    for mark, domain in wanted.items():
        if mark not in have:
            yield stalwart_step(
                "throttle",
                domain,
                Verb.CREATE,
                name=f"hold on {domain}",
                body=_body(mark, domain),
                reason="Mail is held while the tenant is suspended: senders try again later.",
                privileged=False,
            )


def _surplus(intent: TenantIntent, wanted: dict[str, str], observed: Observed) -> Iterator[Step]:
    seen: set[str] = set()
    for found in observed.throttles:
        if found.description in wanted and found.description not in seen and as_wanted(found):
            seen.add(found.description)
            continue
        yield stalwart_step(
            "throttle",
            f"{found.description.rpartition(':')[2]}/{found.id}",
            Verb.DELETE,
            name=f"hold on {found.description.rpartition(':')[2]}",
            target=found.id,
            reason="Mail is accepted again.",
            asked=not intent.hold,
        )


def as_wanted(found: Throttle) -> bool:
    """Whether the throttle still does what it was made for."""
    domain = found.description.rpartition(":")[2]
    whole = found.enable and found.key == COUNTED_BY and found.match.get("else") == expression(domain)
    return whole and found.rate == Rate(count=1, period=TEN_YEARS)


def expression(domain: str) -> str:
    """The condition, in the form that is looked at when a recipient is named."""
    return f"rcpt_domain = '{domain}'"


def _body(mark: str, domain: str) -> dict[str, Value]:
    return {
        "description": mark,
        "key": COUNTED_BY,
        "match": {"else": expression(domain)},
        "rate": {"count": 1, "period": TEN_YEARS},
    }
