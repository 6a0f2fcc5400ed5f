"""What `dezky-operator bootstrap` makes once in Authentik (design 12). Every step finds before it makes: repeatable.

Runs with a superuser's token that is not kept. What it makes for every day is a service account whose role may read
everything a tenant needs, make new objects, and change only what it made (facts/authentik.md 3.9, 11.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dezky_operator.integrations.authentik.baseline import (
    AUTHORIZATION_FLOW,
    BUILT_IN_SCOPES,
    CLAIM_MAPPING,
    DENY_POLICY,
    INVALIDATION_FLOW,
    PLATFORM_ADMINS,
    SIGNING_KEY,
    TENANTS,
)
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import Application, Binding, Brand, Group, Keyed, Provider, User
from dezky_operator.integrations.errors import Rejected
from dezky_operator.integrations.steps import System

OPERATOR = "dezky-operator"
ROLE_MAPPING = "dezky: ocis role"
RECOVERY_FLOW = "dezky-recovery"
RECOVERY_STAGES = ("default-password-change-prompt", "default-password-change-write", "default-authentication-login")
"""Authentik's own stages: ask for a new password, write it, sign in."""
CLAIM = """\
tenants = sorted({
    group.attributes["dezky.eu/tenant"]
    for group in request.user.all_groups()
    if "dezky.eu/tenant" in group.attributes
})
return {"tenant": tenants[0] if tenants else None, "tenants": tenants}
"""
OCIS_ROLE = """\
service = request.user.username == "ak-dezky-ocis-client_credentials"
return {"roles": ["ocisAdmin" if service else "ocisUser"]}
"""
GLOBAL_RIGHTS = (
    *(f"authentik_core.{act}_{kind}" for kind in ("group", "user", "application") for act in ("view", "add")),
    *(f"authentik_providers_oauth2.{act}_oauth2provider" for act in ("view", "add")),
    *(f"authentik_policies.{act}_policybinding" for act in ("view", "add")),
    *(f"authentik_brands.{act}_brand" for act in ("view", "add")),
    "authentik_providers_oauth2.view_scopemapping",
    "authentik_policies_expression.view_expressionpolicy",
    "authentik_crypto.view_certificatekeypair",
    "authentik_flows.view_flow",
    "authentik_core.change_user",  # people join by other hands too, and a suspension must lock them as well (design 6)
    "authentik_core.view_authenticatedsession",
    "authentik_core.delete_authenticatedsession",
    # An account with an app password, for the canary. By itself it gives tokens of the caller's own account only; with
    # set_token_key, which is never granted, it would give anybody's (facts/authentik.md 11.6).
    "authentik_core.add_token",
    "authentik_events.view_event",  # into the audit log; changing and deleting them stays with superusers
)
OWN_RIGHTS = (
    *(f"{act}_{kind}" for kind in ("group", "user", "application") for act in ("change", "delete")),
    *(f"{act}_{kind}" for kind in ("oauth2provider", "policybinding", "brand") for act in ("change", "delete")),
    "add_user_to_group",
    "remove_user_from_group",
    "reset_user_password",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A shared application: every tenant's people use it, so it is bound to the parent of all tenants' groups."""

    slug: str
    name: str
    redirects: tuple[str, ...]
    grants: tuple[str, ...] = ("authorization_code", "refresh_token")


@dataclass(slots=True)
class Result:
    """What was done, for a person, and the credentials to keep. ``repr`` shows neither token nor secret."""

    lines: list[str] = field(default_factory=list)
    token: str = field(default="", repr=False)
    ocis_secret: str = field(default="", repr=False)


class _Row(msgspec.Struct, frozen=True):
    pk: str | int
    name: str = ""
    slug: str = ""
    identifier: str = ""
    username: str = ""
    codename: str = ""
    id: int | None = None


class AuthentikBootstrap:
    """Prepares one Authentik for one installation."""

    def __init__(self, client: AuthentikClient, *, installation_id: str, base_domain: str) -> None:
        self._client, self._installation_id, self._base = client, installation_id, base_domain
        self._result = Result()

    async def run(self) -> Result:
        """Make what is missing. Raises IntegrationError; run again after mending what it names."""
        mark = {"dezky.eu/mark": f"dezky:{self._installation_id}:platform", "dezky.eu/managed-by": OPERATOR}
        tenants = await self._group(TENANTS, mark)
        await self._group(PLATFORM_ADMINS, mark)
        key = await self._ensure(
            "/crypto/certificatekeypairs/",
            SIGNING_KEY,
            {"common_name": SIGNING_KEY, "validity_days": 3650, "alg": "rsa"},
            create="/crypto/certificatekeypairs/generate/",
        )  # fmt: skip
        await self._ensure("/policies/expression/", DENY_POLICY, {"expression": "return False"})
        mappings = [await self._built_in(scope) for scope in BUILT_IN_SCOPES]
        path = "/propertymappings/provider/scope/"
        mappings.append(await self._ensure(path, CLAIM_MAPPING, {"scope_name": "dezky", "expression": CLAIM}))
        role = await self._ensure(path, ROLE_MAPPING, {"scope_name": "profile", "expression": OCIS_ROLE})
        await self._recovery()
        await self._shared_applications(tenants, key, mappings, role)
        await self._service_account()
        return self._result

    # -- objects by name -------------------------------------------------------------

    async def _group(self, name: str, attributes: Mapping[str, str]) -> str:
        found = await self._client.find("/core/groups/", Group, op="bootstrap", name=name, include_users="false")
        if group := next((group for group in found if group.name == name), None):
            if group.mark != attributes["dezky.eu/mark"]:
                raise Rejected(
                    System.AUTHENTIK,
                    f"Group {name} exists with mark {group.mark}, expected {attributes['dezky.eu/mark']}. It "
                    "belongs to another installation or to somebody else; use its installationId, or rename it.",
                )
            return group.pk
        made = await self._client.create(
            "/core/groups/", Group, {"name": name, "attributes": dict(attributes)}, op="bootstrap"
        )
        self._made(f"group {name}")
        return made.pk

    async def _ensure(
        self, path: str, name: str, body: Mapping[str, Any], *, create: str | None = None, field: str = "name"
    ) -> str:
        """The key of the object with this name; made when there is none."""
        found = await self._client.find(path, _Row, op="bootstrap", **{field: name})
        if row := next((row for row in found if getattr(row, field) == name), None):
            return str(row.pk)
        made = await self._client.create(create or path, _Row, {field: name, **body}, op="bootstrap")
        self._made(f"{path.strip('/').rpartition('/')[2]} {name}")
        return str(made.pk)

    async def _built_in(self, scope: str) -> str:
        managed = f"goauthentik.io/providers/oauth2/scope-{scope}"
        found = await self._client.find("/propertymappings/provider/scope/", Keyed, op="bootstrap", managed=managed)
        if len(found) != 1:
            raise Rejected(System.AUTHENTIK, f"Authentik has no built-in mapping {managed}; is its start finished?")
        return found[0].pk

    # -- recovery ----------------------------------------------------------------------

    async def _recovery(self) -> None:
        """Recovery links need a flow on the default brand, and a fresh Authentik has none."""
        brands = await self._client.find("/core/brands/", Brand, op="bootstrap", default="true")
        brand = next((brand for brand in brands if brand.default), None)
        if brand is None:
            raise Rejected(System.AUTHENTIK, "Authentik has no default brand; make one brand the default.")
        if brand.flow_recovery is not None:
            return
        flow = await self._client.get(f"/flows/instances/{RECOVERY_FLOW}/", Keyed, op="bootstrap")
        if flow is None:
            body = {"name": "Recovery", "slug": RECOVERY_FLOW, "title": "Set your password", "designation": "recovery"}
            flow = await self._client.create("/flows/instances/", Keyed, body, op="bootstrap")
            self._made(f"flow {RECOVERY_FLOW}")
        await self._stages(flow.pk)
        await self._client.patch(f"/core/brands/{brand.brand_uuid}/", {"flow_recovery": flow.pk}, op="bootstrap")
        self._made("recovery flow on the default brand")

    async def _stages(self, flow: str) -> None:
        bound = await self._client.find("/flows/bindings/", _StageBinding, op="bootstrap", target=flow)
        have = {binding.stage for binding in bound if binding.target == flow}
        for order, name in enumerate(RECOVERY_STAGES):
            found = await self._client.find("/stages/all/", _Row, op="bootstrap", name=name)
            stage = next((row for row in found if row.name == name), None)
            if stage is None:
                raise Rejected(System.AUTHENTIK, f"Authentik has no stage {name}; apply its default blueprints.")
            if str(stage.pk) not in have:
                body = {"target": flow, "stage": stage.pk, "order": order * 10}
                await self._client.create("/flows/bindings/", _StageBinding, body, op="bootstrap")

    # -- shared applications --------------------------------------------------------------

    async def _shared_applications(self, tenants: str, key: str, mappings: Sequence[str], role: str) -> None:
        base = self._base
        for shared in (
            Shared(
                slug="dezky-ocis",
                name="Files",
                redirects=(f"https://files.{base}/", f"https://files.{base}/oidc-callback.html"),
                grants=("authorization_code", "client_credentials", "refresh_token"),
            ),
            Shared(slug="dezky-mail", name="Mail", redirects=(f"https://mail.{base}/auth/callback",)),
            Shared(slug="dezky-portal", name="Portal", redirects=(f"https://app.{base}/auth/callback",)),
        ):
            chosen = [*mappings, role] if shared.slug == "dezky-ocis" else list(mappings)
            provider = await self._provider(shared, key, chosen)
            application = await self._application(shared, provider.pk)
            await self._bind(application.pk, tenants)
            if shared.slug == "dezky-ocis":
                self._result.ocis_secret = provider.client_secret
                await self._let_operator_in(tenants)

    async def _provider(self, shared: Shared, key: str, mappings: list[str]) -> Provider:
        found = await self._client.find("/providers/oauth2/", Provider, op="bootstrap", name=shared.slug)
        if existing := next((one for one in found if one.name == shared.slug), None):
            return existing
        authorization = await self._client.get(f"/flows/instances/{AUTHORIZATION_FLOW}/", Keyed, op="bootstrap")
        invalidation = await self._client.get(f"/flows/instances/{INVALIDATION_FLOW}/", Keyed, op="bootstrap")
        if authorization is None or invalidation is None:
            raise Rejected(
                System.AUTHENTIK, "Authentik's default provider flows are missing; apply its default blueprints."
            )
        body = {
            "name": shared.slug,
            "client_id": shared.slug,
            "client_type": "confidential",
            "authorization_flow": authorization.pk,
            "invalidation_flow": invalidation.pk,
            "grant_types": list(shared.grants),
            "redirect_uris": [{"matching_mode": "strict", "url": url} for url in shared.redirects],
            "property_mappings": mappings,
            "signing_key": key,
            "sub_mode": "user_uuid",
            "access_token_validity": "minutes=5",
        }
        self._made(f"provider {shared.slug}")
        return await self._client.create("/providers/oauth2/", Provider, body, op="bootstrap")

    async def _application(self, shared: Shared, provider: int) -> Application:
        path = f"/core/applications/{shared.slug}/"
        mark = f"dezky:{self._installation_id}:platform"
        if found := await self._client.get(path, Application, op="bootstrap"):
            if found.meta_publisher != mark:
                raise Rejected(
                    System.AUTHENTIK,
                    f"Application {shared.slug} exists with publisher {found.meta_publisher or 'empty'}, expected "
                    f"{mark}. It is somebody else's and is not touched; remove or rename it, then run this again.",
                )
            return found
        body = {
            "name": shared.name,
            "slug": shared.slug,
            "provider": provider,
            "group": "Dezky",
            "meta_publisher": mark,
        }
        self._made(f"application {shared.slug}")
        return await self._client.create("/core/applications/", Application, body, op="bootstrap")

    async def _bind(self, application: str, group: str) -> None:
        bindings = await self._client.find("/policies/bindings/", Binding, op="bootstrap", target=application)
        if not any(found.group == group for found in bindings if found.target == application):
            body = {"target": application, "group": group, "order": 0, "enabled": True}
            await self._client.create("/policies/bindings/", Binding, body, op="bootstrap")

    async def _let_operator_in(self, tenants: str) -> None:
        """The user that client_credentials makes must pass the application's bindings like everybody else."""
        username = "ak-dezky-ocis-client_credentials"
        found = await self._client.find("/core/users/", User, op="bootstrap", username=username)
        user = next((user for user in found if user.username == username), None)
        if user is None:
            body = {"username": username, "name": "Dezky operator at OCIS", "path": "goauthentik.io/apps/dezky-ocis",
                    "type": "service_account", "email": f"operator@{self._base}"}  # fmt: skip
            user = await self._client.create("/core/users/", User, body, op="bootstrap")
            self._made(f"user {username}")
        if tenants not in (user.groups or ()):
            await self._client.call(f"/core/groups/{tenants}/add_user/", {"pk": user.pk}, op="bootstrap")

    # -- the daily account -------------------------------------------------------------------

    async def _service_account(self) -> None:
        role = await self._ensure("/rbac/roles/", OPERATOR, {})
        await self._client.call(
            f"/rbac/permissions/assigned_by_roles/{role}/assign/", {"permissions": list(GLOBAL_RIGHTS)}, op="bootstrap"
        )
        numbers = [await self._permission(codename) for codename in OWN_RIGHTS]
        body = {"mode": "user", "role": role, "permissions": numbers}
        await self._ensure("/rbac/initial_permissions/", OPERATOR, body)
        found = await self._client.find("/core/users/", User, op="bootstrap", username=OPERATOR)
        user = next((user for user in found if user.username == OPERATOR), None)
        if user is None:
            account = {
                "username": OPERATOR,
                "name": "Dezky operator",
                "path": "dezky/platform",
                "type": "service_account",
            }
            user = await self._client.create("/core/users/", User, {**account, "roles": [role]}, op="bootstrap")
            self._made(f"service account {OPERATOR}")
        elif user.is_superuser or user.path != "dezky/platform":
            # A token for it would carry somebody else's rights into every day's work.
            raise Rejected(
                System.AUTHENTIK,
                f"User {OPERATOR} exists and is not the service account of an operator (path {user.path}). "
                "Rename it, then run this again.",
            )
        token = {"intent": "api", "user": user.pk, "expiring": False, "description": "Daily token of dezky-operator"}
        await self._ensure("/core/tokens/", OPERATOR, token, field="identifier")
        shown = await self._client.get(f"/core/tokens/{OPERATOR}/view_key/", _Key, op="bootstrap")
        self._result.token = shown.key if shown else ""

    async def _permission(self, codename: str) -> int:
        found = await self._client.find("/rbac/permissions/", _Permission, op="bootstrap", codename=codename)
        match = next((row for row in found if row.codename == codename), None)
        if match is None:
            raise Rejected(System.AUTHENTIK, f"Authentik knows no permission {codename}; it is older than 2026.5.")
        return match.id

    def _made(self, what: str) -> None:
        self._result.lines.append(f"made {what}")


class _StageBinding(msgspec.Struct, frozen=True):
    target: str
    stage: str


class _Permission(msgspec.Struct, frozen=True):
    id: int
    codename: str


class _Key(msgspec.Struct, frozen=True):
    key: str

    def __repr__(self) -> str:
        """Without the key."""
        return "_Key()"
