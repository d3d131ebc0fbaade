"""The networks that are there without anybody's asking: bridge, host and none."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from naru.engine.networking import creation
from naru.engine.networking.catalog import Catalog
from naru.engine.networking.settings import NetworkSettings
from naru.network.plane import Plane
from naru.store.records import Records, delete, put


async def make_predefined(
    records: Records, catalog: Catalog, plane: Plane, settings: NetworkSettings
) -> None:
    """At the daemon's start, for its settings may be others than the last time's."""
    known = catalog.named("bridge")
    changes = []
    if settings.bridge:
        existing = await plane.bridge_addresses(settings.bridge)
        own = {str(ip_network(text, strict=False)) for text in _cidrs(existing)}
        hosts = await plane.host_networks()
        record = creation.default_bridge(
            known,
            settings=settings,
            existing=existing,
            taken=[
                *(network for network in hosts if str(network) not in own),
                *catalog.subnets(without="bridge"),
            ],
        )
        await plane.create(record)
        if record != known:
            changes.append(put(records.networks, record))
    elif known is not None:
        changes.append(delete(records.networks, known.id))
    for name, driver in (("host", "host"), ("none", "null")):
        if catalog.named(name) is None:
            changes.append(put(records.networks, creation.predefined(name, driver)))
    if changes:
        await records.commit(*changes)


def _cidrs(addresses: Iterable[str]) -> Iterable[str]:
    return (text for text in addresses if not text.startswith("fe80:"))
