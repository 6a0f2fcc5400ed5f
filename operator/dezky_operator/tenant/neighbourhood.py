"""All tenants at once, as each of them needs to know the others.

A World knows the same, for one tenant: made for each of a thousand it would be a million identities.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from dezky_operator.crd.tenant import Tenant
from dezky_operator.tenant.claims import Claim
from dezky_operator.tenant.intent import Marks
from dezky_operator.tenant.parts import Neighbours
from dezky_operator.tenant.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Identities by slug, marks as in :class:`Marks`, and who asks for each domain."""

    world: World
    ids: Mapping[str, uuid.UUID]
    everybody: Marks
    claims: Mapping[str, tuple[Claim, ...]]

    @classmethod
    def of(cls, world: World) -> Neighbourhood:
        """What ``world`` tells, in which no tenant is left out."""
        ids = {tenant.name: world.id_of(tenant) for tenant in world.others}
        retained = {record.tenant_id for record in world.records if record.standing}
        present = [tenant for tenant in world.others if not tenant.metadata.deletion_timestamp]
        claims: defaultdict[str, list[Claim]] = defaultdict(list)
        for tenant in present:
            for domain in tenant.spec.domains:
                claims[domain].append(claim_of(tenant, ids[tenant.name]))

        def marks(*keys: object) -> frozenset[str]:
            return frozenset(f"dezky:{world.installation_id}:{key}" for key in keys)

        return cls(
            world=world,
            ids=ids,
            everybody=Marks(
                held=marks(*retained, *ids.values()),
                present=marks(*(ids[tenant.name] for tenant in present)),
                active=marks(*(ids[tenant.name] for tenant in present if not tenant.suspended)),
            ),
            claims={domain: tuple(found) for domain, found in claims.items()},
        )

    def marks(self, tenant_id: uuid.UUID) -> Marks:
        """The marks of all others."""
        own = {f"dezky:{self.world.installation_id}:{tenant_id}"}
        everybody = self.everybody
        return Marks(held=everybody.held - own, present=everybody.present - own, active=everybody.active - own)

    def neighbours(self, tenant: Tenant, tenant_id: uuid.UUID) -> Neighbours:
        """What decides about its domains."""
        rivals = (claim for domain in tenant.spec.domains for claim in self.claims.get(domain, ()))
        others = tuple(claim for claim in rivals if claim.slug != tenant.name)
        return Neighbours(me=claim_of(tenant, tenant_id), others=others, records=self.world.records)


def claim_of(tenant: Tenant, tenant_id: uuid.UUID) -> Claim:
    """What a Tenant asks for."""
    return Claim(
        slug=tenant.name,
        uid=tenant.metadata.uid,
        created=tenant.metadata.creation_timestamp,
        tenant_id=tenant_id,
        domains=tenant.spec.domains,
    )
