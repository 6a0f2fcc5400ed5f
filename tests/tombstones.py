"""Tombstones as a person sees them, for tests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.site import PATIENCE, Site


async def tombstone(site: Site, slug: str) -> dict[str, Any]:
    """The record of a deleted tenant; empty when there is none."""
    told = await site.kubectl(
        "-n", site.namespace, "get", "configmap", f"dezky-tombstone-{slug}", "-o", "json", "--ignore-not-found"
    )
    return dict(json.loads(json.loads(told)["data"]["record.json"])) if told.strip() else {}


async def buried(site: Site, slug: str, state: str) -> dict[str, Any]:
    """Until the tombstone is in a state."""
    record: dict[str, Any] = {}
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        record = await tombstone(site, slug)
        if record.get("state") == state:
            return record
        await asyncio.sleep(0.05)
    raise AssertionError(f"the tombstone of {slug} never was {state}: {json.dumps(record, indent=1)}")


async def forgotten(site: Site, slug: str) -> None:
    """Until there is no tombstone any more."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while found := await tombstone(site, slug):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"the tombstone of {slug} is still there: {json.dumps(found, indent=1)}")
        await asyncio.sleep(0.05)


async def annotate_tombstone(site: Site, slug: str, key: str, value: str, *, check: bool = True) -> str:
    """What a person does to a tombstone."""
    name = f"dezky-tombstone-{slug}"
    return await site.kubectl(
        "-n", site.namespace, "annotate", "--overwrite", "configmap", name, f"dezky.eu/{key}={value}", check=check
    )


def places(site: Site, slug: str) -> dict[str, int]:
    """How many objects of a tenant each system has."""
    store, mail, files = site.workspace.authentik.store, site.workspace.stalwart.objects, site.workspace.ocis.store
    kinds = ("group", "user", "oauth2provider", "application", "brand")
    return {
        "authentik": sum(f"{slug}" in str(found) for kind in kinds for found in store.objects[kind].values()),
        "stalwart": sum(name.endswith(f"{slug}.test") for name in mail.names),
        "ocis": sum(f"dezky-{slug}" in space.alias for space in files.spaces.values()),
    }
