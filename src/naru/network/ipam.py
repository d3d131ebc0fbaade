"""Addresses, purely: which pool a network gets, and which address a container gets from it.

Pools follow Docker's defaults: 172.17-31.0.0/16, then 192.168.0.0/16 in /20 parts. Addresses are
leased in order and a released one comes last again, so that a container which follows another
does not take its address while the host still remembers the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple

from naru.spec.errors import Forbidden, InvalidParameter
from naru.spec.networks import IPAMPool

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_POOLS: tuple[tuple[str, int], ...] = (
    *((f"172.{second}.0.0/16", 16) for second in range(17, 32)),
    ("192.168.0.0/16", 20),
)
"""(base, prefix length of each network) of `default-address-pools`."""

POOL_OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"
NO_POOL_LEFT = "all predefined address pools have been fully subnetted"


def choose_pool(
    taken: Iterable[Network],
    *,
    pools: Sequence[tuple[str, int]] = DEFAULT_POOLS,
    version: int = 4,
) -> Network:
    """The first network of the pools that overlaps none of `taken` (networks and host routes)."""
    occupied = [network for network in taken if network.version == version]
    for candidate in _candidates(pools, version):
        if not any(overlaps(candidate, other) for other in occupied):
            return candidate
    raise InvalidParameter(NO_POOL_LEFT)


def unique_local_pool(seed: str) -> IPv6Network:
    """An IPv6 /64 under a unique local prefix that only this engine, known by `seed`, uses."""
    digest = hashlib.sha256(seed.encode()).digest()
    return IPv6Network((b"\xfd" + digest[:7] + bytes(8), 64))


def overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def check_free(wanted: Network, taken: Iterable[Network]) -> None:
    if any(overlaps(wanted, other) for other in taken):
        raise Forbidden(POOL_OVERLAP)


def complete(pool: IPAMPool) -> IPAMPool:
    """The pool as it is recorded: with a gateway, the first address unless one was given."""
    network = _network(pool.subnet)
    if pool.gateway:
        return pool
    source = _network(pool.ip_range) if pool.ip_range else network
    first = source.network_address
    if first == network.network_address:
        first += 1
    auxiliary = set(pool.auxiliary_addresses.values())
    while str(first) in auxiliary:
        first += 1
    return IPAMPool(
        subnet=pool.subnet,
        ip_range=pool.ip_range,
        gateway=str(first),
        auxiliary_addresses=pool.auxiliary_addresses,
    )


def validate(pool: IPAMPool) -> None:
    """Check what a client asks for. Texts are Docker's."""
    network = _network(pool.subnet)
    if str(network) != pool.subnet and _has_host_bits(pool.subnet):
        raise InvalidParameter(
            f"invalid network config:\ninvalid subnet {pool.subnet}: it should be {network}"
        )
    if pool.ip_range:
        part = _network(pool.ip_range)
        if part.version != network.version or not part.subnet_of(network):  # type: ignore[arg-type]
            raise InvalidParameter(
                "invalid network config:\n"
                f"invalid ip-range {pool.ip_range}: parent subnet is an IPv{network.version} block"
                if part.version != network.version
                else "invalid network config:\n"
                f"invalid ip-range {pool.ip_range}: it should be contained in {pool.subnet}"
            )
    if pool.gateway:
        _member(pool.gateway, network, f"invalid gateway {pool.gateway}")
    for name, address in pool.auxiliary_addresses.items():
        _member(address, network, f"invalid auxiliary address {name}")


class Occupied(NamedTuple):
    """How many addresses of a subnet are taken, and how many of its range are left."""

    in_use: int
    available: int


class Leases:
    """The addresses of one pool of one network; kept in memory, told again after a restart."""

    def __init__(self, pool: IPAMPool) -> None:
        self.network = _network(pool.subnet)
        self._range = _network(pool.ip_range) if pool.ip_range else self.network
        self._leased: set[int] = set()
        self._reserved = {int(self.network.network_address)}
        if self.network.version == 4 and self.network.prefixlen < 31:
            self._reserved.add(int(self.network.broadcast_address))
        if pool.gateway:
            self._reserved.add(int(ip_address(pool.gateway)))
        self._reserved.update(int(ip_address(a)) for a in pool.auxiliary_addresses.values())
        self._first = int(self._range.network_address)
        self._size = self._range.num_addresses
        self._next = 0

    @property
    def prefix_length(self) -> int:
        return self.network.prefixlen

    def lease(self) -> Address:
        """The next free address."""
        # Among one more address than are occupied, one is free: a /64 is never walked through.
        for step in range(min(self._size, len(self._leased) + len(self._reserved) + 1)):
            offset = (self._next + step) % self._size
            number = self._first + offset
            if number not in self._leased and number not in self._reserved:
                self._leased.add(number)
                self._next = (offset + 1) % self._size
                return self._address(number)
        raise Forbidden(
            f"no available IPv{self.network.version} addresses on this network's address pools"
        )

    def lease_exactly(self, address: str) -> Address:
        """The address that the user asked for."""
        number = int(self._member(address))
        if number in self._leased or number in self._reserved:
            raise Forbidden("Address already in use")
        self._leased.add(number)
        return self._address(number)

    def restore(self, address: str) -> None:
        """Take note of a lease that outlived the daemon."""
        number = int(ip_address(address))
        self._leased.add(number)
        if self._first <= number < self._first + self._size:
            after = (number - self._first + 1) % self._size
            self._next = max(self._next, after)

    def occupied(self) -> Occupied:
        taken = self._leased | self._reserved
        inside = sum(self._first <= number < self._first + self._size for number in taken)
        return Occupied(len(taken), self._size - inside)

    def release(self, address: str) -> None:
        self._leased.discard(int(ip_address(address)))

    def _member(self, address: str) -> Address:
        try:
            found = ip_address(address)
        except ValueError:
            raise InvalidParameter(f"invalid IP address: {address}") from None
        if found not in self.network:
            raise InvalidParameter(
                "invalid endpoint settings:\n"
                f"no configured subnet or ip-range contain the IP address {address}"
            )
        return found

    def _address(self, number: int) -> Address:
        return IPv4Address(number) if self.network.version == 4 else IPv6Address(number)


def mac_for(address: IPv4Address) -> str:
    """Docker's MAC of an endpoint: 02:42 and the IPv4 address."""
    return "02:42:" + address.packed.hex(":")


def _candidates(pools: Sequence[tuple[str, int]], version: int) -> Iterator[Network]:
    for base, prefix in pools:
        network = _network(base)
        if network.version == version:
            yield from network.subnets(new_prefix=prefix)


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise InvalidParameter(
            f"invalid network config:\ninvalid subnet {text}: invalid CIDR block notation"
        ) from None


def _has_host_bits(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return True
    return False


def _member(address: str, network: Network, what: str) -> None:
    try:
        found = ip_address(address)
    except ValueError:
        raise InvalidParameter(f"invalid network config:\n{what}: invalid address") from None
    if found not in network:
        raise InvalidParameter(
            f"invalid network config:\n{what}: parent subnet is an IPv{network.version} block"
            if found.version != network.version
            else f"invalid network config:\n{what}: not in subnet {network}"
        )
