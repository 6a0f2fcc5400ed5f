"""The plan as a pure function: over any world it is the same twice, ends, and leaves alone what is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from dezky_operator.integrations.apply import Outputs, resolved
from dezky_operator.integrations.intent import Adoption, Phase, TenantIntent
from dezky_operator.integrations.ocis.desired import desired, may_use
from dezky_operator.integrations.ocis.model import EDITOR, MANAGER, Deleted, Drive, Group, Permission, Quota, Root
from dezky_operator.integrations.ocis.observe import Observed, space_ids
from dezky_operator.integrations.ocis.plan import plan
from dezky_operator.integrations.steps import Plan, Ref, Step, System, Verb
from tests.files import GIB, intent, known, space

OPERATOR = "operator-id"
VIEWER = "a8d5fe5e-96e3-418d-825b-534dbdf22b99"
OWN = Permission(id=f"u:{OPERATOR}", roles=(MANAGER,))
SHUT = Deleted(state="trashed")
GROUP = Group(id="group-id", display_name="dezky-acme-users")
EDITS = Permission(id="g:group-id", roles=(EDITOR,))
MALLORY = Permission(id="u:mallory", roles=(MANAGER,))
NOTHING = Observed(operator=OPERATOR)


def drive(key: str = "main", *grants: Permission, disabled: bool = False, **fields: object) -> Drive:
    """Our space as it must be, changed by ``fields``; without ``grants`` those that must be there."""
    wanted = space("acme", key)
    root = Root(permissions=() if disabled else grants or (OWN, EDITS), deleted=SHUT if disabled else None)
    plain = Drive(
        id=f"storage${wanted.id}", name=wanted.name, drive_alias=wanted.alias, quota=Quota(total=GIB), root=root
    )
    return changed(plain, **fields)


def world(wanted: TenantIntent, group: Group | None, drives: Mapping[str, Drive]) -> Observed:
    """What observing this would give."""
    seen = {key: found for key, found in drives.items() if key in space_ids(wanted)}
    return Observed(
        operator=OPERATOR,
        group=group,
        drives={key: found for key, found in seen.items() if may_use(wanted, key, found)},
        foreign={key: found for key, found in seen.items() if not may_use(wanted, key, found)},
    )


def planned(wanted: TenantIntent, observed: Observed) -> Plan:
    return plan(wanted, desired(wanted), observed)


def of(wanted: TenantIntent, *, group: Group | None = GROUP, **drives: Drive) -> Plan:
    return planned(wanted, world(wanted, group, drives))


def keys(found: Plan) -> list[str]:
    return [f"{step.verb} {step.kind}/{step.key}" for step in found.steps]


# -- create and repair ------------------------------------------------------------------------


def test_a_new_tenant_gets_a_group_and_a_space_that_the_group_edits() -> None:
    """C002, C016: a dedicated space for each tenant."""
    found = planned(intent(), NOTHING)
    assert keys(found) == ["create group/users", "create drive/main", "grant grant/main"]
    made, grant = found.steps[1], found.steps[2]
    assert made.body["id"] == str(space("acme").id)
    assert made.body["driveAlias"] == "project/dezky-acme"
    assert grant.body == {"group": Ref(System.OCIS, "group", "users"), "role": EDITOR}
    assert grant.waits_for == {"ocis/group/users", "ocis/drive/main"}


def test_what_is_as_declared_needs_no_step() -> None:
    """C014."""
    assert of(intent(), main=drive()) == Plan()


def test_every_further_space_is_made() -> None:
    assert keys(of(intent("acme", "archive"), main=drive())) == ["create drive/archive", "grant grant/archive"]


def test_name_and_alias_go_in_one_request_and_the_quota_in_another() -> None:
    found = of(intent(), main=drive(name="Mine", drive_alias="project/dezky-acme_x", quota=Quota(total=1)))
    assert keys(found) == ["update drive/main", "update quota/main"]
    assert found.steps[0].body == {"name": "Acme", "driveAlias": "project/dezky-acme"}
    assert found.steps[1].body == {"quota": {"total": GIB}}


def test_only_the_field_that_differs_is_sent() -> None:
    found = of(intent(), main=drive(name="Mine"))
    assert [step.body for step in found.steps] == [{"name": "Acme"}]
    assert found.steps[0].fields == ("name",)


def test_a_space_without_limit_is_left_without_limit() -> None:
    unlimited = intent(spaces=(space("acme", quota=0),))
    assert of(unlimited, main=drive(quota=Quota())) == Plan()


def test_a_disabled_space_is_enabled_and_looked_at_again() -> None:
    """Its grants can not be seen while it is disabled, so nothing is concluded from their absence."""
    assert keys(of(intent(), main=drive(disabled=True, name="Mine"))) == ["enable drive/main"]


def test_a_group_that_vanished_is_made_and_let_in_again() -> None:
    assert keys(of(intent(), group=None, main=drive())) == ["create group/users", "grant grant/main"]


# -- who gets in ------------------------------------------------------------------------------


def test_a_group_that_only_reads_is_made_to_edit() -> None:
    reads = Permission(id="g:group-id", roles=(VIEWER,))
    assert keys(of(intent(), main=drive("main", OWN, reads))) == ["grant grant/main"]


def test_a_group_of_managers_is_demoted_not_removed() -> None:
    """A manager can undo a suspension, and purge (facts/ocis.md 3)."""
    manages = Permission(id="g:group-id", roles=(EDITOR, MANAGER))
    assert keys(of(intent(), main=drive("main", OWN, manages))) == ["grant grant/main"]


def test_another_manager_is_removed() -> None:
    found = of(intent(), main=drive("main", OWN, EDITS, MALLORY))
    assert keys(found) == ["revoke grant/main/u:mallory"]
    assert found.steps[0].body == {"permission": "u:mallory"}


def test_a_guest_who_reads_or_edits_is_left_alone() -> None:
    guests = Permission(id="u:guest", roles=(EDITOR,)), Permission(id="g:board", roles=(VIEWER,))
    assert of(intent(), main=drive("main", OWN, EDITS, *guests)) == Plan()


def test_without_its_own_grant_the_operator_says_so_and_still_keeps_name_and_quota() -> None:
    found = of(intent(), main=drive("main", MALLORY, name="Mine"))
    assert keys(found) == ["update drive/main"]
    assert [(one.reason, one.blocking) for one in found.obstacles] == [("OperatorLockedOut", True)]


def test_being_locked_out_of_a_space_that_is_right_is_only_told() -> None:
    found = of(intent(), main=drive("main", EDITS))
    assert found.steps == ()
    assert [(one.reason, one.blocking) for one in found.obstacles] == [("OperatorLockedOut", False)]


def test_a_manager_beside_a_locked_out_operator_is_in_the_way() -> None:
    assert not of(intent(), main=drive("main", EDITS, MALLORY)).in_sync


# -- spaces come and go -----------------------------------------------------------------------


def test_a_space_that_left_the_spec_is_closed_and_kept() -> None:
    """No spec edit destroys data."""
    left = intent(known_spaces=known("acme", "main", "old"))
    found = of(left, main=drive(), old=drive("old"))
    assert keys(found) == ["disable drive/old"]
    assert of(left, main=drive(), old=drive("old", disabled=True)) == Plan()


def test_a_space_back_in_the_spec_is_opened_again() -> None:
    back = intent("acme", "old", known_spaces=known("acme", "main", "old"))
    assert keys(of(back, main=drive(), old=drive("old", disabled=True))) == ["enable drive/old"]


def test_a_confirmed_space_is_closed_and_then_destroyed() -> None:
    """An open one can not be purged (facts/ocis.md 2.2)."""
    left = intent(known_spaces=known("acme", "old"), removable=frozenset({"old"}))
    found = of(left, main=drive(), old=drive("old"))
    assert keys(found) == ["disable drive/old/close", "delete drive/old"]
    assert found.steps[1].after == (found.steps[0].id,)


def test_a_confirmed_space_that_is_closed_already_is_destroyed() -> None:
    left = intent(known_spaces=known("acme", "old"), removable=frozenset({"old"}))
    assert keys(of(left, main=drive(), old=drive("old", disabled=True))) == ["delete drive/old"]


def test_a_purge_destroys_all_spaces_and_then_the_group() -> None:
    gone = intent(phase=Phase.PURGED, known_spaces=known("acme", "main", "old"))
    found = of(gone, main=drive(), old=drive("old", disabled=True))
    assert keys(found) == ["disable drive/main/close", "delete drive/main", "delete drive/old", "delete group/users"]
    assert set(found.steps[-1].after) >= {"ocis/drive/main", "ocis/drive/old"}


def test_a_purge_of_nothing_is_done() -> None:
    assert planned(intent(phase=Phase.PURGED), NOTHING) == Plan()


def test_a_deleted_tenant_is_closed_as_a_suspended_one_is_and_gets_nothing_new() -> None:
    deleted = intent(phase=Phase.DELETED, established=True, members=())
    assert planned(deleted, NOTHING) == Plan()
    assert of(deleted, main=drive(disabled=True, name="Mine")) == Plan()
    assert keys(of(deleted, main=drive(name="Mine"))) == ["disable drive/main/close"]


# -- what is not ours -------------------------------------------------------------------------


def test_a_foreign_space_under_our_id_is_told_of_and_not_touched() -> None:
    found = of(intent(), main=drive(drive_alias="project/shared", name="Theirs"))
    assert found.steps == ()
    obstacle = found.obstacles[0]
    assert (obstacle.reason, obstacle.blocking) == ("ForeignObject", True)
    for word in (str(space("acme").id), "project/shared", "project/dezky-acme", "IfUnowned"):
        assert word in obstacle.message


def test_an_adopted_space_gets_our_alias_at_once() -> None:
    """From then on it is ours without any adoption."""
    found = of(intent(adoption=Adoption.IF_UNOWNED), main=drive(drive_alias="project/shared"))
    assert [step.body for step in found.steps] == [{"driveAlias": "project/dezky-acme"}]


def test_a_purge_does_not_destroy_what_was_never_ours_and_says_what_is_left() -> None:
    found = of(intent(phase=Phase.PURGED, adoption=Adoption.FORCE), main=drive(drive_alias="project/shared"))
    assert keys(found) == ["delete group/users"]
    assert [(one.reason, one.blocking) for one in found.obstacles] == [("ForeignObject", True)]


def test_a_detached_space_that_is_not_ours_stays_open_and_holds_up_nothing() -> None:
    left = intent(known_spaces=known("acme", "old"))
    found = of(left, main=drive(), old=drive("old", drive_alias="project/shared"))
    assert (found.steps, found.in_sync) == ((), True)


# -- over any world ---------------------------------------------------------------------------


KEYS = ("main", "archive", "old")
GRANTS = st.lists(
    st.sampled_from([OWN, EDITS, MALLORY, changed(EDITS, roles=(VIEWER,)), changed(EDITS, roles=(MANAGER,))]),
    unique_by=lambda grant: grant.id,
)
ALIASES = st.sampled_from(["project/dezky-acme", "project/dezky-acme_old", "project/shared", "project/dezky-nord"])


@st.composite
def drives(draw: st.DrawFn, key: str) -> Drive:
    grants = tuple(draw(GRANTS))
    shut = draw(st.booleans())
    return drive(
        key,
        drive_alias=draw(ALIASES),
        name=draw(st.sampled_from(["Acme", "Mine"])),
        quota=Quota(total=draw(st.sampled_from([GIB, 0, 1]))),
        drive_type=draw(st.sampled_from(["project", "project", "project", "personal"])),
        # What is disabled keeps its grants, and shows none of them (facts/ocis.md 2.3).
        root=Root(permissions=grants, deleted=SHUT if shut else None),
    )


WORLDS = st.fixed_dictionaries({}, optional={key: drives(key) for key in KEYS})
INTENTS = st.builds(
    lambda keys, phase, adoption, removable: replace(
        intent("acme", *keys),
        phase=phase,
        adoption=adoption,
        known_spaces=known("acme", *KEYS),
        removable=frozenset(removable),
    ),
    st.sets(st.sampled_from(KEYS[1:])).map(sorted),
    st.sampled_from([Phase.ACTIVE, Phase.DELETED, Phase.PURGED]),
    st.sampled_from(list(Adoption)),
    st.sets(st.sampled_from(KEYS)),
)
GROUPS = st.sampled_from([None, GROUP])


def shown(found: Drive) -> Drive:
    """A disabled space tells no grants."""
    return changed(found, root=changed(found.root, permissions=())) if found.disabled else found


def seen(wanted: TenantIntent, group: Group | None, drives: Mapping[str, Drive]) -> Observed:
    return world(wanted, group, {key: shown(found) for key, found in drives.items()})


def ordered(steps: tuple[Step, ...]) -> Iterator[Step]:
    """Steps in an order that keeps what each one follows. Fails on a circle."""
    waiting = {step.id: step for step in steps}
    while waiting:
        free = [step for step in waiting.values() if not step.waits_for & (waiting.keys() - {step.id})]
        assert free, "steps wait for each other in a circle"
        for step in free:
            yield waiting.pop(step.id)


def quota(step: Step) -> Quota:
    body = step.body["quota"]
    assert isinstance(body, Mapping)
    return Quota(total=int(str(body["total"])))


class Server:
    """OCIS as values; fails where the real one would refuse."""

    def __init__(self, group: Group | None, drives: Mapping[str, Drive]) -> None:
        self.group, self.drives = group, {found.uuid: found for found in drives.values()}
        self.outputs: dict[str, Outputs] = {}

    def do(self, step: Step) -> None:
        bound = resolved(step, self.outputs)
        self.outputs[step.id] = {"id": getattr(self, f"{step.verb}_{step.kind}")(bound, str(bound.target))}

    def create_group(self, step: Step, _: str) -> str:
        assert self.group is None
        self.group = Group(id="another-group-id", display_name=step.name)
        return self.group.id

    def delete_group(self, _: Step, target: str) -> str:
        assert self.group is not None
        assert self.group.id == target
        self.group = None
        return target

    def create_drive(self, step: Step, _: str) -> str:
        key = str(step.body["id"])
        assert key not in self.drives
        made = Drive(id=f"storage${key}", name=step.name, drive_alias=str(step.body["driveAlias"]))
        self.drives[key] = changed(made, quota=quota(step), root=Root(permissions=(OWN,)))
        return key

    def update_drive(self, step: Step, target: str) -> str:
        names = {"name": "name", "driveAlias": "drive_alias"}
        self.drives[target] = changed(
            self.drives[target], **{names[str(key)]: value for key, value in step.body.items()}
        )
        return target

    def update_quota(self, step: Step, target: str) -> str:
        self.drives[target] = changed(self.drives[target], quota=quota(step))
        return target

    def disable_drive(self, _: Step, target: str) -> str:
        return self._shut(target, SHUT)

    def enable_drive(self, _: Step, target: str) -> str:
        return self._shut(target, None)

    def delete_drive(self, _: Step, target: str) -> str:
        assert self.drives[target].disabled, "can't purge enabled space"
        del self.drives[target]
        return target

    def grant_grant(self, step: Step, target: str) -> str:
        return self._permit(target, f"g:{step.body['group']}", (str(step.body["role"]),))

    def revoke_grant(self, step: Step, target: str) -> str:
        return self._permit(target, str(step.body["permission"]), ())

    def _shut(self, target: str, state: Deleted | None) -> str:
        found = self.drives[target]
        self.drives[target] = changed(found, root=changed(found.root, deleted=state))
        return target

    def _permit(self, target: str, key: str, roles: tuple[str, ...]) -> str:
        found = self.drives[target]
        assert OWN in found.root.permissions, "the operator is no member"
        assert not found.disabled
        kept = tuple(grant for grant in found.root.permissions if grant.id != key)
        permissions = (*kept, Permission(id=key, roles=roles)) if roles else kept
        self.drives[target] = changed(found, root=changed(found.root, permissions=permissions))
        return target


def by_key(server: Server) -> dict[str, Drive]:
    return {key: server.drives[uuid] for key, uuid in known("acme", *KEYS) if uuid in server.drives}


@given(INTENTS, GROUPS, WORLDS)
def test_after_applying_it_and_looking_again_nothing_is_left(
    wanted: TenantIntent, group: Group | None, drives: dict[str, Drive]
) -> None:
    """Two rounds: what a disabled space holds is seen only once it is open."""
    server = Server(group, drives)
    for _ in range(2):
        for step in ordered(planned(wanted, seen(wanted, server.group, by_key(server))).steps):
            server.do(step)
    assert planned(wanted, seen(wanted, server.group, by_key(server))).steps == ()


@given(INTENTS, GROUPS, WORLDS)
def test_the_same_world_gives_the_same_plan(
    wanted: TenantIntent, group: Group | None, drives: dict[str, Drive]
) -> None:
    backwards = dict(reversed(drives.items()))
    assert planned(wanted, seen(wanted, group, drives)) == planned(wanted, seen(wanted, group, backwards))


@given(INTENTS, GROUPS, WORLDS)
def test_no_step_touches_a_space_that_may_not_be_used(
    wanted: TenantIntent, group: Group | None, drives: dict[str, Drive]
) -> None:
    foreign = {found.uuid for key, found in drives.items() if not may_use(wanted, key, found)}
    found = planned(wanted, seen(wanted, group, drives))
    touched = {str(step.target) for step in found.steps} | {str(step.body.get("id")) for step in found.steps}
    assert not foreign & touched


@given(INTENTS, GROUPS, WORLDS)
def test_only_a_purge_or_a_confirmation_destroys(
    wanted: TenantIntent, group: Group | None, drives: dict[str, Drive]
) -> None:
    destroyed = {step.key for step in planned(wanted, seen(wanted, group, drives)).steps if step.verb is Verb.DELETE}
    if wanted.phase is not Phase.PURGED:
        assert destroyed <= wanted.removable - {space.key for space in wanted.spaces}
