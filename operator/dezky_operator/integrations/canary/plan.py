"""Making the canary, as steps. Pure. What a password or a link is, no step knows: the systems' performers make them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dezky_operator.integrations.authentik.graph import authentik_step
from dezky_operator.integrations.authentik.model import CANARY, USER_TENANT, path_of
from dezky_operator.integrations.canary.observe import Identity, Mail
from dezky_operator.integrations.intent import TenantIntent
from dezky_operator.integrations.ocis.model import Drive
from dezky_operator.integrations.stalwart.desired import Desired, mailbox
from dezky_operator.integrations.stalwart.graph import stalwart_step
from dezky_operator.integrations.stalwart.mailboxes import mailboxes
from dezky_operator.integrations.steps import Obstacle, Plan, Ref, Step, System, Verb

ACCOUNT = Ref(System.AUTHENTIK, "service-account", "canary")
JOINED = Ref(System.AUTHENTIK, "membership", "canary")
PASSWORD = Ref(System.STALWART, "password", "canary")
FOLDER = Ref(System.OCIS, "folder", "canary")
LINK = Ref(System.OCIS, "link", "canary")
FOLDER_NAME = ".dezky-probe"
NAME = "Dezky probe"


def identity(intent: TenantIntent, found: Identity) -> Plan:
    """A new account, the old ones away first: an app password is told once, so an old account can not sign in."""
    return Plan(tuple(_account(intent, found)))


def _removed(found: Identity) -> Iterator[Step]:
    for user in found.old:
        yield authentik_step(
            "user",
            f"canary-{user.pk}",
            Verb.DELETE,
            name=user.username,
            target=str(user.pk),
            reason="A canary of before: nobody knows its password any more.",
        )


def _account(intent: TenantIntent, found: Identity) -> Iterator[Step]:
    username, old = intent.canary or "", list(_removed(found))
    yield from old
    yield authentik_step(
        "service-account",
        "canary",
        Verb.CREATE,
        name=username,
        body={"name": username, "create_group": False, "expiring": False},
        reason="Tries every door before the lock and after it.",
        after=tuple(step.id for step in old),
    )
    # The mark first: what is in the tenant's group is always known for what it is.
    marked = authentik_step(
        "user",
        "canary",
        Verb.UPDATE,
        name=username,
        target=ACCOUNT,
        body={
            "name": NAME,
            "email": username,
            "path": path_of(intent),
            "attributes": {"dezky": {"tenant": intent.slug, "role": CANARY}, USER_TENANT: str(intent.tenant_id)},
        },
        fields=("attributes", "email", "name", "path"),
        reason="It goes with the tenant, and is counted nowhere.",
    )
    yield marked
    yield authentik_step(
        "membership",
        "canary",
        Verb.GRANT,
        name=username,
        target=found.group,
        body={"pk": ACCOUNT},
        reason="It is locked like everybody in the tenant.",
        after=(marked.id,),
    )


def mail(found: Mail) -> Plan:
    """Its mailbox, as a member has one; where no directory rules, with a new password."""
    address = found.intent.canary or ""
    wanted = mailbox(found.intent, address, NAME)
    desired = Desired(
        exists=True,
        domains=found.intent.domains,
        mailboxes={wanted.address: wanted} if wanted else {},
        members_known=True,
        locked=False,
        published_keys=frozenset(),
    )
    both = list(mailboxes(found.intent, desired, found.observed))
    steps = tuple(item for item in both if isinstance(item, Step))
    obstacles = tuple(item for item in both if isinstance(item, Obstacle))
    if found.by_token or obstacles:
        return Plan(steps, obstacles)
    accounts = [account for domain in found.observed.domains.values() for account in domain.accounts]
    password = stalwart_step(
        "password",
        "canary",
        Verb.CREATE,
        name=address,
        target=accounts[0].id if accounts else Ref(System.STALWART, "account", address),
        reason="No directory rules here; a password of before is known to nobody.",
        after=tuple(step.id for step in steps),
    )
    return Plan((*steps, password))


def files(drive: Drive, until: datetime) -> Plan:
    """An empty folder in the main space, and a link to it that ends by itself."""
    folder = Step(
        system=System.OCIS,
        kind="folder",
        key="canary",
        verb=Verb.CREATE,
        name=FOLDER_NAME,
        target=drive.id,
        reason="Something harmless to link to.",
    )
    link = Step(
        system=System.OCIS,
        kind="link",
        key="canary",
        verb=Verb.CREATE,
        name="dezky-probe",
        target=drive.id,
        body={"item": FOLDER, "until": until.isoformat(timespec="seconds")},
        reason="Shows whether links into the space work.",
    )
    return Plan((folder, link))
