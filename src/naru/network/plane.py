"""The data plane: everything the network does in the kernel, behind awaitable calls.

One worker thread owns the sockets and the order of changes (the kernel would take one at a time
anyway), so the event loop never waits for the kernel's network locks. What was set up for a
container is written down beside its namespace first, so that a daemon that did not do it can undo
it: `attach` after `kill -9` in the middle leaves nothing that `detach` does not find.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar

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

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass
class _Open:
    sandbox: Sandbox
    namespace: Namespace | None = None  # open while it is worked on: five file descriptors


class Plane:
    """Made in `start`'s worker thread; `firewall` and `drivers` are made there too."""

    def __init__(
        self,
        *,
        exec_root: Path,
        firewall: Callable[[], Firewall],
        drivers: Callable[[RouteSocket, Firewall], Sequence[NetworkDriver]],
        pool_size: int = 4,
    ) -> None:
        self._root = exec_root / "netns"
        self._files = SandboxFiles(self._root)
        self._make_firewall = firewall
        self._make_drivers = drivers
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="naru-network")
        self._pool = NamespacePool(pool_size)
        self._ports = HostPorts()
        self._open: dict[str, _Open] = {}
        self._routes: RouteSocket
        self._flows: Flows
        self._firewall: Firewall
        self._drivers: dict[str, NetworkDriver] = {}
        self._closing = ExitStack()  # what `start` has opened, as far as it came

    async def start(self, bridges: Sequence[BridgeRules]) -> None:
        """Open the kernel; `bridges` are those that the records say exist."""
        await self._run(self._start, bridges)

    async def close(self) -> None:
        """Let go of everything in memory; containers keep their network."""
        await self._run(self._close)
        self._worker.shutdown(wait=False)

    def path(self, container_id: str) -> Path:
        return self._root / container_id

    def driver(self, network: NetworkRecord) -> NetworkDriver:
        return self._drivers[network.driver]

    async def create(self, network: NetworkRecord) -> None:
        await self._run(self.driver(network).create, network)

    async def remove(self, network: NetworkRecord) -> None:
        await self._run(self.driver(network).remove, network)

    async def host_networks(self) -> list[IPv4Network | IPv6Network]:
        """What the host has routes to: new pools stay clear of it."""
        routes = await self._run(lambda: self._routes.routes())
        return [ip_network(text) for text in rtnetlink.networks_of(routes)]

    async def bridge_addresses(self, name: str) -> list[str]:
        """The addresses of an interface ("172.17.0.1/16"); none when there is no such."""
        return await self._run(self._addresses_of, name)

    async def attach(
        self, container_id: str, joins: Sequence[Join], publish: Sequence[PortRequest]
    ) -> Sandbox:
        """A namespace for a container, joined to networks; `publish` at the join with the route.

        On failure nothing is left.
        """
        return await self._run(self._attach, container_id, joins, publish)

    async def connect(self, container_id: str, join: Join) -> Sandbox:
        """Join a running container to one more network."""
        return await self._run(self._connect, container_id, join)

    async def disconnect(self, container_id: str, network_id: str) -> Sandbox | None:
        """Take a running container out of a network -> what it has left.

        If the default route went through it, its ports are held until `reroute` says what follows.
        """
        return await self._run(self._disconnect, container_id, network_id)

    async def reroute(
        self, container_id: str, network_id: str, publish: Sequence[PortRequest]
    ) -> Sandbox:
        """Move the default route and the published ports to this network; "" for none.

        A port that one of `publish` still asks for keeps its number. When a port cannot be had,
        nothing has changed.
        """
        return await self._run(self._reroute, container_id, network_id, publish)

    async def detach(self, container_id: str) -> Sandbox | None:
        """Undo `attach` -> what there was. Idempotent; needs only what is on disk."""
        return await self._run(self._detach, container_id)

    async def adopt(self, live: Iterable[str]) -> list[Sandbox]:
        """After a restart: take over what `live` containers have, undo what others left."""
        return await self._run(self._adopt, set(live))

    async def namespace(self, container_id: str) -> Namespace:
        """The container's namespace, opened; until `put_away`."""
        return await self._run(lambda: self._entered(self._opened(container_id)))

    def put_away(self, container_id: str) -> None:
        """Close the namespace's descriptors, soon: its path keeps it, and can be opened again."""
        self._worker.submit(self._put_away, container_id)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        # Shielded: a client that hangs up must not leave a change half recorded.
        return await asyncio.shield(loop.run_in_executor(self._worker, partial(work, *arguments)))

    # From here on in the worker thread.

    def _start(self, bridges: Sequence[BridgeRules]) -> None:
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

    def _close(self) -> None:
        self._pool.close()
        self._ports.close()
        for container_id in list(self._open):
            self._put_away(container_id)
        self._open.clear()
        self._closing.close()

    def _addresses_of(self, name: str) -> list[str]:
        link = self._routes.link(name)
        return self._routes.addresses(link.ifindex) if link is not None else []

    def _attach(
        self, container_id: str, joins: Sequence[Join], publish: Sequence[PortRequest]
    ) -> Sandbox:
        self._detach(container_id)  # a leftover of an earlier life
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
            self._detach(container_id)
            raise InternalError(f"failed to set up container networking: {error}") from error
        except BaseException:
            self._detach(container_id)
            raise
        finally:
            if taken:
                self._pool.replace_taken()
        return sandbox

    def _connect(self, container_id: str, join: Join) -> Sandbox:
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

    def _disconnect(self, container_id: str, network_id: str) -> Sandbox | None:
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

    def _reroute(
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

    def _detach(self, container_id: str) -> Sandbox | None:
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

    def _adopt(self, live: set[str]) -> list[Sandbox]:
        self._files.clear_half_written()
        adopted = []
        for container_id in self._files.known():
            sandbox = self._files.read(container_id)
            if container_id not in live or sandbox is None:
                self._detach(container_id)
                continue
            if not namespaces.is_namespace(self.path(container_id)):
                _log.warning("container %s: its network namespace is gone", container_id)
                self._detach(container_id)
                continue
            self._open[container_id] = _Open(sandbox)
            for lost in self._ports.hold_again(container_id, sandbox.ports):
                _log.warning("port %s:%d was bound by another", lost.host_ip, lost.host_port)
            adopted.append(sandbox)
        self._firewall.retain(port for sandbox in adopted for port in sandbox.ports)
        return adopted

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

    def _put_away(self, container_id: str) -> None:
        opened = self._open.get(container_id)
        if opened is not None and opened.namespace is not None:
            opened.namespace.close()
            opened.namespace = None
