"""Carries out single steps in Authentik. Each is safe to repeat after a crash at any point.

A create whose answer was lost finds its own object by name, checks the mark and returns its key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from dezky_operator.integrations.apply import Outputs
from dezky_operator.integrations.authentik.client import AuthentikClient
from dezky_operator.integrations.authentik.model import (
    SUSPENDED_BY,
    USER_TENANT,
    Application,
    Binding,
    Brand,
    Group,
    Provider,
    User,
    is_platforms_own,
    suspended_by,
)
from dezky_operator.integrations.errors import AlreadyExists, IntegrationError, Rejected, Unreachable
from dezky_operator.integrations.steps import Step, System, Verb

LINK_DURATION = "hours=72"
PEOPLE = 200
"""Users named in one request that ends sessions: they stand in its address, which may not grow for ever."""
T = TypeVar("T")
Perform = Callable[[Step], Awaitable[Outputs]]


class AuthentikPerformer:
    """Performs the steps that :mod:`plan` makes."""

    def __init__(self, client: AuthentikClient) -> None:
        self._client = client
        self._table: Mapping[tuple[str, Verb], Perform] = {
            ("group", Verb.CREATE): self._create_group,
            ("group", Verb.UPDATE): self._patch("/core/groups/{}/"),
            ("group", Verb.DELETE): self._delete("/core/groups/{}/"),
            ("user", Verb.CREATE): self._create_user,
            ("user", Verb.UPDATE): self._patch("/core/users/{}/"),
            ("user", Verb.DELETE): self._delete("/core/users/{}/"),
            ("user", Verb.DISABLE): self._deactivate,
            ("user", Verb.ENABLE): self._activate,
            ("service-account", Verb.CREATE): self._create_service_account,
            ("session", Verb.REVOKE): self._end_sessions,
            ("membership", Verb.GRANT): self._join,
            ("provider", Verb.CREATE): self._create_provider,
            ("provider", Verb.UPDATE): self._patch("/providers/oauth2/{}/"),
            ("provider", Verb.DELETE): self._delete("/providers/oauth2/{}/"),
            ("application", Verb.CREATE): self._create_application,
            ("application", Verb.UPDATE): self._patch_application,
            ("application", Verb.DELETE): self._delete("/core/applications/{}/"),
            ("binding", Verb.CREATE): self._create_binding,
            ("binding", Verb.UPDATE): self._put_binding,
            ("binding", Verb.DELETE): self._delete("/policies/bindings/{}/"),
            ("brand", Verb.CREATE): self._create_brand,
            ("brand", Verb.UPDATE): self._patch("/core/brands/{}/"),
            ("brand", Verb.DELETE): self._delete("/core/brands/{}/"),
            ("recovery-link", Verb.CREATE): self._recovery_link,
        }

    async def perform(self, step: Step) -> Outputs:
        """Do what ``step`` says. Raises IntegrationError."""
        return await self._table[step.kind, step.verb](step)

    # -- changes and removals -----------------------------------------------------

    def _patch(self, path: str) -> Perform:
        async def perform(step: Step) -> Outputs:
            target = str(step.target)
            await self._client.patch(path.format(quote(target)), _body(step), op=f"{step.kind}.update")
            return {"id": target}

        return perform

    def _delete(self, path: str) -> Perform:
        async def perform(step: Step) -> Outputs:
            target = str(step.target)
            await self._client.delete(path.format(quote(target)), op=f"{step.kind}.delete")
            return {"id": target}

        return perform

    # -- locks -----------------------------------------------------------------------

    async def _deactivate(self, step: Step) -> Outputs:
        """With our mark. Who was deactivated meanwhile by another hand stays without it, and so stays inactive."""
        mine = str(_body(step)[SUSPENDED_BY])
        user = await self._person(step)
        if user is not None and (user.is_active or suspended_by(user) == mine):
            await self._set_active(user, active=False, mark={SUSPENDED_BY: mine})
        return {"id": str(step.target)}

    async def _activate(self, step: Step) -> Outputs:
        """Only while our mark is there: without it somebody else has decided about the user."""
        user = await self._person(step)
        if user is not None and suspended_by(user) == str(_body(step)[SUSPENDED_BY]):
            await self._set_active(user, active=True, mark={})
        return {"id": str(step.target)}

    async def _person(self, step: Step) -> User | None:
        """The user, read again: a PATCH replaces all attributes, and somebody may have been quicker."""
        user = await self._client.get(f"/core/users/{step.target}/", User, op="user.get")
        if user is not None and is_platforms_own(user):
            raise Rejected(
                System.AUTHENTIK,
                f"Authentik's user {user.username} is the platform's own and is not touched. Take it out of the "
                "tenant's group.",
            )
        return user

    async def _set_active(self, user: User, *, active: bool, mark: dict[str, str]) -> None:
        ours = {key: value for key, value in _ours(user).items() if key != SUSPENDED_BY} | mark
        others = {key: value for key, value in user.attributes.items() if key != "dezky"}
        body = {"is_active": active, "attributes": {**others, "dezky": ours} if ours else others}
        # PATCH, not PUT: only a PATCH also ends the login sessions (facts/authentik.md 3.10).
        op = "user.enable" if active else "user.disable"
        await self._client.patch(f"/core/users/{user.pk}/", body, op=op)

    async def _end_sessions(self, step: Step) -> Outputs:
        """Before the deactivation: only then are relying parties told (facts/authentik.md 3.10)."""
        users = _body(step)["users"]
        for start in range(0, len(users), PEOPLE):
            query = "&".join(f"user_pks={pk}" for pk in users[start : start + PEOPLE])
            await self._client.delete(f"/core/authenticated_sessions/bulk_delete/?{query}", op="session.revoke")
        return {"id": "sessions"}

    # -- creates --------------------------------------------------------------------

    async def _create_group(self, step: Step) -> Outputs:
        async def again() -> Group | None:
            found = await self._client.find(
                "/core/groups/", Group, op="group.find", name=step.name, include_users="false"
            )
            return next((group for group in found if group.attributes == step.body["attributes"]), None)

        group = await self._found_or_made(step, "/core/groups/", Group, again)
        return {"id": group.pk}

    async def _create_user(self, step: Step) -> Outputs:
        wanted = _body(step)["attributes"][USER_TENANT]

        async def again() -> User | None:
            found = await self._client.find("/core/users/", User, op="user.find", username=step.name)
            return next((user for user in found if user.attributes.get(USER_TENANT) == wanted), None)

        user = await self._found_or_made(step, "/core/users/", User, again)
        return {"id": str(user.pk)}

    async def _create_service_account(self, step: Step) -> Outputs:
        """Its app password is told once and can not be asked for again: after a lost answer it has to be made anew."""
        made = await self._client.call("/core/users/service_account/", _body(step), op="service-account.create")
        password = made.get("token")
        if not isinstance(password, str) or not password:
            raise Rejected(System.AUTHENTIK, f"Authentik made the account {step.name} without an app password.")
        return {"id": str(made["user_pk"]), "password": password}

    async def _create_provider(self, step: Step) -> Outputs:
        async def again() -> Provider | None:
            found = await self._client.find("/providers/oauth2/", Provider, op="provider.find", name=step.name)
            client_id, free_or_ours = step.body["client_id"], {None, step.name}
            return next(
                (one for one in found if one.client_id == client_id and one.assigned_application_slug in free_or_ours),
                None,
            )

        provider = await self._found_or_made(step, "/providers/oauth2/", Provider, again)
        return {"id": str(provider.pk), "client_secret": provider.client_secret}

    async def _create_application(self, step: Step) -> Outputs:
        async def again() -> Application | None:
            path = f"/core/applications/{quote(step.name)}/"
            found = await self._client.get(path, Application, op="application.get")
            return found if found and found.meta_publisher == step.body["meta_publisher"] else None

        application = await self._found_or_made(
            step, "/core/applications/", Application, again, _with_number("provider")
        )
        return {"id": application.slug, "pk": application.pk}

    async def _patch_application(self, step: Step) -> Outputs:
        path = f"/core/applications/{quote(str(step.target))}/"
        await self._client.patch(path, _with_number("provider")(_body(step)), op="application.update")
        return {"id": str(step.target)}

    async def _create_binding(self, step: Step) -> Outputs:
        """Bindings to a group have no unique key: one that is there already must be looked for before, not after."""
        body = _body(step)

        async def again() -> Binding | None:
            found = await self._client.find("/policies/bindings/", Binding, op="binding.find", target=body["target"])
            return next((one for one in found if _same_end(one, body)), None)

        if (binding := await again()) is None:
            binding = await self._found_or_made(step, "/policies/bindings/", Binding, again)
        return {"id": binding.pk}

    async def _put_binding(self, step: Step) -> Outputs:
        await self._client.put(f"/policies/bindings/{step.target}/", _body(step), op="binding.update")
        return {"id": str(step.target)}

    async def _create_brand(self, step: Step) -> Outputs:
        async def again() -> Brand | None:
            found = await self._client.find("/core/brands/", Brand, op="brand.find", domain=step.name)
            return next((brand for brand in found if brand.attributes == step.body["attributes"]), None)

        # The unique domain is checked by the API only, not by the database: look before, two would both be made.
        if (brand := await again()) is None:
            brand = await self._found_or_made(step, "/core/brands/", Brand, again)
        return {"id": brand.brand_uuid}

    async def _found_or_made(
        self,
        step: Step,
        path: str,
        kind: type[T],
        again: Callable[[], Awaitable[T | None]],
        shape: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> T:
        """Make the object; when the answer is odd or says that it exists, look whether it is ours (facts 10, Races)."""
        try:
            return await self._client.create(path, kind, shape(_body(step)), op=f"{step.kind}.create")
        except (AlreadyExists, Unreachable) as error:
            found = await _quietly(again)
            if found is None:
                raise error from None
            return found

    # -- actions --------------------------------------------------------------------------

    async def _join(self, step: Step) -> Outputs:
        path = f"/core/groups/{step.target}/add_user/"
        await self._client.call(path, {"pk": int(_body(step)["pk"])}, op="membership.grant")
        return {"id": str(step.target)}

    async def _recovery_link(self, step: Step) -> Outputs:
        path = f"/core/users/{step.target}/recovery/"
        answer = await self._client.call(path, {"token_duration": LINK_DURATION}, op="recovery.create")
        link = answer.get("link")
        if not isinstance(link, str):
            raise Rejected(
                System.AUTHENTIK,
                "Authentik made no recovery link: its default brand has no recovery flow. "
                "Run `dezky-operator bootstrap`.",
            )
        return {"id": str(step.target), "link": link}


async def _quietly(look: Callable[[], Awaitable[T | None]]) -> T | None:
    """A second look after an error: when it fails too, the first error is the one to tell."""
    try:
        return await look()
    except IntegrationError:
        return None


def _body(step: Step) -> dict[str, Any]:
    return {str(key): value for key, value in step.body.items()}


def _ours(user: User) -> Mapping[str, Any]:
    """What a user's attributes say under our name."""
    found = user.attributes.get("dezky")
    return found if isinstance(found, dict) else {}


def _with_number(field: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An id that came through a Ref is text; Authentik wants this field as a number."""

    def shape(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, field: int(body[field])} if field in body else body

    return shape


def _same_end(binding: Binding, body: Mapping[str, Any]) -> bool:
    same_end = (binding.policy, binding.group) == (body.get("policy"), body.get("group"))
    return same_end and binding.target == str(body["target"])
