"""A stand-in goes back to a state it had, as if nothing had happened since."""

from __future__ import annotations

import httpx2

from tests.sandbox.standin import Fault
from tests.sandbox.workspace import Workspace


async def test_all_three_go_back_to_where_they_were_as_often_as_asked(workspace: Workspace) -> None:
    _change(workspace, "before")
    snapshot = workspace.snapshot()
    for _ in range(2):
        _change(workspace, "after")
        workspace.authentik.faults.append(Fault(status=500))
        workspace.restore(snapshot)
        assert _names(workspace, "before") == {"group": 1, "member": 1, "domain": 1, "space": 1}
        assert _names(workspace, "after") == {"group": 0, "member": 0, "domain": 0, "space": 0}
        assert workspace.authentik.faults == []


async def test_what_comes_after_a_restore_is_served_from_the_restored_state(workspace: Workspace) -> None:
    """The parts of a stand-in know each other; none may go on with what was thrown away."""
    snapshot = workspace.snapshot()
    workspace.restore(snapshot)
    parts = workspace.authentik.kept()
    assert all(part.store is parts[0] for part in parts if hasattr(part, "store"))
    token = {"Authorization": f"Bearer {workspace.authentik.bootstrap_token}"}
    async with httpx2.AsyncClient(base_url=f"{workspace.authentik.url}/api/v3", headers=token) as client:
        made = await client.post("/core/groups/", json={"name": "later"})
        listed = await client.get("/core/groups/", params={"name": "later"})
    assert made.status_code == 201
    assert [group["pk"] for group in listed.json()["results"]] == [made.json()["pk"]]
    assert workspace.authentik.store.find("group", "name", "later") is not None
    workspace.restore(snapshot)
    assert workspace.authentik.store.find("group", "name", "later") is None


def _change(workspace: Workspace, name: str) -> None:
    store = workspace.authentik.store
    group = store.insert("group", {"name": name})
    store.insert("user", {"username": name, "name": name, "groups": [group["pk"]]})
    workspace.stalwart.objects.create("Domain", {"name": f"{name}.test", "dkimManagement": {"@type": "Manual"}})
    workspace.ocis.store.add_user(name, display=name)


def _names(workspace: Workspace, name: str) -> dict[str, int]:
    store = workspace.authentik.store
    group = store.find("group", "name", name)
    return {
        "group": int(group is not None),
        "member": len(store.members[group["pk"]]) if group else 0,
        "domain": int(f"{name}.test" in workspace.stalwart.objects.names),
        "space": sum(space.alias == f"personal/{name}" for space in workspace.ocis.store.spaces.values()),
    }
