"""Somebody who speaks JMAP with Stalwart. Every answer is held against RFC 8620."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from tests.sandbox.stalwart.rfc8620 import check_response

Record = dict[str, Any]
PASSWORD = "Tr0ub4dor & 9 horses"


def basic(user: str, password: str) -> str:
    """A Basic header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Caller:
    """One caller with one credential; ``address`` is the loopback address it comes from."""

    def __init__(self, url: str, header: str = "", *, address: str | None = None) -> None:
        transport = httpx2.AsyncHTTPTransport(local_address=address)
        headers = {"Authorization": header} if header else {}
        self.http = httpx2.AsyncClient(base_url=url, headers=headers, transport=transport, timeout=10)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    # -- requests ---------------------------------------------------------------------------

    async def raw(self, *calls: object, **more: Any) -> httpx2.Response:
        """One request, and the answer as it came."""
        return await self.http.post("/jmap", json={"using": ["urn:stalwart:jmap"], "methodCalls": calls, **more})

    async def several(self, *calls: tuple[str, Record], **more: Any) -> list[tuple[str, Record]]:
        """Several calls in one request: (name, document) of each."""
        numbered = [[name, arguments, f"c{number}"] for number, (name, arguments) in enumerate(calls)]
        answer = await self.raw(*numbered, **more)
        assert answer.status_code == 200, answer.text
        check_response({"methodCalls": numbered, **more}, answer.json())
        return [(name, document) for name, document, _ in answer.json()["methodResponses"]]

    async def call(self, method: str, **arguments: Any) -> Record:
        """One call that is answered."""
        name, document = (await self.several((method, arguments)))[0]
        assert name == method, document
        return document

    async def failure(self, method: str, **arguments: Any) -> Record:
        """One call that fails: its error."""
        name, document = (await self.several((method, arguments)))[0]
        assert name == "error", document
        return document

    # -- objects ----------------------------------------------------------------------------

    async def get(self, kind: str, *ids: str, **more: Any) -> list[Record]:
        """Objects by their ids; without any, all of them."""
        found: list[Record] = (await self.call(f"x:{kind}/get", ids=list(ids) or None, **more))["list"]
        return found

    async def one(self, kind: str, key: str, **more: Any) -> Record:
        """One object."""
        return (await self.get(kind, key, **more))[0]

    async def ids(self, kind: str, **arguments: Any) -> list[str]:
        """The ids that a query gives."""
        found: list[str] = (await self.call(f"x:{kind}/query", **arguments))["ids"]
        return found

    async def make(self, kind: str, body: Record, **more: Any) -> Record:
        """Make an object; what the server tells of it."""
        answer = await self.call(f"x:{kind}/set", create={"new": body}, **more)
        assert "created" in answer, answer
        return dict(answer["created"]["new"])

    async def not_made(self, kind: str, body: Record, **more: Any) -> Record:
        """The error of an object that is not made."""
        answer = await self.call(f"x:{kind}/set", create={"new": body}, **more)
        return dict(answer["notCreated"]["new"])

    async def change(self, kind: str, key: str, patch: Record, **more: Any) -> None:
        """Change an object."""
        answer = await self.call(f"x:{kind}/set", update={key: patch}, **more)
        assert answer.get("updated") == {key: None}, answer

    async def not_changed(self, kind: str, key: str, patch: Record) -> Record:
        """The error of a change that is refused."""
        answer = await self.call(f"x:{kind}/set", update={key: patch})
        return dict(answer["notUpdated"][key])

    async def remove(self, kind: str, *keys: str, **more: Any) -> None:
        """Destroy objects."""
        answer = await self.call(f"x:{kind}/set", destroy=list(keys), **more)
        assert answer.get("destroyed") == list(keys), answer

    async def not_removed(self, kind: str, key: str) -> Record:
        """The error of an object that stays."""
        answer = await self.call(f"x:{kind}/set", destroy=[key])
        return dict(answer["notDestroyed"][key])

    async def reload(self, action: str = "ReloadSettings") -> None:
        """Have the settings take effect."""
        await self.make("Action", {"@type": action})


@dataclass(frozen=True)
class Tenant:
    """A domain, its role, and one mailbox with :data:`PASSWORD`."""

    name: str
    domain: str
    role: str
    account: str

    @property
    def address(self) -> str:
        """Jane's."""
        return f"jane@{self.name}"

    @property
    def header(self) -> str:
        """How Jane signs in."""
        return basic(self.address, PASSWORD)


async def made_tenant(admin: Caller, name: str = "acme.test") -> Tenant:
    """What the operator makes of a tenant, with a password added, as a canary has one."""
    manual = {"@type": "Manual"}
    domain = await admin.make("Domain", {"name": name, "dkimManagement": manual})
    role = await admin.make("Role", {"description": f"dezky:test:{name}:role", "roleIds": {"b": True}})
    body = {
        "@type": "User",
        "name": "jane",
        "domainId": domain["id"],
        "roles": {"@type": "Custom", "roleIds": {role["id"]: True}},
        "credentials": {"0": {"@type": "Password", "secret": PASSWORD}},
    }
    account = await admin.make("Account", body)
    return Tenant(name=name, domain=domain["id"], role=role["id"], account=account["id"])


async def suspend(admin: Caller, tenant: Tenant) -> None:
    """Lock everybody who has the tenant's role."""
    await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": True})


async def resume(admin: Caller, tenant: Tenant) -> None:
    """Undo exactly that."""
    await admin.change("Role", tenant.role, {"disabledPermissions/authenticate": False})
