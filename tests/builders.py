"""Manifests for tests, from modifiers: ``tenant("acme", domains("acme.test"), partner("nord"))``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Manifest = dict[str, Any]
Modifier = Callable[[Manifest], None]


def tenant(name: str, *modifiers: Modifier) -> Manifest:
    """A Tenant with one domain named after it, changed by ``modifiers``."""
    manifest: Manifest = {
        "apiVersion": "dezky.eu/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"displayName": name.title(), "domains": [f"{name}.test"]},
    }
    for modify in modifiers:
        modify(manifest)
    return manifest


def domains(*names: str) -> Modifier:
    """The mail domains, the primary first."""
    return spec(domains=list(names))


def admin(email: str, name: str | None = None) -> Modifier:
    """The first administrator."""
    return spec(admin={"email": email, **({"name": name} if name else {})})


def partner(name: str) -> Modifier:
    """The partner."""
    return spec(partnerRef={"name": name})


def spaces(*names: str) -> Modifier:
    """Further file spaces."""
    return spec(files={"spaces": [{"name": name} for name in names]})


def deletion(policy: str) -> Modifier:
    """What deleting does."""
    return spec(deletionPolicy=policy)


def suspended() -> Modifier:
    """Locked out."""
    return spec(suspended=True)


def spec(**fields: Any) -> Modifier:
    """Any fields of the spec."""

    def modify(manifest: Manifest) -> None:
        manifest["spec"].update(fields)

    return modify


def annotated(key: str, value: str) -> Modifier:
    """An annotation; the prefix is added."""

    def modify(manifest: Manifest) -> None:
        manifest["metadata"].setdefault("annotations", {})[f"dezky.eu/{key}"] = value

    return modify
