"""What a firewall backend does for bridge networks: publish ports, translate, isolate.

Backends keep their rules in chains or tables of their own and never touch others'. What they set
up lives in the kernel: it goes on when the daemon dies, and the next daemon adopts it.

The host's own policy stays in force: a FORWARD chain of the host whose policy is DROP still drops
what no rule of the host accepts. A backend reports such chains, and does not override them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar, Literal, Protocol

import msgspec

from naru.spec.errors import Unsupported

Protocols = Literal["tcp", "udp"]


class PortMap(msgspec.Struct, frozen=True, kw_only=True):
    """A published port: what arrives at `host_ip`:`host_port` goes to the container's.

    `host_ip` 0.0.0.0 or :: means every address of the host of that family. Addresses are in their
    canonical text, so that equal ones are equal.
    """

    protocol: Protocols
    host_ip: str
    host_port: int
    container_ip: str
    container_port: int


class BridgeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the firewall must know of a bridge network."""

    bridge: str
    subnets: tuple[IPv4Network | IPv6Network, ...]
    internal: bool = False
    masquerade: bool = True


class Firewall(Protocol):
    """Blocking; called from one thread at a time.

    `guards_loopback`: containers are kept from the host's 127.0.0.0/8, so that the bridges may let
    the host's own loopback traffic through to published ports.
    """

    guards_loopback: ClassVar[bool]

    def start(self, bridges: Sequence[BridgeRules]) -> None:
        """Make or repair the static part and the bridges' part; published ports stay."""

    def add_bridge(self, bridge: BridgeRules) -> None: ...

    def remove_bridge(self, bridge: BridgeRules) -> None: ...

    def publish(self, ports: Sequence[PortMap]) -> None:
        """All or nothing; publishing the same again is no error."""

    def withdraw(self, ports: Iterable[PortMap]) -> None:
        """What is not published is no error."""

    def retain(self, ports: Iterable[PortMap]) -> None:
        """After a restart of the daemon: publish exactly these, withdraw all others."""

    def obstacles(self) -> Sequence[str]:
        """Chains of the host that may drop what these rules accept, for a warning."""

    def close(self) -> None:
        """Let go of sockets; the rules stay."""

    def remove(self) -> None:
        """Take every rule away: for a daemon that will not come back."""


class NoFirewall:
    """`--iptables=false`: the administrator sets the rules, so nothing can be published."""

    guards_loopback: ClassVar[bool] = False

    def start(self, bridges: Sequence[BridgeRules]) -> None:
        pass

    def add_bridge(self, bridge: BridgeRules) -> None:
        pass

    def remove_bridge(self, bridge: BridgeRules) -> None:
        pass

    def publish(self, ports: Sequence[PortMap]) -> None:
        if ports:
            raise Unsupported("published ports need the firewall: the daemon has --iptables=false")

    def withdraw(self, ports: Iterable[PortMap]) -> None:
        pass

    def retain(self, ports: Iterable[PortMap]) -> None:
        pass

    def obstacles(self) -> Sequence[str]:
        return ()

    def close(self) -> None:
        pass

    def remove(self) -> None:
        pass
