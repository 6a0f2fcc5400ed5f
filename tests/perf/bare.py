"""``python -m tests.perf.bare KUBECONFIG``: kopf and lightkube, connected, with nothing to do.

What the libraries cost by themselves; the operator's memory stands beside it.
"""

from __future__ import annotations

import asyncio
import sys


async def main(kubeconfig: str) -> None:
    """Watch Tenants and do nothing about them."""
    import kopf  # noqa: PLC0415 - after `kubernetes` was made unimportable, as all imports here
    from lightkube import AsyncClient  # noqa: PLC0415

    from dezky_operator.kube.resources import GROUP, VERSION, TenantResource  # noqa: PLC0415
    from dezky_operator.kube.transport import cluster_config  # noqa: PLC0415
    from dezky_operator.kube.watch import connection_info  # noqa: PLC0415

    config, registry = cluster_config(kubeconfig), kopf.OperatorRegistry()
    seen = asyncio.Event()

    @kopf.on.login(registry=registry)
    async def login(**_: object) -> kopf.ConnectionInfo:
        return connection_info(config)

    @kopf.on.event(GROUP, VERSION, "tenants", registry=registry)
    async def tenant(**_: object) -> None:
        seen.set()

    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    client = AsyncClient(config=config, trust_env=False)
    async for _ in client.list(TenantResource):
        break
    watch = asyncio.create_task(kopf.operator(registry=registry, settings=settings, standalone=True, clusterwide=True))
    await seen.wait()
    await asyncio.sleep(1.0)  # the rest of the list
    print("connected", flush=True)
    await watch


if __name__ == "__main__":
    sys.modules["kubernetes"] = None  # type: ignore[assignment]  # as in production (tests/lean.py)
    asyncio.run(main(sys.argv[1]))
