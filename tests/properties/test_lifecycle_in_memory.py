"""Whatever happens to two tenants, in whatever order: it ends in sync, and nothing foreign was changed. In memory."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import FULL, Lifecycle, profile
from tests.properties.memory import Memory

EXAMPLES, STEPS = (100, 40) if FULL else (30, 25)


@pytest.mark.timeout(3600)
def test_whatever_happens_it_ends_in_sync_with_nothing_foreign_changed(in_memory: Memory) -> None:
    class InMemory(Lifecycle):
        pass

    InMemory.ground = in_memory
    run_state_machine_as_test(InMemory, settings=profile(examples=EXAMPLES, steps=STEPS))
