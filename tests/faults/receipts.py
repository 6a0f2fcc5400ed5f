"""What may be said about a lock after a process ended: a receipt tells of a try, or that nobody could try.

Which of both depends on the moment of the crash, so receipts are judged here by their own rule and no picture compares
them: a lock counts as proven only with three refusals, and a door that was shut when the process ended was never tried
open, so nothing is proven for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tests.sandbox.workspace import Workspace

SYSTEMS = ("authentik", "stalwart", "ocis")
TOLD = {True: ("True", "Locked"), False: ("Unknown", "ProofIncomplete")}
"""Status and reason of the condition Suspended, by whether everything is proven."""
Suspension = Mapping[str, Any]


def suspensions(items: Collection[Mapping[str, Any]]) -> list[Suspension]:
    """The suspensions that Tenants and the contents of tombstones tell of."""
    told = [item.get("suspension") or item.get("status", {}).get("suspension") for item in items]
    return [found for found in told if found]


def proven(suspension: Suspension) -> bool:
    """Whether every system refused what it had allowed before."""
    results = {receipt["system"]: receipt["result"] for receipt in suspension["receipts"]}
    return results == dict.fromkeys(SYSTEMS, "Refused")


def judge(items: Collection[Mapping[str, Any]], unproven: Collection[str]) -> None:
    """Raise AssertionError where more is claimed than could be known; nobody could try the ``unproven`` systems."""
    for suspension in suspensions(items):
        receipts = suspension["receipts"]
        assert [receipt["system"] for receipt in receipts] == list(SYSTEMS), f"not one for each system: {receipts}"
        for receipt in receipts:
            _judge_one(receipt, tried=receipt["system"] not in unproven)
    for item in items:
        _judge_condition(item)


def without_proof(item: dict[str, Any]) -> dict[str, Any]:
    """A Tenant, or the content of a tombstone, without what :func:`judge` looks at."""
    if item.get("suspension"):
        return {**item, "suspension": {**item["suspension"], "receipts": "judged"}}
    status = item.get("status") or {}
    if not status.get("suspension"):
        return item
    conditions = [found for found in status["conditions"] if found["type"] != "Suspended"]
    return {**item, "status": without_proof({**status, "conditions": conditions})}


def shut_without_receipt(workspace: Workspace, slug: str, items: Collection[Mapping[str, Any]]) -> set[str]:
    """The systems whose door is shut now and which no receipt tells of: what was open before is lost with the process.

    Empty unless somebody is being locked out: ``items`` are the Tenants and tombstones.
    """
    told = {receipt["system"] for found in suspensions(items) for receipt in found.get("receipts", ())}
    return shut(workspace, slug) - told


def shut(workspace: Workspace, slug: str) -> set[str]:
    """The systems whose door to the tenant is shut."""
    store, mail, files = workspace.authentik.store, workspace.stalwart.objects, workspace.ocis.store
    application = store.find("application", "slug", f"dezky-{slug}")
    bindings = store.bindings_of(application) if application else ()
    denied = any(found["policy"] and found["enabled"] for found in bindings)
    roles = [role for role in mail.by_type["Role"].values() if str(role.get("description")).startswith("dezky:")]
    spaces = [space for space in files.spaces.values() if space.alias == f"project/dezky-{slug}"]
    found = {
        "authentik": denied,
        "stalwart": any("authenticate" in (role.get("disabledPermissions") or {}) for role in roles),
        "ocis": any(space.disabled for space in spaces),
    }
    return {system for system, is_shut in found.items() if is_shut}


def _judge_one(receipt: Mapping[str, Any], *, tried: bool) -> None:
    assert receipt["result"] in {"Refused", "Inconclusive"}, f"a door stands open: {receipt}"
    assert tried or receipt["result"] == "Inconclusive", f"nobody could try it before the lock: {receipt}"
    if receipt["result"] == "Refused":
        assert receipt["tried"], receipt
        assert receipt["before"], receipt
        assert receipt["before"] != receipt["after"], receipt
    assert receipt["after"], f"it does not say why: {receipt}"


def _judge_condition(item: Mapping[str, Any]) -> None:
    status = item.get("status") or {}
    if not status.get("suspension"):
        return
    told = [found for found in status["conditions"] if found["type"] == "Suspended"]
    expected = TOLD[proven(status["suspension"])]
    assert [(found["status"], found["reason"]) for found in told] == [expected], f"expected {expected}: {told}"
