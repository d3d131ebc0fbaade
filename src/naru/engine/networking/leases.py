"""Who has which address, on every network: in memory, and rebuilt from what containers have.

An endpoint counts as active from its lease to its release, so a network cannot be removed between.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface
from typing import NamedTuple

from naru.network import ipam
from naru.network.driver import Endpoint
from naru.network.ipam import Leases, Occupied
from naru.spec.errors import NaruError
from naru.spec.networks import EndpointIPAMConfig, NetworkRecord


class Lease(NamedTuple):
    """Addresses with their prefix length, "" where there is none, and the network's gateways."""

    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""

    @property
    def address(self) -> IPv4Address | None:
        return IPv4Address(self.ipv4.partition("/")[0]) if self.ipv4 else None


class AddressBook:
    def __init__(self) -> None:
        self._pools: dict[str, list[Leases]] = {}
        self._active: dict[str, dict[str, str]] = {}  # network -> endpoint -> container

    def active(self, network_id: str) -> dict[str, str]:
        """The network's endpoints, and whose they are: endpoint id -> container id."""
        return dict(self._active.get(network_id, {}))

    def occupied(self, network: NetworkRecord) -> dict[str, Occupied]:
        """By subnet."""
        pools = zip(network.ipam.config, self._of(network), strict=True)
        return {config.subnet: pool.occupied() for config, pool in pools}

    def lease(
        self,
        network: NetworkRecord,
        *,
        endpoint_id: str,
        container_id: str,
        wanted: EndpointIPAMConfig | None,
    ) -> Lease:
        found = Lease()
        wanted = wanted or EndpointIPAMConfig()
        leased: list[tuple[Leases, str]] = []
        try:
            for pool, config in zip(self._of(network), network.ipam.config, strict=True):
                ipv4 = pool.network.version == 4
                asked = wanted.ipv4_address if ipv4 else wanted.ipv6_address
                address = str(pool.lease_exactly(asked) if asked else pool.lease())
                leased.append((pool, address))
                text = f"{address}/{pool.prefix_length}"
                gateway = "" if network.internal else config.gateway
                if ipv4:
                    found = found._replace(ipv4=text, gateway4=gateway)
                else:
                    found = found._replace(ipv6=text, gateway6=gateway)
        except NaruError:
            for pool, address in leased:
                pool.release(address)
            raise
        self._active.setdefault(network.id, {})[endpoint_id] = container_id
        return found

    def restore(self, network: NetworkRecord, endpoint: Endpoint, container_id: str) -> None:
        """Take note of what an endpoint that outlived the daemon has."""
        for pool in self._of(network):
            text = endpoint.ipv4 if pool.network.version == 4 else endpoint.ipv6
            if text and ip_interface(text).ip in pool.network:
                pool.restore(str(ip_interface(text).ip))
        self._active.setdefault(network.id, {})[endpoint.id] = container_id

    def release(self, network: NetworkRecord, endpoint: Endpoint) -> None:
        if self._active.get(network.id, {}).pop(endpoint.id, None) is None:
            return
        for pool in self._of(network):
            text = endpoint.ipv4 if pool.network.version == 4 else endpoint.ipv6
            if text:
                pool.release(str(ip_interface(text).ip))

    def forget(self, network_id: str) -> None:
        self._pools.pop(network_id, None)
        self._active.pop(network_id, None)

    def _of(self, network: NetworkRecord) -> list[ipam.Leases]:
        pools = self._pools.get(network.id)
        if pools is None:
            pools = self._pools[network.id] = [Leases(pool) for pool in network.ipam.config]
        return pools
