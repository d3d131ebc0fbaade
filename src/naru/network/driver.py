"""What a network driver is: it makes a network's kernel objects and joins containers to it.

A driver is called from one worker thread, never from the event loop. It gets all it needs as
arguments, so that a network or an endpoint can be taken down by a daemon that did not make it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import msgspec

from naru.network.firewall import PortMap
from naru.network.namespaces import Namespace
from naru.spec.networks import NetworkRecord


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A container's place in a network, fully decided: drivers choose nothing.

    Addresses are written with their prefix length ("172.17.0.2/16"), "" where there is none.
    `interface` is the name inside the container, `host_interface` its other end. Gateways are ""
    where the network has none for the container (an internal network).
    """

    id: str
    interface: str
    host_interface: str
    mac: str
    ipv4: str = ""
    ipv6: str = ""
    gateway4: str = ""
    gateway6: str = ""
    ports: tuple[PortMap, ...] = ()


class NetworkDriver(Protocol):
    name: ClassVar[str]

    def validate(self, network: NetworkRecord) -> None:
        """Refuse options that this driver does not know, by name."""

    def create(self, network: NetworkRecord) -> None:
        """Make the network's kernel objects; what is there already is repaired and kept."""

    def remove(self, network: NetworkRecord) -> None:
        """Take them away; those that are gone are no error."""

    def join(
        self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace, *, route: bool
    ) -> None:
        """Connect a namespace; on failure nothing stays. `route`: this is the default route."""

    def leave(self, network: NetworkRecord, endpoint: Endpoint, *, namespace_ends: bool) -> None:
        """Disconnect. `namespace_ends`: the kernel will remove the links with the namespace."""

    def promote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        """The default route goes through this endpoint from now on; its ports are published."""

    def demote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        """The opposite; what is gone already is no error."""
