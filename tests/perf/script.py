"""What a person would do instead: the same onboarding, one call after the other, and no look at what is there.

The calls are the ones the operator makes for a new tenant with one domain and an administrator, and what they need to
know is looked up first. It is told nothing of marks, retries or a second run.
"""

from __future__ import annotations

import secrets
from typing import Any, Self

import httpx2
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret

from tests.apiserver import ApiServer
from tests.sandbox.ocis.store import EDITOR
from tests.sandbox.workspace import BASE_DOMAIN, Workspace

Json = dict[str, Any]
SCOPES = [f"goauthentik.io/providers/oauth2/scope-{name}" for name in ("openid", "email", "profile", "offline_access")]
USING = ["urn:ietf:params:jmap:core", "urn:stalwart:jmap"]


class Script:
    """Start with ``async with``; ``calls`` counts what one onboarding costs."""

    def __init__(self, workspace: Workspace, api: ApiServer) -> None:
        self._workspace, self._api = workspace, api
        token = {"Authorization": f"Bearer {workspace.authentik.bootstrap_token}"}
        self._identity = httpx2.AsyncClient(base_url=f"{workspace.authentik.url}/api/v3", headers=token)
        self._mail = httpx2.AsyncClient(base_url=workspace.stalwart.url, auth=workspace.stalwart.admin)
        self._files = httpx2.AsyncClient(base_url=f"{workspace.ocis.url}/graph")
        self.calls = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (self._identity, self._mail, self._files):
            await client.aclose()

    async def onboard(self, slug: str) -> None:
        """One customer, from nothing."""
        self.calls = 0
        await self._sign_in(slug)
        await self._mailboxes(slug)
        await self._spaces(slug)

    async def _sign_in(self, slug: str) -> None:
        parent = await self._find("/core/groups/", name="dezky-tenants")
        users = await self._make("/core/groups/", name=f"dezky-{slug}-users", parents=[parent["pk"]])
        admins = await self._make("/core/groups/", name=f"dezky-{slug}-admins", parents=[users["pk"]])
        provider = await self._provider(slug)
        application = await self._make(
            "/core/applications/",
            slug=f"dezky-{slug}", name=slug, provider=provider["pk"], policy_engine_mode="all",
            meta_launch_url=f"https://{slug}.{BASE_DOMAIN}/",
        )  # fmt: skip
        deny = await self._find("/policies/expression/", name="dezky: deny suspended")
        target = application["pk"]
        await self._make("/policies/bindings/", target=target, group=users["pk"], order=0)
        await self._make("/policies/bindings/", target=target, policy=deny["pk"], order=100, enabled=False)
        await self._make(
            "/core/brands/", domain=f"{slug}.{BASE_DOMAIN}", branding_title=slug, default_application=target
        )
        email = f"anna@{slug}.test"
        anna = await self._make("/core/users/", username=email, email=email, name="Anna", path=f"dezky/tenants/{slug}")
        for group in (users, admins):
            await self._make(f"/core/groups/{group['pk']}/add_user/", pk=anna["pk"])
        link = await self._make(f"/core/users/{anna['pk']}/recovery/", token_duration="hours=72")
        content = {"recovery-link": link["link"], "client-secret": provider["client_secret"]}
        metadata = ObjectMeta(name=f"{slug}-by-hand", namespace=self._api.namespace)
        await self._api.create(Secret(metadata=metadata, stringData=content))

    async def _provider(self, slug: str) -> Json:
        flows = "/flows/instances/default-provider-"
        begin = await self._read(f"{flows}authorization-implicit-consent/")
        end = await self._read(f"{flows}invalidation-flow/")
        key = await self._find("/crypto/certificatekeypairs/", name="dezky-signing")
        mapped = [await self._find("/propertymappings/provider/scope/", managed=scope) for scope in SCOPES]
        mapped.append(await self._find("/propertymappings/provider/scope/", name="dezky: tenant claim"))
        back = {"url": f"https://{slug}.{BASE_DOMAIN}/auth/callback", "matching_mode": "strict"}
        return await self._make(
            "/providers/oauth2/",
            name=f"dezky-{slug}", authorization_flow=begin["pk"], invalidation_flow=end["pk"],
            signing_key=key["pk"], property_mappings=[found["pk"] for found in mapped], redirect_uris=[back],
            client_id=f"dezky-{slug}", grant_types=["authorization_code", "refresh_token"], sub_mode="user_uuid",
        )  # fmt: skip

    async def _mailboxes(self, slug: str) -> None:
        manual = {"@type": "Manual"}
        domain = await self._set("Domain", name=f"{slug}.test", dkimManagement=manual, dnsManagement=manual)
        role = await self._set("Role", description=slug, roleIds={"b": True})
        roles = {"@type": "Custom", "roleIds": {role: True}}
        await self._set("Account", **{"@type": "User"}, name="anna", domainId=domain, roles=roles)
        for kind, key in (
            ("Dkim1RsaSha256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
            ("Dkim1Ed25519Sha256", ed25519.Ed25519PrivateKey.generate()),
        ):
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
            secret = {"@type": "Text", "secret": pem}
            selector = f"s-{secrets.token_hex(4)}"
            await self._set(
                "DkimSignature",
                **{"@type": kind},
                domainId=domain,
                selector=selector,
                stage="pending",
                privateKey=secret,
            )

    async def _spaces(self, slug: str) -> None:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        group = await self._post("/v1.0/groups", headers, displayName=f"dezky-{slug}-users")
        alias = f"project/dezky-{slug}"
        drive = await self._post("/v1.0/drives", headers, name=slug, driveType="project", driveAlias=alias)
        recipient = {"objectId": group["id"], "@libre.graph.recipient.type": "group"}
        invite = f"/v1beta1/drives/{drive['id']}/root/invite"
        await self._post(invite, headers, recipients=[recipient], roles=[EDITOR])

    async def _token(self) -> str:
        self.calls += 1
        secret = (await self._api.secret("ocis"))["token"]
        form = {"grant_type": "client_credentials", "client_id": "dezky-ocis", "client_secret": secret}
        form["scope"] = "openid profile email"
        answer = await self._identity.post(f"{self._workspace.authentik.url}/application/o/token/", data=form)
        return str(answer.raise_for_status().json()["access_token"])

    # -- one call each ------------------------------------------------------------------

    async def _read(self, path: str, /, **query: str) -> Json:
        self.calls += 1
        return dict((await self._identity.get(path, params=query)).raise_for_status().json())

    async def _find(self, path: str, /, **query: str) -> Json:
        return dict((await self._read(path, **query))["results"][0])

    async def _make(self, path: str, /, **body: Any) -> Json:
        self.calls += 1
        answer = (await self._identity.post(path, json=body)).raise_for_status()
        return dict(answer.json()) if answer.content else {}

    async def _set(self, kind: str, /, **body: Any) -> str:
        self.calls += 1
        call = [f"x:{kind}/set", {"create": {"new": body}}, "c0"]
        answer = (await self._mail.post("/jmap", json={"using": USING, "methodCalls": [call]})).raise_for_status()
        result = answer.json()["methodResponses"][0][1]
        assert "created" in result, result
        return str(result["created"]["new"]["id"])

    async def _post(self, path: str, headers: dict[str, str], /, **body: Any) -> Json:
        self.calls += 1
        return dict((await self._files.post(path, json=body, headers=headers)).raise_for_status().json())
