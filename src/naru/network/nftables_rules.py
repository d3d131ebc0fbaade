"""The rules of the table that `nftables` keeps: chains, and the sets that they look into.

    map publish4/publish6    protocol . port               -> address . port   (0.0.0.0, [::])
    map publish4at/publish6at  host address . protocol . port -> address . port
    set bridges, internal    interface names
    set pairs                interface . interface: forwarding within one bridge
    set subnets4/6, masquerade4/6  the networks' subnets

A published port is one map element and a network a few set elements.
"""

from __future__ import annotations

from naru.network import nf_expressions as nf
from naru.network.netlink import Message
from naru.network.nfnetlink import (
    FORWARD,
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    SET_INTERVAL,
    Table,
)

# What nft calls the priorities dstnat, srcnat, raw and filter.
DSTNAT, _SRCNAT, _RAW, _FILTER = -100, 100, -300, 0

_LOOPBACK = nf.ip_daddr() + nf.masked(b"\xff\0\0\0") + nf.equal(b"\x7f\0\0\0")
_FROM_LOOPBACK = nf.ip_saddr() + nf.masked(b"\xff\0\0\0") + nf.equal(b"\x7f\0\0\0")
_V4 = nf.family_is(nf.NFPROTO_IPV4)
_V6 = nf.family_is(nf.NFPROTO_IPV6)
_FROM_BRIDGE = nf.meta("iifname") + nf.in_set("bridges")
_TO_BRIDGE = nf.meta("oifname") + nf.in_set("bridges")
_TO_ELSEWHERE = nf.meta("oifname") + nf.in_set("bridges", invert=True)
_WITHIN_BRIDGE = nf.meta("iifname") + nf.meta("oifname", into=nf.register(4)) + nf.in_set("pairs")


def static_rules(table: Table) -> list[Message]:
    """The table, its sets and chains, with the rules made anew in place of those that are there."""
    address4 = (IPV4_ADDR, INET_SERVICE)
    address6 = (IPV6_ADDR, INET_SERVICE)
    port = (INET_PROTO, INET_SERVICE)
    subnet = SET_INTERVAL
    sets = [
        table.set("publish4", key=port, size=8, data=address4, data_size=8, number=1),
        table.set(
            "publish4at", key=(IPV4_ADDR, *port), size=12, data=address4, data_size=8, number=2
        ),
        table.set("publish6", key=port, size=8, data=address6, data_size=20, number=3),
        table.set(
            "publish6at", key=(IPV6_ADDR, *port), size=24, data=address6, data_size=20, number=4
        ),
        table.set("bridges", key=(IFNAME,), size=16, number=5),
        table.set("internal", key=(IFNAME,), size=16, number=6),
        table.set("pairs", key=(IFNAME, IFNAME), size=32, number=7),
        table.set("subnets4", key=(IPV4_ADDR,), size=4, flags=subnet, number=8),
        table.set("subnets6", key=(IPV6_ADDR,), size=16, flags=subnet, number=9),
        table.set("masquerade4", key=(IPV4_ADDR,), size=4, flags=subnet, number=10),
        table.set("masquerade6", key=(IPV6_ADDR,), size=16, flags=subnet, number=11),
    ]
    hooks = {
        "raw": (PREROUTING, _RAW, "filter"),
        "prerouting": (PREROUTING, DSTNAT, "nat"),
        "output": (OUTPUT, DSTNAT, "nat"),
        "postrouting": (POSTROUTING, _SRCNAT, "nat"),
        "forward": (FORWARD, _FILTER, "filter"),
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
