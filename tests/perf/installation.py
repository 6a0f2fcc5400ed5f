"""What is measured is an installation as a real one: with its audit log, on a disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.apiserver import ApiServer
from tests.controlplane.cluster import Cluster
from tests.site import Site


@asynccontextmanager
async def installation(cluster: Cluster) -> AsyncIterator[tuple[Site, ApiServer]]:
    """A site whose operator keeps its log, and a client of its API server."""
    with on_disk() as folder:
        site = Site(cluster, {"audit": {"directory": str(folder)}})
        async with site, ApiServer(site.config, site.namespace) as api:
            yield site, api


@contextmanager
def on_disk() -> Iterator[Path]:
    """A directory beside the sources: /tmp is memory on many machines, and takes no time to sync."""
    here = Path.cwd() / ".run"
    here.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="bench-", dir=here) as folder:
        yield Path(folder)
