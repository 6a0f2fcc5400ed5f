"""A credential is replaced while the operator runs: what was refused is taken up again, and nobody restarts."""

from __future__ import annotations

import pytest

from dezky_operator.kube.bootstrap import prepare
from tests.builders import admin, spec, tenant
from tests.site import Site

ACME = tenant("acme", admin("anna@acme.test"))
OTHER = tenant("acme", admin("anna@acme.test"), spec(displayName="Other"))
CONDITIONS = {"authentik": "IdentityReady", "stalwart": "MailReady"}


@pytest.mark.parametrize("system", ["authentik", "stalwart"])
async def test_a_revoked_credential_is_told_and_its_successor_taken_up(site: Site, system: str) -> None:
    """Revoked first, as after a leak: the tenant waits, and bootstrap writes the next one."""
    operator = await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    revoke(site, system)
    await site.apply(OTHER)
    status = await site.wait("acme", CONDITIONS[system], "False", "AuthFailed")
    assert f"Secret {site.namespace}/{system}, key token" in str(status["conditions"])
    await prepare(site.settings, site.config, site.administrator)
    await site.ready("acme")
    assert site.operator is operator


async def test_another_client_secret_of_ocis_is_used_as_soon_as_it_is_written(site: Site) -> None:
    operator = await site.start()
    await site.apply(ACME)
    await site.ready("acme")
    provider = next(
        one
        for one in site.workspace.authentik.store.objects["oauth2provider"].values()
        if one["client_id"] == "dezky-ocis"
    )
    provider["client_secret"] = "another-secret-of-ocis"
    signed_in = tokens(site)
    patch = '{"stringData":{"token":"another-secret-of-ocis"}}'
    await site.kubectl("-n", site.namespace, "patch", "secret", "ocis", "-p", patch)
    await site.until(lambda: tokens(site) > signed_in, "it signs in anew")
    await site.apply(OTHER)
    await site.ready("acme")
    assert site.operator is operator


# -- help --------------------------------------------------------------------------------


def revoke(site: Site, system: str) -> None:
    """Have the system refuse the operator's credential from now on."""
    if system == "authentik":
        store = site.workspace.authentik.store
        identifier = next(name for name in store.token_keys if "dezky" in name)
        store.set_key(identifier, "another-key-that-nobody-was-given")
        return
    objects = site.workspace.stalwart.objects
    for key in list(objects.by_type["ApiKey"]):
        del objects.by_type["ApiKey"][key]


def tokens(site: Site) -> int:
    """How often somebody asked Authentik for a token."""
    return sum(call.path.startswith("/application/o/token") for call in site.workspace.authentik.calls)
