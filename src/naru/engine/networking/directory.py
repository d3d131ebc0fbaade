"""Who is called what on which network: what the embedded DNS servers answer from."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_interface

import msgspec

from naru.network.driver import Endpoint
from naru.spec.networks import NetworkRecord

Address = IPv4Address | IPv6Address


class _Member(msgspec.Struct, frozen=True):
    names: tuple[str, ...]  # in lower case
    addresses: tuple[Address, ...]


class Directory:
    def __init__(self) -> None:
        self._members: dict[str, dict[str, _Member]] = {}  # network name -> container -> member

    def enter(
        self, network: NetworkRecord, container_id: str, names: Sequence[str], endpoint: Endpoint
    ) -> None:
        addresses = tuple(ip_interface(text).ip for text in (endpoint.ipv4, endpoint.ipv6) if text)
        member = _Member(tuple(name.lower() for name in names), addresses)
        self._members.setdefault(network.name, {})[container_id] = member

    def leave(self, network: NetworkRecord, container_id: str) -> None:
        members = self._members.get(network.name, {})
        members.pop(container_id, None)
        if not members:
            self._members.pop(network.name, None)

    def addresses(self, network: str, name: str) -> list[Address]:
        return [
            address
            for member in self._members.get(network, {}).values()
            if name in member.names
            for address in member.addresses
        ]

    def name_of(self, network: str, address: Address) -> str | None:
        for member in self._members.get(network, {}).values():
            if address in member.addresses and member.names:
                return f"{member.names[0]}.{network}"
        return None


class View:
    """The names that one container sees: those of its networks, and its own links' aliases."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._networks: dict[str, dict[str, str]] = {}  # network name -> alias -> name

    def join(self, network: str, links: Sequence[str]) -> None:
        pairs = [link.partition(":")[::2] for link in links]
        self._networks[network] = {alias.lower(): name.lower() for name, alias in pairs}

    def leave(self, network: str) -> None:
        self._networks.pop(network, None)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def addresses(self, name: str) -> Sequence[Address] | None:
        for network, links in self._networks.items():
            for asked in (name, name.removesuffix(f".{network.lower()}")):
                found = self._directory.addresses(network, links.get(asked, asked))
                if found:
                    return found
        return None

    def name_of(self, address: Address) -> str | None:
        for network in self._networks:
            name = self._directory.name_of(network, address)
            if name is not None:
                return name
        return None
