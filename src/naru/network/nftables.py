"""The firewall by nftables: one table of our own, static chains, and sets that change.

    map publish4/publish6    protocol . port               -> address . port   (0.0.0.0, [::])
    map publish4at/publish6at  host address . protocol . port -> address . port
    set bridges, internal    interface names
    set pairs                interface . interface: forwarding within one bridge
    set subnets4/6, masquerade4/6  the networks' subnets

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

from naru.network import nfnetlink as nf
from naru.network.firewall import BridgeRules, PortMap
from naru.network.netlink import Message
from naru.network.nfnetlink import Element, Table, Transactions
from naru.spec.errors import InternalError

_PROTOCOLS = {"tcp": 6, "udp": 17}
_DSTNAT, _SRCNAT, _RAW, _FILTER = -100, 100, -300, 0

_LOOPBACK = nf.ip_daddr() + nf.masked(b"\xff\0\0\0") + nf.equal(b"\x7f\0\0\0")
_FROM_LOOPBACK = nf.ip_saddr() + nf.masked(b"\xff\0\0\0") + nf.equal(b"\x7f\0\0\0")
_V4 = nf.family_is(nf.NFPROTO_IPV4)
_V6 = nf.family_is(nf.NFPROTO_IPV6)
_FROM_BRIDGE = nf.meta("iifname") + nf.in_set("bridges")
_TO_BRIDGE = nf.meta("oifname") + nf.in_set("bridges")
_TO_ELSEWHERE = nf.meta("oifname") + nf.in_set("bridges", invert=True)
_WITHIN_BRIDGE = nf.meta("iifname") + nf.meta("oifname", into=nf.register(4)) + nf.in_set("pairs")


def table_name(exec_root: Path) -> str:
    """Each daemon has its own table, found again by its exec-root."""
    return "naru-" + hashlib.sha256(str(exec_root).encode()).hexdigest()[:8]


def static_rules(table: Table) -> list[Message]:
    """The table, its sets and chains, with the rules made anew in place of those that are there."""
    address4 = (nf.IPV4_ADDR, nf.INET_SERVICE)
    address6 = (nf.IPV6_ADDR, nf.INET_SERVICE)
    port = (nf.INET_PROTO, nf.INET_SERVICE)
    subnet = nf.SET_INTERVAL
    sets = [
        table.set("publish4", key=port, size=8, data=address4, data_size=8, number=1),
        table.set(
            "publish4at", key=(nf.IPV4_ADDR, *port), size=12, data=address4, data_size=8, number=2
        ),
        table.set("publish6", key=port, size=8, data=address6, data_size=20, number=3),
        table.set(
            "publish6at", key=(nf.IPV6_ADDR, *port), size=24, data=address6, data_size=20, number=4
        ),
        table.set("bridges", key=(nf.IFNAME,), size=16, number=5),
        table.set("internal", key=(nf.IFNAME,), size=16, number=6),
        table.set("pairs", key=(nf.IFNAME, nf.IFNAME), size=32, number=7),
        table.set("subnets4", key=(nf.IPV4_ADDR,), size=4, flags=subnet, number=8),
        table.set("subnets6", key=(nf.IPV6_ADDR,), size=16, flags=subnet, number=9),
        table.set("masquerade4", key=(nf.IPV4_ADDR,), size=4, flags=subnet, number=10),
        table.set("masquerade6", key=(nf.IPV6_ADDR,), size=16, flags=subnet, number=11),
    ]
    hooks = {
        "raw": (nf.PREROUTING, _RAW, "filter"),
        "prerouting": (nf.PREROUTING, _DSTNAT, "nat"),
        "output": (nf.OUTPUT, _DSTNAT, "nat"),
        "postrouting": (nf.POSTROUTING, _SRCNAT, "nat"),
        "forward": (nf.FORWARD, _FILTER, "filter"),
    }
    chains = [table.chain("publish")]
    for name, (hook, priority, kind) in hooks.items():
        chains.append(table.chain(name, hook=hook, priority=priority, kind=kind))
    flushed = [table.flush_chain(name) for name in ("publish", *hooks)]
    return [table.add(), *sets, *chains, *flushed, *_rules(table)]


def _rules(table: Table) -> list[Message]:
    rule = table.rule
    local = nf.fib_daddr_local()
    r = nf.register
    to4 = nf.dnat(nf.NFPROTO_IPV4, address=nf.REG_1, port=r(1))
    to6 = nf.dnat(nf.NFPROTO_IPV6, address=nf.REG_1, port=r(4))
    port_key = nf.meta("l4proto") + nf.th_dport(into=r(1))
    at4 = nf.ip_daddr() + nf.meta("l4proto", into=r(1)) + nf.th_dport(into=r(2))
    at6 = nf.ip6_daddr() + nf.meta("l4proto", into=r(4)) + nf.th_dport(into=r(5))
    return [
        # route_localnet lets a reply to 127.0.0.1 in; a container must not reach the host's
        # loopback services through it.
        rule("raw", _V4, _FROM_BRIDGE, _LOOPBACK, nf.drop()),
        rule("prerouting", local, nf.jump("publish")),
        # IPv6 has no route_localnet: a connection to [::1] is refused by the held port instead.
        rule("output", _V6, nf.ip6_daddr(), nf.equal(b"\0" * 15 + b"\1"), nf.accept()),
        rule("output", local, nf.jump("publish")),
        rule("publish", _V4, at4, nf.looked_up("publish4at"), to4),
        rule("publish", _V4, port_key, nf.looked_up("publish4"), to4),
        rule("publish", _V6, at6, nf.looked_up("publish6at"), to6),
        rule("publish", _V6, port_key, nf.looked_up("publish6"), to6),
        # The host's own 127.0.0.1 cannot be answered by a container.
        rule("postrouting", _V4, _TO_BRIDGE, _FROM_LOOPBACK, nf.masquerade()),
        # A container that uses a published port of its neighbour (or its own): the answer has to
        # come back through the host, or its source would not match.
        rule(
            "postrouting",
            _V4,
            _TO_BRIDGE,
            nf.ct_status_dnat(),
            nf.ip_saddr(),
            nf.in_set("subnets4"),
            nf.masquerade(),
        ),
        rule(
            "postrouting",
            _V6,
            _TO_BRIDGE,
            nf.ct_status_dnat(),
            nf.ip6_saddr(),
            nf.in_set("subnets6"),
            nf.masquerade(),
        ),
        rule(
            "postrouting",
            _V4,
            _TO_ELSEWHERE,
            nf.ip_saddr(),
            nf.in_set("masquerade4"),
            nf.masquerade(),
        ),
        rule(
            "postrouting",
            _V6,
            _TO_ELSEWHERE,
            nf.ip6_saddr(),
            nf.in_set("masquerade6"),
            nf.masquerade(),
        ),
        rule("forward", nf.ct_state_established(), nf.accept()),
        rule("forward", _WITHIN_BRIDGE, nf.accept()),
        rule("forward", nf.meta("iifname"), nf.in_set("internal"), nf.drop()),
        rule("forward", nf.meta("oifname"), nf.in_set("internal"), nf.drop()),
        rule("forward", _TO_BRIDGE, nf.ct_status_dnat(), nf.accept()),
        # Neither other networks nor other hosts reach a port that is not published.
        rule("forward", _TO_BRIDGE, nf.drop()),
    ]


class Nftables:
    """`Firewall` by raw netlink, in the namespace of the thread that makes it."""

    guards_loopback: ClassVar[bool] = True

    def __init__(self, *, table: str) -> None:
        self._kernel = Transactions()
        self._table = Table(nf.INET, table)

    def probe(self) -> None:
        """Raise `OSError` where the kernel lacks nf_tables, or what these rules need of it."""
        probing = Table(nf.INET, self._table.name + "-probe")
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
    table = Table(nf.IPV4, "naru-dns")
    server = ip_address("127.0.0.11").packed
    messages = [
        table.add(),
        table.chain("output", hook=nf.OUTPUT, priority=_DSTNAT, kind="nat"),
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
