"""The firewall by nftables: one table of our own, static chains, and sets that change.

No rule changes after the start. A published port is one map element and a network a few set
elements, so neither their number nor a restart of the daemon matters to a packet.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import ClassVar

from naru.network import nf_expressions as nf
from naru.network import nfnetlink
from naru.network.firewall import BridgeRules, PortMap
from naru.network.netlink import Message
from naru.network.nfnetlink import Element, Table, Transactions
from naru.network.nftables_rules import DSTNAT, static_rules
from naru.spec.errors import InternalError

_PROTOCOLS = {"tcp": 6, "udp": 17}


def table_name(exec_root: Path) -> str:
    """Each daemon has its own table, found again by its exec-root."""
    return "naru-" + hashlib.sha256(str(exec_root).encode()).hexdigest()[:8]


class Nftables:
    """`Firewall` by raw netlink, in the namespace of the thread that makes it."""

    guards_loopback: ClassVar[bool] = True

    def __init__(self, *, table: str) -> None:
        self._kernel = Transactions()
        self._table = Table(nfnetlink.INET, table)

    def probe(self) -> None:
        """Raise `OSError` where the kernel lacks nf_tables, or what these rules need of it."""
        probing = Table(nfnetlink.INET, self._table.name + "-probe")
        self._kernel.commit(*static_rules(probing), probing.delete())

    def start(self, bridges: Sequence[BridgeRules]) -> None:
        flush = [
            self._table.flush_set(name)
            for name in (
                "bridges",
                "internal",
                "pairs",
                "subnets4",
                "subnets6",
                "masquerade4",
                "masquerade6",
            )
        ]
        added = [message for bridge in bridges for message in self._bridge(bridge)]
        try:
            self._kernel.commit(*static_rules(self._table))
            # One transaction: the running containers' traffic never sees the sets empty.
            self._kernel.commit(*flush, *added)
        except OSError as error:
            raise InternalError(f"nftables: {error}") from error

    def add_bridge(self, bridge: BridgeRules) -> None:
        try:
            self._kernel.commit(*self._bridge(bridge))
        except OSError as error:
            raise InternalError(f"nftables: network {bridge.bridge}: {error}") from error

    def remove_bridge(self, bridge: BridgeRules) -> None:
        for name, elements in _bridge_elements(bridge):
            with suppress(FileNotFoundError):
                self._kernel.commit(self._table.delete_elements(name, elements))

    def publish(self, ports: Sequence[PortMap]) -> None:
        if not ports:
            return
        messages = [
            self._table.add_elements(name, elements) for name, elements in _by_map(ports).items()
        ]
        try:
            self._kernel.commit(*messages)
        except OSError as error:
            raise InternalError(f"nftables: publish ports: {error}") from error

    def withdraw(self, ports: Iterable[PortMap]) -> None:
        grouped = _by_map(ports)
        if not grouped:
            return
        try:
            self._kernel.commit(
                *(self._table.delete_elements(name, found) for name, found in grouped.items())
            )
        except FileNotFoundError:
            for name, elements in grouped.items():
                for element in elements:
                    with suppress(FileNotFoundError):
                        self._kernel.commit(self._table.delete_elements(name, [element]))

    def retain(self, ports: Iterable[PortMap]) -> None:
        wanted = _by_map(ports)
        for name in ("publish4", "publish4at", "publish6", "publish6at"):
            there = set(self._kernel.elements(self._table, name))
            keep = set(wanted.get(name, []))
            changes = []
            if there - keep:
                changes.append(self._table.delete_elements(name, there - keep))
            if keep - there:
                changes.append(self._table.add_elements(name, keep - there))
            if changes:
                self._kernel.commit(*changes)

    def published(self) -> int:
        """How many map elements the kernel holds."""
        names = ("publish4", "publish4at", "publish6", "publish6at")
        return sum(len(self._kernel.elements(self._table, name)) for name in names)

    def obstacles(self) -> Sequence[str]:
        return self._kernel.dropping_forward_chains()

    def close(self) -> None:
        self._kernel.close()

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            self._kernel.commit(self._table.delete())

    def _bridge(self, bridge: BridgeRules) -> list[Message]:
        return [
            self._table.add_elements(name, elements) for name, elements in _bridge_elements(bridge)
        ]


def redirect_dns(transactions: Transactions, *, udp: int, tcp: int) -> None:
    """In a container's namespace: 127.0.0.11:53 is served at other ports of that address.

    The container keeps port 53 for a name server of its own.
    """
    table = Table(nfnetlink.IPV4, "naru-dns")
    server = ip_address("127.0.0.11").packed
    messages = [
        table.add(),
        table.chain("output", hook=nfnetlink.OUTPUT, priority=DSTNAT, kind="nat"),
        table.flush_chain("output"),
    ]
    for protocol, port in (("udp", udp), ("tcp", tcp)):
        messages.append(
            table.rule(
                "output",
                nf.ip_daddr(),
                nf.equal(server),
                nf.meta("l4proto"),
                nf.equal(bytes([_PROTOCOLS[protocol]])),
                nf.th_dport(),
                nf.equal(struct.pack(">H", 53)),
                nf.immediate(server),
                nf.immediate(struct.pack(">H", port), into=nf.register(4)),
                nf.dnat(nf.NFPROTO_IPV4, address=nf.REG_1, port=nf.register(4)),
            )
        )
    transactions.commit(*messages)


def _bridge_elements(bridge: BridgeRules) -> list[tuple[str, list[Element]]]:
    name = nf.ifname(bridge.bridge)
    found = [("bridges", [Element(name)]), ("pairs", [Element(name + name)])]
    if bridge.internal:
        found.append(("internal", [Element(name)]))
    for subnet in bridge.subnets:
        interval = _interval(subnet)
        found.append((f"subnets{subnet.version}", interval))
        if bridge.masquerade and not bridge.internal:
            found.append((f"masquerade{subnet.version}", interval))
    return found


def _interval(subnet: IPv4Network | IPv6Network) -> list[Element]:
    after = int(subnet.broadcast_address) + 1
    size = subnet.max_prefixlen // 8
    return [
        Element(subnet.network_address.packed),
        Element(after.to_bytes(size, "big"), end=True),
    ]


def _by_map(ports: Iterable[PortMap]) -> dict[str, list[Element]]:
    grouped: dict[str, list[Element]] = {}
    for port in ports:
        key = struct.pack(">BxxxHxx", _PROTOCOLS[port.protocol], port.host_port)
        data = ip_address(port.container_ip).packed + struct.pack(">Hxx", port.container_port)
        host_ip = ip_address(port.host_ip)
        name = f"publish{host_ip.version}"
        if not host_ip.is_unspecified:
            name, key = name + "at", host_ip.packed + key
        grouped.setdefault(name, []).append(Element(key, data))
    return grouped
