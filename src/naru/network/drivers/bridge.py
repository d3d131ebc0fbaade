"""The bridge driver: a Linux bridge for each network, a veth pair for each container.

The options are Docker's `com.docker.network.*` ones. Containers of a network with
`enable_icc=false` get isolated bridge ports, so that no br_netfilter is needed to part them.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import ClassVar

from naru.network import rtnetlink
from naru.network.driver import Endpoint
from naru.network.firewall import BridgeRules, Firewall
from naru.network.namespaces import Namespace
from naru.network.rtnetlink import Link, RouteSocket
from naru.spec.errors import Forbidden, InternalError, InvalidParameter, Unsupported
from naru.spec.networks import NetworkRecord

_PREFIX = "com.docker.network."
BRIDGE_NAME = _PREFIX + "bridge.name"
_ICC = _PREFIX + "bridge.enable_icc"
_MASQUERADE = _PREFIX + "bridge.enable_ip_masquerade"
HOST_BINDING = _PREFIX + "bridge.host_binding_ipv4"
_DEFAULT_BRIDGE = _PREFIX + "bridge.default_bridge"
_MTU = _PREFIX + "driver.mtu"
_KNOWN = frozenset({BRIDGE_NAME, _ICC, _MASQUERADE, HOST_BINDING, _DEFAULT_BRIDGE, _MTU})
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class BridgeDriver:
    name: ClassVar[str] = "bridge"

    def __init__(self, *, routes: RouteSocket, firewall: Firewall, ip_forward: bool = True) -> None:
        self._routes = routes
        self._firewall = firewall
        self._ip_forward = ip_forward

    def validate(self, network: NetworkRecord) -> None:
        for option, value in network.options.items():
            if option not in _KNOWN:
                raise Unsupported(f"network option {option} is not supported by this engine")
            if option in (_ICC, _MASQUERADE, _DEFAULT_BRIDGE) and value not in _TRUE | _FALSE:
                raise InvalidParameter(f"failed to parse {option} value: {value!r} is no boolean")
            if option == _MTU and not (value.isdigit() and 68 <= int(value) <= 65535):
                raise InvalidParameter(f"failed to parse {option} value: {value!r} is no MTU")
        given = network.options.get(BRIDGE_NAME, "")
        if len(given) > 15 or "/" in given or given in (".", "..") or any(map(str.isspace, given)):
            raise InvalidParameter(f"invalid bridge name: {given!r}")

    def create(self, network: NetworkRecord) -> None:
        try:
            self._create(network)
        except OSError as error:
            raise InternalError(f"bridge {bridge_name(network)}: {error}") from error

    def remove(self, network: NetworkRecord) -> None:
        self._firewall.remove_bridge(rules_of(network))
        if not network.driver_state.get("adopted", False):
            try:
                self._routes.call(rtnetlink.delete_link(bridge_name(network)))
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise InternalError(f"bridge {bridge_name(network)}: {error}") from error

    def join(
        self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace, *, route: bool
    ) -> None:
        bridge = self._routes.link(bridge_name(network))
        if bridge is None:
            # Somebody deleted it: a network in the records exists.
            self.create(network)
            bridge = self._routes.link(bridge_name(network))
            assert bridge is not None
        undo: list[Callable[[], None]] = []
        try:
            self._connect(network, endpoint, namespace, bridge, route=route, undo=undo)
        except OSError as error:
            for step in reversed(undo):
                step()
            raise InternalError(
                f"failed to set up container networking: {endpoint.interface} "
                f"on network {network.name}: {error}"
            ) from error
        except BaseException:
            for step in reversed(undo):
                step()
            raise

    def leave(self, network: NetworkRecord, endpoint: Endpoint, *, namespace_ends: bool) -> None:
        self._firewall.withdraw(endpoint.ports)
        if not namespace_ends:
            self._delete_link(endpoint.host_interface)

    def promote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        try:
            index = namespace.interface_index(endpoint.interface)
            gateways = _gateways(endpoint)
            namespace.routes.ensure(*(rtnetlink.default_route(index, each) for each in gateways))
            self._set_port(network, endpoint)
        except OSError as error:
            raise InternalError(f"default route by network {network.name}: {error}") from error
        self._firewall.publish(endpoint.ports)

    def demote(self, network: NetworkRecord, endpoint: Endpoint, namespace: Namespace) -> None:
        self._firewall.withdraw(endpoint.ports)
        with suppress(OSError):
            index = namespace.interface_index(endpoint.interface)
            for gateway in _gateways(endpoint):
                with suppress(OSError):
                    namespace.routes.call(rtnetlink.delete_default_route(index, gateway))

    def _create(self, network: NetworkRecord) -> None:
        name = bridge_name(network)
        mtu = mtu_of(network)
        link = self._routes.link(name)
        if link is None:
            self._routes.call(rtnetlink.new_bridge(name, mac=_bridge_mac(network), mtu=mtu))
            link = self._routes.link(name)
            assert link is not None
        elif link.kind != "bridge":
            raise Forbidden(f"interface {name} exists and is not a bridge")
        else:
            self._routes.call(rtnetlink.link_up(link.ifindex))
            if mtu and link.mtu != mtu:
                self._routes.call(rtnetlink.set_mtu(link.ifindex, mtu))
        self._set_addresses(link, network)
        self._set_sysctls(network, name)
        self._firewall.add_bridge(rules_of(network))

    def _set_addresses(self, link: Link, network: NetworkRecord) -> None:
        wanted = {}
        for pool in network.ipam.config:
            if pool.gateway:
                length = ip_network(pool.subnet, strict=False).prefixlen
                wanted[f"{pool.gateway}/{length}"] = ip_interface(f"{pool.gateway}/{length}")
        for text in self._routes.addresses(link.ifindex):
            if text in wanted:
                del wanted[text]
            elif not text.startswith("fe80:") and not network.driver_state.get("adopted", False):
                # The subnet was another in an earlier life (--bip changed).
                self._routes.call(rtnetlink.delete_address(link.ifindex, ip_interface(text)))
        for address in wanted.values():
            self._routes.ensure(rtnetlink.new_address(link.ifindex, address))

    def _set_sysctls(self, network: NetworkRecord, name: str) -> None:
        if not network.internal and self._ip_forward:
            _sysctl("ipv4/ip_forward", "1")
            if network.enable_ipv6:
                _sysctl("ipv6/conf/all/forwarding", "1")
        if self._firewall.guards_loopback:
            # For published ports on the host's 127.0.0.1.
            _sysctl(f"ipv4/conf/{name}/route_localnet", "1")
        with suppress(FileNotFoundError):  # no IPv6 in this kernel
            _sysctl(f"ipv6/conf/{name}/accept_ra", "0")

    def _connect(
        self,
        network: NetworkRecord,
        endpoint: Endpoint,
        namespace: Namespace,
        bridge: Link,
        *,
        route: bool,
        undo: list[Callable[[], None]],
    ) -> None:
        self._routes.call(
            rtnetlink.new_veth(
                endpoint.host_interface,
                master=bridge.ifindex,
                mtu=mtu_of(network),
                peer=endpoint.interface,
                peer_mac=endpoint.mac,
                peer_namespace=namespace.fd,
            )
        )
        undo.append(lambda: self._delete_link(endpoint.host_interface))
        self._set_port(network, endpoint)
        index = namespace.interface_index(endpoint.interface)
        addresses = [ip_interface(text) for text in (endpoint.ipv4, endpoint.ipv6) if text]
        gateways = _gateways(endpoint)
        namespace.routes.call(
            *(rtnetlink.new_address(index, address) for address in addresses),
            rtnetlink.link_up(index),
            *(rtnetlink.default_route(index, gateway) for gateway in gateways if route),
        )
        if endpoint.ports:
            undo.append(lambda: self._firewall.withdraw(endpoint.ports))
            self._firewall.publish(endpoint.ports)

    def _set_port(self, network: NetworkRecord, endpoint: Endpoint) -> None:
        if endpoint.ports or not icc(network):
            self._routes.call(
                rtnetlink.set_port(
                    endpoint.host_interface,
                    isolated=not icc(network),
                    hairpin=bool(endpoint.ports),
                )
            )

    def _delete_link(self, name: str) -> None:
        # Gone already when the namespace has ended.
        with suppress(OSError):
            self._routes.call(rtnetlink.delete_link(name))


def bridge_name(network: NetworkRecord) -> str:
    """Docker's: the option, or "br-" and twelve digits of the network's id."""
    return network.options.get(BRIDGE_NAME) or f"br-{network.id[:12]}"


def rules_of(network: NetworkRecord) -> BridgeRules:
    return BridgeRules(
        bridge=bridge_name(network),
        subnets=tuple(ip_network(pool.subnet, strict=False) for pool in network.ipam.config),
        internal=network.internal,
        masquerade=network.options.get(_MASQUERADE, "true") in _TRUE,
    )


def icc(network: NetworkRecord) -> bool:
    return network.options.get(_ICC, "true") in _TRUE


def mtu_of(network: NetworkRecord) -> int | None:
    value = network.options.get(_MTU, "")
    return int(value) if value else None


def default_options(
    *, bridge: str, icc: bool, masquerade: bool, mtu: int, binding: str
) -> dict[str, str]:
    """The options of the default network, as Docker shows them."""
    return {
        _DEFAULT_BRIDGE: "true",
        _ICC: "true" if icc else "false",
        _MASQUERADE: "true" if masquerade else "false",
        HOST_BINDING: binding,
        BRIDGE_NAME: bridge,
        _MTU: str(mtu),
    }


def _gateways(endpoint: Endpoint) -> list[str]:
    return [gateway for gateway in (endpoint.gateway4, endpoint.gateway6) if gateway]


def _bridge_mac(network: NetworkRecord) -> str:
    return "02:42:" + hashlib.sha256(network.id.encode()).digest()[:4].hex(":")


def _sysctl(key: str, value: str) -> None:
    path = Path("/proc/sys/net", key)
    if path.read_text().strip() != value:
        path.write_text(value)
