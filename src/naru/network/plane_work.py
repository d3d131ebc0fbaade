"""The data plane's work: what the network does in the kernel, step by step, and how it is undone.

What was set up for a container is written down beside its namespace first, so that a daemon that
did not do it can undo it: `attach` after `kill -9` in the middle leaves nothing that `detach` does
not find. All of it blocks, and runs in one thread: that of `plane`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import msgspec

from naru.network import namespaces, rtnetlink
from naru.network.conntrack import Flows
from naru.network.driver import NetworkDriver
from naru.network.firewall import BridgeRules, Firewall, PortMap
from naru.network.namespaces import Namespace, NamespacePool
from naru.network.ports import HostPorts, PortRequest
from naru.network.rtnetlink import RouteSocket
from naru.network.sandbox import Join, Sandbox, SandboxFiles
from naru.spec.errors import InternalError
from naru.spec.networks import NetworkRecord

_log = logging.getLogger(__name__)


@dataclass
class _Open:
    sandbox: Sandbox
    namespace: Namespace | None = None  # open while it is worked on: five file descriptors


class PlaneWork:
    """The kernel is opened by `start`; what a method promises is said in `Plane`."""

    def __init__(
        self,
        root: Path,
        *,
        firewall: Callable[[], Firewall],
        drivers: Callable[[RouteSocket, Firewall], Sequence[NetworkDriver]],
        pool_size: int,
    ) -> None:
        self._root = root
        self._files = SandboxFiles(root)
        self._make_firewall = firewall
        self._make_drivers = drivers
        self._pool = NamespacePool(pool_size)
        self._ports = HostPorts()
        self._open: dict[str, _Open] = {}
        self._routes: RouteSocket
        self._flows: Flows
        self._firewall: Firewall
        self._drivers: dict[str, NetworkDriver] = {}
        self._closing = ExitStack()  # what `start` has opened, as far as it came

    def path(self, container_id: str) -> Path:
        return self._root / container_id

    def driver(self, network: NetworkRecord) -> NetworkDriver:
        return self._drivers[network.driver]

    def start(self, bridges: Sequence[BridgeRules]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        self._routes = RouteSocket()
        self._closing.callback(self._routes.close)
        self._flows = Flows()
        self._closing.callback(self._flows.close)
        self._firewall = self._make_firewall()
        self._closing.callback(self._firewall.close)
        self._firewall.start(bridges)
        self._drivers = {
            driver.name: driver for driver in self._make_drivers(self._routes, self._firewall)
        }
        self._pool.start()
        for chain in self._firewall.obstacles():
            _log.warning(
                "firewall chain %s drops by default: it may drop containers' traffic", chain
            )

    def close(self) -> None:
        """Let go of everything in memory; containers keep their network."""
        self._pool.close()
        self._ports.close()
        for container_id in list(self._open):
            self.put_away(container_id)
        self._open.clear()
        self._closing.close()

    def host_networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(text) for text in rtnetlink.networks_of(self._routes.routes())]

    def addresses_of(self, name: str) -> list[str]:
        link = self._routes.link(name)
        return self._routes.addresses(link.ifindex) if link is not None else []

    def attach(
        self, container_id: str, joins: Sequence[Join], publish: Sequence[PortRequest]
    ) -> Sandbox:
        self.detach(container_id)  # a leftover of an earlier life
        taken = False
        try:
            maps = tuple(self._ports.hold(container_id, publish))
            decided = [
                msgspec.structs.replace(
                    join, endpoint=msgspec.structs.replace(join.endpoint, ports=maps)
                )
                if join.route
                else join
                for join in joins
            ]
            sandbox = Sandbox(container_id=container_id, joins=decided)
            self._files.write(sandbox)
            namespace = self._pool.take()
            taken = True
            self._open[container_id] = _Open(sandbox, namespace)
            namespaces.name(namespace, self.path(container_id))
            for join in decided:
                self.driver(join.network).join(
                    join.network, join.endpoint, namespace, route=join.route
                )
            self._forget_flows(maps)
        except OSError as error:
            self.detach(container_id)
            raise InternalError(f"failed to set up container networking: {error}") from error
        except BaseException:
            self.detach(container_id)
            raise
        finally:
            if taken:
                self._pool.replace_taken()
        return sandbox

    def connect(self, container_id: str, join: Join) -> Sandbox:
        opened = self._opened(container_id)
        namespace = self._entered(opened)
        joins = [*opened.sandbox.joins, join]
        sandbox = msgspec.structs.replace(opened.sandbox, joins=joins)
        self._files.write(sandbox)
        try:
            self.driver(join.network).join(join.network, join.endpoint, namespace, route=join.route)
        except BaseException:
            self._files.write(opened.sandbox)
            raise
        opened.sandbox = sandbox
        return sandbox

    def disconnect(self, container_id: str, network_id: str) -> Sandbox | None:
        opened = self._open.get(container_id)
        if opened is None:
            return None
        kept = [join for join in opened.sandbox.joins if join.network.id != network_id]
        for join in opened.sandbox.joins:
            if join.network.id == network_id:
                self.driver(join.network).leave(join.network, join.endpoint, namespace_ends=False)
                self._forget_flows(join.endpoint.ports)
        opened.sandbox = msgspec.structs.replace(opened.sandbox, joins=kept)
        self._files.write(opened.sandbox)
        return opened.sandbox

    def reroute(
        self, container_id: str, network_id: str, publish: Sequence[PortRequest]
    ) -> Sandbox:
        opened = self._opened(container_id)
        namespace = self._entered(opened)
        before = opened.sandbox
        maps = tuple(self._ports.exchange(container_id, publish))
        joins = []
        for join in before.joins:
            route = join.network.id == network_id
            ports = maps if route else ()
            endpoint = msgspec.structs.replace(join.endpoint, ports=ports)
            joins.append(msgspec.structs.replace(join, endpoint=endpoint, route=route))
        opened.sandbox = msgspec.structs.replace(before, joins=joins)
        self._files.write(opened.sandbox)
        for join in before.joins:
            if join.route:
                self.driver(join.network).demote(join.network, join.endpoint, namespace)
        for join in joins:
            if join.route:
                self.driver(join.network).promote(join.network, join.endpoint, namespace)
        self._forget_flows([*before.ports, *maps])
        return opened.sandbox

    def detach(self, container_id: str) -> Sandbox | None:
        opened = self._open.pop(container_id, None)
        sandbox = opened.sandbox if opened else self._files.read(container_id)
        if sandbox is not None:
            for join in sandbox.joins:
                self.driver(join.network).leave(join.network, join.endpoint, namespace_ends=True)
            self._forget_flows(sandbox.ports)
        self._ports.release(container_id)
        namespaces.unname(self.path(container_id))
        if opened is not None and opened.namespace is not None:
            opened.namespace.close()
        self._files.forget(container_id)
        return sandbox

    def adopt(self, live: set[str]) -> list[Sandbox]:
        self._files.clear_half_written()
        adopted = []
        for container_id in self._files.known():
            sandbox = self._files.read(container_id)
            if container_id not in live or sandbox is None:
                self.detach(container_id)
                continue
            if not namespaces.is_namespace(self.path(container_id)):
                _log.warning("container %s: its network namespace is gone", container_id)
                self.detach(container_id)
                continue
            self._open[container_id] = _Open(sandbox)
            for lost in self._ports.hold_again(container_id, sandbox.ports):
                _log.warning("port %s:%d was bound by another", lost.host_ip, lost.host_port)
            adopted.append(sandbox)
        self._firewall.retain(port for sandbox in adopted for port in sandbox.ports)
        return adopted

    def namespace(self, container_id: str) -> Namespace:
        """Opened; until `put_away`."""
        return self._entered(self._opened(container_id))

    def put_away(self, container_id: str) -> None:
        opened = self._open.get(container_id)
        if opened is not None and opened.namespace is not None:
            opened.namespace.close()
            opened.namespace = None

    def _forget_flows(self, ports: Iterable[PortMap]) -> None:
        try:
            self._flows.forget(ports)
        except OSError as error:
            _log.debug("connection tracking: %s", error)

    def _opened(self, container_id: str) -> _Open:
        opened = self._open.get(container_id)
        if opened is None:
            raise InternalError(f"container {container_id} has no network namespace")
        return opened

    def _entered(self, opened: _Open) -> Namespace:
        if opened.namespace is None:
            opened.namespace = namespaces.open_existing(self.path(opened.sandbox.container_id))
        return opened.namespace
