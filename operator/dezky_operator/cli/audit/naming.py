"""What a person calls tenants, partners and people, as the log knows them."""

from __future__ import annotations

from dezky_operator.audit.errors import SealError
from dezky_operator.audit.patterns import is_uid
from dezky_operator.audit.query import Indexing, Query, QueryError, tenants_of
from dezky_operator.audit.reading import slugs
from dezky_operator.cli.audit.program import Opened
from dezky_operator.store.interface import Store

NONE = "none"


async def tenant_of(store: Store, name: str | None) -> str | None:
    """The tenantId of a slug or id; None stays None, ``none`` is no tenant. Raises QueryError."""
    if name is None or name == NONE or is_uid(name):
        return "" if name == NONE else name
    found = (await store.read(slugs)).get(name, ())
    if not found:
        raise QueryError(f"--tenant: no tenant {name!r} is known from the lines in the store; give its tenantId")
    if len(found) > 1:
        raise QueryError(f"--tenant: {name!r} was the name of several; give one of their ids: {', '.join(found)}")
    return found[0]


def partner_of(name: str | None) -> str | None:
    """The uid of a partner; None stays None, ``none`` is no partner. Raises QueryError."""
    if name is None or name == NONE or is_uid(name):
        return "" if name == NONE else name
    raise QueryError(f"--partner: the uid of a Partner was expected, found {name[:64]!r}")


async def index_of(there: Opened, query: Query) -> Indexing | None:
    """What finds the address asked for; None where a key that it needs is not there: then it is looked for."""
    if there.keys is None or not query.email:
        return None
    tenants = [query.tenant] if query.tenant is not None else await there.store.read(tenants_of)
    await there.keys.find([(tenant, "") for tenant in tenants])
    try:
        for tenant in tenants:
            there.keys.ring.tenant(tenant)
    except SealError:
        return None
    return there.keys.ring
