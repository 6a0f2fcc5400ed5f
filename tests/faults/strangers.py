"""What stands beside the tenant and must stay as it is: objects with names like its own, none with a mark of ours.

In the API server it is also a Tenant that is paused: the operator sees it in every life, and leaves it alone.
"""

from __future__ import annotations

import json

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret

from tests.apiserver import ApiServer
from tests.builders import annotated, tenant
from tests.faults.picture import stored
from tests.sandbox.ocis.store import EDITOR, Space
from tests.sandbox.workspace import Workspace

NEIGHBOUR = "neighbour"


async def move_in(workspace: Workspace, api: ApiServer) -> None:
    """Put some into every system, none with a mark of ours."""
    _into_authentik(workspace)
    _into_stalwart(workspace)
    _into_ocis(workspace)
    metadata = ObjectMeta(name="acme-of-somebody", namespace=api.namespace)
    await api.create(ConfigMap(metadata=metadata, data={"record.json": "not one of ours"}))
    await api.create(Secret(metadata=metadata, stringData={"client-secret": "somebody's"}))
    await api.apply(tenant(NEIGHBOUR, annotated("paused", "yes")))


async def bytes_of(workspace: Workspace, api: ApiServer) -> dict[str, str]:
    """Everything that is there, byte for byte, by where it is."""
    found = {f"{place}/{kind}/{key}": _bytes(record) for (place, kind, key), record in stored(workspace).items()}
    for item in await api.foreign():
        metadata = item["metadata"]
        found[f"kubernetes/{sorted(item.get('data') or {})}/{metadata['name']}"] = _bytes(item)
    found[f"kubernetes/tenant/{NEIGHBOUR}"] = _bytes(await api.tenant(NEIGHBOUR))
    return found


def _into_authentik(workspace: Workspace) -> None:
    store = workspace.authentik.store
    friends = store.insert("group", {"name": "acme-friends", "attributes": {"note": "not a tenant's"}})
    bob = store.insert("user", {"username": "bob@acme.test", "name": "Bob", "groups": [friends["pk"]]})
    flow = next(iter(store.objects["flow"].values()))["pk"]
    fields = {"name": "acme", "authorization_flow": flow, "invalidation_flow": flow, "redirect_uris": []}
    provider = store.insert("oauth2provider", fields)
    application = store.insert("application", {"name": "Acme", "slug": "acme", "provider": provider["pk"]})
    store.insert("policybinding", {"target": application["pk"], "user": bob["pk"], "order": 0})
    store.insert("brand", {"domain": "acme.example.test", "branding_title": "Somebody's"})


def _into_stalwart(workspace: Workspace) -> None:
    objects = workspace.stalwart.objects
    domain = objects.create("Domain", {"name": "acme-friends.test", "dkimManagement": {"@type": "Manual"}})["id"]
    role = objects.create("Role", {"description": "acme friends"})["id"]
    roles = {"@type": "Custom", "roleIds": {role: True}}
    objects.create("Account", {"name": "bob", "domainId": domain, "roles": roles})
    objects.create("MailingList", {"name": "all", "domainId": domain, "recipients": {"bob@acme-friends.test": True}})


def _into_ocis(workspace: Workspace) -> None:
    store = workspace.ocis.store
    group = store.add_group("acme-friends")
    bob = store.add_user("bob@acme.test", display="Bob")
    bob.groups.add(group)
    for alias, disabled in (("project/acme", False), ("project/acme-old", True)):
        key = f"00000000-0000-4000-8000-{len(store.spaces):012}"
        grants, files = {f"g:{group}": EDITOR}, {"/plan.txt": b"somebody's"}
        store.spaces[key] = Space(id=key, name="Acme", alias=alias, disabled=disabled, grants=grants, files=files)


def _bytes(record: object) -> str:
    return json.dumps(record, sort_keys=True, default=repr)
