"""Connection tracking, by ctnetlink: UDP flows are forgotten when their published port changes.

The kernel goes on translating a flow that it knows, so a UDP client that keeps its source port
would reach the host, or a container that is gone, for as long as it keeps sending.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from ipaddress import ip_address

from naru.network.firewall import PortMap
from naru.network.netlink import (
    NLM_F_DUMP,
    Message,
    NetlinkSocket,
    attribute,
    attributes,
)

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_TUPLE_ORIG, _ID, _ZONE = 1, 12, 18
_NESTED = 0x8000
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_DESTINATION = {4: 2, 6: 4}  # CTA_IP_V4_DST, CTA_IP_V6_DST
_FAMILY = {4: 2, 6: 10}
_PROTO_NUMBER, _PROTO_DESTINATION = 1, 3
_UDP = b"\x11"


class Flows:
    """The flows of the namespace in which this was made; for one thread."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(_NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    def forget(self, ports: Iterable[PortMap]) -> int:
        """Drop the UDP flows to these published ports -> how many. TCP's end by themselves."""
        wanted = [
            (ip_address(port.host_ip), port.host_port) for port in ports if port.protocol == "udp"
        ]
        dropped = 0
        for version in {address.version for address, _ in wanted}:
            match = {
                (None if address.is_unspecified else address.packed, port)
                for address, port in wanted
                if address.version == version
            }
            dropped += self._forget(version, match)
        return dropped

    def _forget(self, version: int, match: set[tuple[bytes | None, int]]) -> int:
        head = struct.pack(">BBH", _FAMILY[version], 0, 0)
        dump = Message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, head)
        doomed = []
        for reply in self._netlink.ask(dump):
            fields = attributes(reply.payload[4:])
            target = _udp_target(fields[_TUPLE_ORIG], version)
            if target is not None and (target in match or (None, target[1]) in match):
                body = attribute(_TUPLE_ORIG | _NESTED, fields[_TUPLE_ORIG])
                for kind in (_ID, _ZONE):
                    if kind in fields:
                        body += attribute(kind, fields[kind])
                doomed.append(Message(_SUBSYSTEM << 8 | _DELETE, 0, head + body))
        for message in doomed:
            for error in self._netlink.request(message):
                if error is not None and error.errno != errno.ENOENT:
                    raise error
        return len(doomed)


def _udp_target(orig: bytes, version: int) -> tuple[bytes, int] | None:
    """Where a flow's first packet was sent; None for what is not UDP."""
    parts = attributes(orig)
    protocol = attributes(parts.get(_TUPLE_PROTO, b""))
    addresses = attributes(parts.get(_TUPLE_IP, b""))
    if protocol.get(_PROTO_NUMBER) != _UDP or _DESTINATION[version] not in addresses:
        return None
    (port,) = struct.unpack(">H", protocol[_PROTO_DESTINATION])
    return addresses[_DESTINATION[version]], port
