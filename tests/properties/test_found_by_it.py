"""What the machine found, each as a plain example that stays."""

from __future__ import annotations

import pytest

from dezky_operator.tenant.record import RecordState
from tests.properties.machine import first_manifest
from tests.properties.memory import HOUR, Memory
from tests.sandbox.standin import Fault


@pytest.fixture
def ground(in_memory: Memory) -> Memory:
    in_memory.reset()
    return in_memory


@pytest.mark.parametrize("system", ["authentik", "stalwart", "ocis"])
def test_a_system_that_was_left_alone_is_found_to_be_back_by_the_tenants_own_looks(ground: Memory, system: str) -> None:
    """Its reads go side by side, and only one of them may try: the others, held back, must not cancel that one."""
    (standin,) = (one for one in ground.workspace.systems if one.name == system)
    standin.faults.append(Fault(match="/api/v3/|/jmap|/graph|/dav", status=503))
    for _ in range(6):
        ground.look("acme")
    assert ready(ground) == "False"
    standin.faults.clear()
    for _ in range(4):
        ground.let_pause_pass(HOUR)
        ground.look("acme")
    assert ready(ground) == "True"


def ready(ground: Memory) -> str:
    found = ground.living()["acme"].status.condition("Ready")
    assert found is not None
    return found.status


def test_a_purge_that_was_confirmed_and_undone_by_a_restore_does_not_come_with_the_next_delete(ground: Memory) -> None:
    ground.delete("acme")
    ground.look("acme")
    ground.confirm("acme")
    ground.apply(first_manifest("acme"))
    ground.look("acme")
    assert ground.records()["acme"].state is RecordState.RESTORED
    ground.delete("acme")
    for _ in range(4):
        ground.look("acme")
    assert ground.records()["acme"].state is RecordState.LOCKED
