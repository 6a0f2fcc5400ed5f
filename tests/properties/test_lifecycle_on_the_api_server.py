"""The same on a real API server, with the whole operator: watch, queue, Lease and all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.controlplane.cluster import Cluster
from tests.properties.machine import FULL, Lifecycle, profile
from tests.properties.on_cluster import OnCluster, on_cluster

EXAMPLES, STEPS = (11, 30) if FULL else (4, 15)


@pytest.fixture(scope="module")
def ground(cluster: Cluster) -> Iterator[OnCluster]:
    with on_cluster(cluster) as found:
        yield found


@pytest.mark.timeout(3600)
def test_whatever_happens_it_ends_in_sync_with_nothing_foreign_changed(ground: OnCluster) -> None:
    class OnApiServer(Lifecycle):
        pass

    OnApiServer.ground = ground
    run_state_machine_as_test(OnApiServer, settings=profile(examples=EXAMPLES, steps=STEPS))
