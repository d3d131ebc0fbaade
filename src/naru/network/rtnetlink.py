"""Links, addresses and routes by rtnetlink: what `ip` does, without a process.

Batches go to the kernel in one system call; a veth is made, enslaved, brought up and its peer
put into the container's namespace by ONE message (measured: 1.1 ms against 64 for `ip`).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from typing import NamedTuple

from naru.network.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

Interface = IPv4Interface | IPv6Interface

_NETLINK_ROUTE = 0
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_NET_NS_FD = 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN, _RTPROT_BOOT, _RTN_UNICAST = 254, 3, 1

IFF_UP = 1

_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")


class Link(NamedTuple):
    ifindex: int
    name: str
    mtu: int
    mac: str
    kind: str  # "bridge", "veth", ...; "" for hardware


class Route(NamedTuple):
    destination: str  # "10.0.0.0/8"; "0.0.0.0/0" or "::/0" for the default route
    gateway: str
    link: int


class RouteSocket:
    """rtnetlink of the namespace in which this was made; blocking, for one thread at a time."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(_NETLINK_ROUTE)

    def close(self) -> None:
        self._netlink.close()

    def call(self, *messages: Message) -> None:
        self._netlink.call(*messages)

    def ensure(self, *messages: Message) -> None:
        """`call`, where what is there already (EEXIST) is as good."""
        for error in self._netlink.request(*messages):
            if error is not None and error.errno != errno.EEXIST:
                raise error

    def links(self) -> list[Link]:
        dump = Message(_RTM_GETLINK, NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0))
        return [_link(reply.payload) for reply in self._netlink.ask(dump)]

    def link(self, name: str) -> Link | None:
        message = Message(_RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name))
        try:
            replies = self._netlink.ask(message)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return _link(replies[0].payload) if replies else None

    def addresses(self, link: int) -> list[str]:
        """The addresses of a link as "172.17.0.1/16"."""
        dump = Message(_RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))
        found = []
        for reply in self._netlink.ask(dump):
            family, length, _, _, index = _ADDRESS.unpack_from(reply.payload)
            if index == link:
                fields = attributes(reply.payload[8:])
                raw = fields.get(_IFA_LOCAL) or fields[_IFA_ADDRESS]
                found.append(f"{socket.inet_ntop(family, raw)}/{length}")
        return found

    def routes(self) -> list[Route]:
        """The unicast routes of the main table, IPv4 and IPv6."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            dump = Message(_RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(family, *[0] * 8))
            for reply in self._netlink.ask(dump):
                of, bits, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(reply.payload)
                fields = attributes(reply.payload[12:])
                if _RTA_TABLE in fields:
                    (table,) = struct.unpack("=I", fields[_RTA_TABLE])
                if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or of != family:
                    continue
                zero = b"\0" * (4 if family == socket.AF_INET else 16)
                target = socket.inet_ntop(family, fields.get(_RTA_DST, zero))
                gateway = fields.get(_RTA_GATEWAY)
                found.append(
                    Route(
                        f"{target}/{bits}",
                        socket.inet_ntop(family, gateway) if gateway else "",
                        struct.unpack("=I", fields.get(_RTA_OIF, b"\0\0\0\0"))[0],
                    )
                )
        return found


def new_bridge(name: str, *, mac: str, mtu: int | None = None) -> Message:
    """A bridge, up. Its MAC is given: an inherited one would change with its ports."""
    body = [text(_IFLA_IFNAME, name), attribute(_IFLA_ADDRESS, _mac(mac))]
    if mtu:
        body.append(u32(_IFLA_MTU, mtu))
    body.append(nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge")))
    head = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, head + b"".join(body))


def new_veth(
    name: str,
    *,
    master: int,
    mtu: int | None,
    peer: str,
    peer_mac: str,
    peer_namespace: int,
) -> Message:
    """A veth pair: `name` here, up and port of bridge `master`; `peer` in another namespace.

    The peer stays down until its addresses are set.
    """
    size = [u32(_IFLA_MTU, mtu)] if mtu else []
    other = [
        _LINK.pack(0, 0, 0, 0, 0),
        text(_IFLA_IFNAME, peer),
        attribute(_IFLA_ADDRESS, _mac(peer_mac)),
        u32(_IFLA_NET_NS_FD, peer_namespace),
        *size,
    ]
    body = [
        text(_IFLA_IFNAME, name),
        u32(_IFLA_MASTER, master),
        *size,
        nested(
            _IFLA_LINKINFO,
            text(_IFLA_INFO_KIND, "veth"),
            nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, b"".join(other))),
        ),
    ]
    head = _LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
    return Message(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, head + b"".join(body))


def set_port(name: str, *, isolated: bool, hairpin: bool) -> Message:
    """Options of a bridge port. Isolated ports reach the bridge, not one another; a hairpin port
    gets back what it sent, which a container that uses its own published port needs where
    br_netfilter makes the bridge itself apply the translation.
    """
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_SLAVE_KIND, "bridge"),
        nested(
            _IFLA_INFO_SLAVE_DATA,
            u8(_IFLA_BRPORT_MODE, hairpin),
            u8(_IFLA_BRPORT_ISOLATED, isolated),
        ),
    )
    return Message(_RTM_NEWLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + info)


def link_up(index: int) -> Message:
    return Message(_RTM_NEWLINK, 0, _LINK.pack(0, 0, index, IFF_UP, IFF_UP))


def set_mtu(index: int, mtu: int) -> Message:
    return Message(_RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + u32(_IFLA_MTU, mtu))


def delete_link(name: str) -> Message:
    return Message(_RTM_DELLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name))


def new_address(link: int, address: Interface) -> Message:
    raw = address.ip.packed
    body = attribute(_IFA_LOCAL, raw) + attribute(_IFA_ADDRESS, raw)
    flags = 0
    if isinstance(address, IPv4Interface):
        if address.network.prefixlen < 31:
            body += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    else:
        flags = _IFA_F_NODAD  # our own allocation is unique; duplicate detection costs a second
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = _ADDRESS.pack(family, address.network.prefixlen, flags, 0, link)
    return Message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, head + body)


def delete_address(link: int, address: Interface) -> Message:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, link)
    return Message(_RTM_DELADDR, 0, head + attribute(_IFA_LOCAL, address.ip.packed))


def default_route(link: int, gateway: str) -> Message:
    return _default_route(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, link, gateway)


def delete_default_route(link: int, gateway: str) -> Message:
    return _default_route(_RTM_DELROUTE, 0, link, gateway)


def _default_route(kind: int, flags: int, link: int, gateway: str) -> Message:
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    head = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    body = attribute(_RTA_GATEWAY, socket.inet_pton(family, gateway)) + u32(_RTA_OIF, link)
    return Message(kind, flags, head + body)


def networks_of(routes: Sequence[Route]) -> list[str]:
    """The destinations of routes other than default ones: what a new pool must not overlap."""
    return [
        str(ip_network(route.destination, strict=False))
        for route in routes
        if not route.destination.endswith("/0")
    ]


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", "").replace("-", ""))


def _link(payload: bytes) -> Link:
    _, _, index, _, _ = _LINK.unpack_from(payload)
    fields = attributes(payload[_LINK.size :])
    info = attributes(fields.get(_IFLA_LINKINFO, b""))
    return Link(
        ifindex=index,
        name=fields[_IFLA_IFNAME].rstrip(b"\0").decode(),
        mtu=struct.unpack("=I", fields.get(_IFLA_MTU, b"\0\0\0\0"))[0],
        mac=fields.get(_IFLA_ADDRESS, b"").hex(":"),
        kind=info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
    )
