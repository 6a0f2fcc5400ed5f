"""How the tenant's own sign-in page looks, as steps. A brand is no data: what leaves the spec is taken back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from dezky_operator.integrations.authentik.baseline import Baseline
from dezky_operator.integrations.authentik.desired import Desired
from dezky_operator.integrations.authentik.graph import APPLICATION_PK, Found, authentik_step, foreign, update
from dezky_operator.integrations.authentik.model import Brand
from dezky_operator.integrations.authentik.observe import Observed
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ownership import owner_of
from dezky_operator.integrations.steps import Ref, Value, Verb


def brand(intent: TenantIntent, baseline: Baseline, desired: Desired, observed: Observed) -> Iterator[Found]:
    """The brand under the tenant's host; ours goes when the spec names none, anybody else's is left alone."""
    want, found = desired.brand, observed.brand
    mark = f"{intent.mark}:brand"
    if want is None:
        if found is not None and found.mark == mark:
            reason = "No longer in spec.brand; the page looks like the installation's again."
            yield authentik_step(
                "brand", "main", Verb.DELETE, name=found.domain, target=found.brand_uuid, reason=reason
            )
        return
    if found is not None and not (owner := owner_of(found.mark, mark, intent)).takeable(intent.adoption):
        yield foreign(f"brand {found.domain}", owner, intent)
        return
    application: str | Ref = observed.application.pk if observed.application else APPLICATION_PK
    wanted: dict[str, Value] = {
        "branding_title": want.title,
        # Never empty, which is refused; without a logo of its own a tenant shows the installation's.
        "branding_logo": want.logo_url or baseline.logo,
        "branding_custom_css": _css(want.primary_color),
        "default_application": application,
        **dict(baseline.brand_flows),
    }
    attributes = {"dezky.eu/mark": mark, "dezky.eu/tenant": intent.slug}
    if found is None:
        body: dict[str, Value] = {"domain": want.host, "attributes": attributes, **_given(wanted)}
        yield authentik_step(
            "brand", "main", Verb.CREATE, name=want.host, reason="The tenant's own sign-in page.", body=body
        )
        return
    yield from _changes(found, wanted, attributes)


def _changes(found: Brand, wanted: Mapping[str, Value], attributes: Mapping[str, str]) -> Iterator[Found]:
    actual = msgspec.to_builtins(found)
    changes = {key: value for key, value in wanted.items() if actual[key] != value}
    if any(found.attributes.get(key) != value for key, value in attributes.items()):
        changes["attributes"] = {**found.attributes, **attributes}
    if changes:
        yield update("brand", "main", found.domain, found.brand_uuid, changes)


def _given(values: Mapping[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if isinstance(value, Ref) or value not in (None, "")}


def _css(color: str | None) -> str:
    """The main colour, where Authentik's own style sheet takes it from."""
    return f":root {{ --ak-accent: {color}; --pf-global--primary-color--100: {color}; }}" if color else ""
