"""What must hold: always, and when nothing fails any more and all was looked at. Asked of the systems themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dezky_operator.crd.tenant import Tenant, TenantStatus
from dezky_operator.integrations.intent import tenant_id_of
from dezky_operator.tenant.record import Record, RecordState
from tests.faults.picture import stored
from tests.faults.strangers import _bytes
from tests.properties.others import People
from tests.sandbox.authentik.kinds import Record as Object
from tests.sandbox.ocis.store import Space
from tests.sandbox.workspace import INSTALLATION, Workspace

LOCKED = {RecordState.LOCKED, RecordState.PURGE_DUE}


def everything(workspace: Workspace) -> dict[str, str]:
    """Every object of the three systems, byte for byte, by where it is."""
    return {f"{place}/{kind}/{key}": _bytes(record) for (place, kind, key), record in stored(workspace).items()}


@dataclass(frozen=True)
class Court:
    """The systems, what the API server has, and what other hands did."""

    workspace: Workspace
    living: Mapping[str, Tenant]
    records: Mapping[str, Record]
    people: People
    foreign: Mapping[str, str]
    """What was there before the first tenant."""

    # -- always ------------------------------------------------------------------------

    def always(self) -> None:
        """Whatever fails, whoever edits, wherever the operator stopped."""
        found = everything(self.workspace)
        changed = [key for key, value in self.foreign.items() if found.get(key) != value]
        assert not changed, f"not ours, and changed: {changed}"
        assert not (twice := self._twice()), f"there twice: {twice}"
        for slug, status in self._statuses():
            _proven(slug, status)
        assert not (mixed := list(self._mixed())), f"in a domain of another tenant: {mixed}"

    def _statuses(self) -> Iterator[tuple[str, TenantStatus]]:
        return ((slug, tenant.status) for slug, tenant in self.living.items())

    def _twice(self) -> list[tuple[str, ...]]:
        store, mail, files = self.workspace.authentik.store, self.workspace.stalwart.objects, self.workspace.ocis.store
        names: list[tuple[str, ...]] = [
            ("binding", str(one["target"]), str(one["policy"] or one["group"] or one["user"]))
            for one in store.objects["policybinding"].values()
        ]
        names += [("brand", str(one["domain"])) for one in store.objects["brand"].values()]
        names += [("role", str(one["description"])) for one in mail.by_type["Role"].values()]
        names += [("throttle", str(one["description"])) for one in mail.by_type["MtaInboundThrottle"].values()]
        names += [("key", str(one["domainId"]), str(one["selector"])) for one in mail.by_type["DkimSignature"].values()]
        names += [("space", one.alias) for one in files.spaces.values()]
        names += [("account", one.name) for one in files.users.values()]
        return [name for name, count in Counter(names).items() if count > 1]

    def _mixed(self) -> Iterator[str]:
        """Accounts that have a role of another tenant than their domain."""
        mail = self.workspace.stalwart.objects
        for account in mail.by_type["Account"].values():
            owner = _tenant_of(mail.by_type["Domain"][account["domainId"]]["description"])
            roles = {
                _tenant_of(mail.by_type["Role"][key]["description"]) for key in account["roles"].get("roleIds", ())
            }
            if owner and roles - {owner, ""}:
                yield str(account["name"])

    # -- at rest ------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Nothing fails, and everything was looked at until nothing changed."""
        for slug, tenant in self.living.items():
            self._living(slug, tenant)
        for record in self.records.values():
            self._buried(record)
        self._nobody_forgotten()

    def _living(self, slug: str, tenant: Tenant) -> None:
        status, ready = tenant.status, tenant.status.condition("Ready")
        if tenant.metadata.deletion_timestamp is not None:
            record = self.records.get(slug)
            assert record is not None, f"{slug} waits for a purge that nobody works on"
            return
        assert ready is not None, f"{slug} was never looked at"
        if self._is_refused(tenant):
            assert ready.reason == "TombstoneExists", f"{slug} is {ready.reason}: {ready.message}"
            return
        identity = self.id_of(tenant)
        assert status.tenant_id == identity, f"{slug} is {status.tenant_id}, not {identity}: {ready.message}"
        if tenant.suspended:
            assert ready.status == "True", f"{slug} is suspended, and not ready: {ready.message}"
            self._locked(slug, identity)
            return
        if ready.reason == "Drift":
            assert tenant.spec.drift_policy == "ReportOnly", f"{slug} is left as it is: {ready.message}"
            return
        self._domains(tenant, identity, ready.reason)
        if ready.reason != "DomainConflict":
            assert ready.status == "True", f"{slug} is {ready.reason}: {ready.message}"
        self._open(tenant, identity)

    def id_of(self, tenant: Tenant) -> str:
        """The identity it must have: its own, unless it took an earlier one."""
        record = self.records.get(tenant.name)
        restored = record is not None and record.restored_uid == tenant.metadata.uid
        return record.tenant_id if record and restored else str(tenant_id_of(INSTALLATION, tenant.metadata.uid))

    def _is_refused(self, tenant: Tenant) -> bool:
        record = self.records.get(tenant.name)
        return record is not None and record.restored_uid != tenant.metadata.uid

    def _domains(self, tenant: Tenant, identity: str, reason: str) -> None:
        """Each domain of the spec is the tenant's, or somebody else's who has it or asked earlier."""
        lost = [name for name in tenant.spec.domains if self._owner(name) != identity]
        for name in lost:
            assert self._owner(name) or self._rivals(name, tenant), f"nobody has {name}, and {tenant.name} asks for it"
        assert bool(lost) == (reason == "DomainConflict"), f"{tenant.name} has not {lost}, and says {reason}"

    def _owner(self, name: str) -> str:
        mail = self.workspace.stalwart.objects
        return _tenant_of(mail.by_type["Domain"][mail.names[name]]["description"]) if name in mail.names else ""

    def _rivals(self, name: str, tenant: Tenant) -> bool:
        others = [one for slug, one in self.living.items() if slug != tenant.name and name in one.spec.domains]
        return bool(others) or any(name in one.as_built.domains for one in self.records.values() if one.standing)

    def _buried(self, record: Record) -> None:
        suspended = record.state is RecordState.RETAINED and record.suspension is not None
        if record.state in LOCKED or suspended:
            self._locked(record.slug, record.tenant_id)
        else:
            held_up = record.blocked is not None and record.blocked.reason == "PurgeBlocked"
            fine = {RecordState.RETAINED, RecordState.RESTORED}
            assert record.state in fine or held_up, f"the tombstone of {record.slug} stands still: {record}"

    def _nobody_forgotten(self) -> None:
        """Whoever is locked is locked by a tenant that is; what is not on record is nowhere."""
        shut = {self.id_of(one) for one in self.living.values() if one.status.suspension is not None}
        shut |= {one.tenant_id for one in self.records.values() if one.standing and one.suspension is not None}
        known = {self.id_of(one) for one in self.living.values()} | {one.tenant_id for one in self.records.values()}
        kept = " ".join(everything(self.workspace).values())
        for user in self.workspace.authentik.store.objects["user"].values():
            mark = (user["attributes"].get("dezky") or {}).get("suspendedBy")
            assert mark is None or mark in shut, f"{user['username']} is locked by {mark}, which is open"
            quiet = user["is_active"] or mark is not None or user["username"] in self.people.stopped
            assert quiet, f"{user['username']} is inactive, and nobody knows why"
            stays = user["username"] not in self.people.stopped_for_good
            assert stays or not user["is_active"], f"{user['username']} was stopped by somebody else, and is active"
        for identity in _mentioned(kept) - known:
            raise AssertionError(f"nobody is {identity} any more, and something of it is left")

    # -- open and locked --------------------------------------------------------------------

    def _locked(self, slug: str, identity: str) -> None:
        """Nobody of the tenant gets in anywhere."""
        store, active = self.workspace.authentik.store, self._active_groups(slug)
        application, provider = self._entrance(slug)
        group = store.find("group", "name", f"dezky-{slug}-users")
        for user in store.objects["user"].values():
            assert application is None or not store.may_use(user, application), f"{slug} lets {user['username']} in"
        assert provider is None or "refresh_token" not in provider["grant_types"], f"{slug} refreshes tokens"
        assert group is None or not group["parents"], f"the group of {slug} is still in the shared applications"
        for user in self._members(slug):
            elsewhere = set(store.groups_of(user)) & active
            assert elsewhere or not user["is_active"], f"{user['username']} of {slug} is active"
            signed_in = [one for one in store.sessions.values() if one["user"] == user["pk"]]
            assert elsewhere or not signed_in, f"{user['username']} of {slug} is still signed in"
        for account in self._accounts(identity):
            held = self.workspace.stalwart.objects.rights.held(account)
            assert "authenticate" not in held, f"the mailbox {account['name']} of {slug} can be opened"
        for space in self._spaces(slug):
            assert space.disabled, f"space {space.alias} is open"

    def _open(self, tenant: Tenant, identity: str) -> None:
        """Everybody of the tenant gets in everywhere, as before."""
        slug, store = tenant.name, self.workspace.authentik.store
        application, provider = self._entrance(slug)
        assert application is not None, f"{slug} has no application"
        assert provider is not None, f"{slug} has no provider"
        assert "refresh_token" in provider["grant_types"], f"{slug} refreshes no tokens"
        group = store.find("group", "name", f"dezky-{slug}-users")
        assert group is not None, f"{slug} has no group"
        assert group["parents"], f"the group of {slug} is not in the shared applications"
        accounts = {self.workspace.stalwart.objects.address(one): one for one in self._accounts(identity)}
        for user in self._members(slug):
            name = str(user["username"])
            assert user["is_active"] or name in self.people.stopped, f"{name} of {slug} is locked"
            assert store.may_use(user, application), f"{slug} does not let {name} in"
            if self._owner(name.partition("@")[2]) == identity and name.partition("@")[2] in tenant.spec.domains:
                assert name in accounts, f"{name} of {slug} has no mailbox"
                held = self.workspace.stalwart.objects.rights.held(accounts[name])
                assert "authenticate" in held, f"the mailbox of {name} can not be opened"
        wanted = {f"project/dezky-{slug}", *(f"project/dezky-{slug}_{one.name}" for one in tenant.spec.files.spaces)}
        there = {space.alias: space for space in self._spaces(slug)}
        assert wanted <= there.keys(), f"{slug} has no {wanted - there.keys()}"
        for alias in wanted:
            assert not there[alias].disabled, f"space {alias} is closed"
        throttles = [
            str(one["description"]) for one in self.workspace.stalwart.objects.by_type["MtaInboundThrottle"].values()
        ]
        assert not [one for one in throttles if identity in one], f"mail of {slug} is held"
        self._personal_spaces(slug)

    def _personal_spaces(self, slug: str) -> None:
        for user in self._members(slug):
            alias = f"personal/{user['username']}"
            for space in self.workspace.ocis.store.spaces.values():
                shut = space.alias == alias and space.disabled
                assert not shut, f"the personal space of {user['username']} of {slug} is closed"

    def _entrance(self, slug: str) -> tuple[Object | None, Object | None]:
        store = self.workspace.authentik.store
        provider = next(
            (one for one in store.objects["oauth2provider"].values() if one["name"] == f"dezky-{slug}"), None
        )
        return store.objects["application"].get(f"dezky-{slug}"), provider

    def _members(self, slug: str) -> list[Object]:
        store = self.workspace.authentik.store
        group = store.find("group", "name", f"dezky-{slug}-users")
        return [store.objects["user"][str(pk)] for pk in sorted(store.members[group["pk"]])] if group else []

    def _active_groups(self, but: str) -> set[str]:
        store = self.workspace.authentik.store
        active = [
            slug
            for slug, one in self.living.items()
            if slug != but and not one.suspended and one.metadata.deletion_timestamp is None
        ]
        found = (store.find("group", "name", f"dezky-{slug}-users") for slug in active)
        return {str(group["pk"]) for group in found if group is not None}

    def _accounts(self, identity: str) -> list[dict[str, Any]]:
        mail = self.workspace.stalwart.objects
        own = {key for key, one in mail.by_type["Domain"].items() if _tenant_of(one["description"]) == identity}
        return [one for one in mail.by_type["Account"].values() if one["domainId"] in own]

    def _spaces(self, slug: str) -> list[Space]:
        spaces = self.workspace.ocis.store.spaces.values()
        return [
            one
            for one in spaces
            if one.alias == f"project/dezky-{slug}" or one.alias.startswith(f"project/dezky-{slug}_")
        ]


def _proven(slug: str, status: TenantStatus) -> None:
    condition = status.condition("Suspended")
    if condition is not None and condition.status == "True":
        receipts = {one.system: one.result for one in (status.suspension.receipts if status.suspension else ())}
        wanted = dict.fromkeys(("authentik", "stalwart", "ocis"), "Refused")
        assert receipts == wanted, f"{slug} is said to be locked out, with {receipts}"


def _tenant_of(mark: object) -> str:
    """The tenantId in a mark of ours; nothing where there is none."""
    parts = str(mark).split(":")
    return parts[2] if parts[0] == "dezky" and len(parts) > 2 else ""


def _mentioned(text: str) -> set[str]:
    """The tenantIds in marks of ours."""
    marks = text.split(f"dezky:{INSTALLATION}:")[1:]
    return {mark[:36] for mark in marks} - {mark[:36] for mark in marks if mark.startswith("platform")}
