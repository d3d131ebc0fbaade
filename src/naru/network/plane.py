"""The data plane: everything the network does in the kernel, behind awaitable calls.

One worker thread owns the sockets and the order of changes (the kernel would take one at a time
anyway), so the event loop never waits for the kernel's network locks. The work is in `plane_work`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, TypeVar

from naru.network.driver import NetworkDriver
from naru.network.firewall import BridgeRules, Firewall
from naru.network.namespaces import Namespace
from naru.network.plane_work import PlaneWork
from naru.network.ports import PortRequest
from naru.network.rtnetlink import RouteSocket
from naru.network.sandbox import Join, Sandbox
from naru.spec.networks import NetworkRecord

T = TypeVar("T")


class Plane:
    """`firewall` and `drivers` are made by `start`, in the worker thread."""

    def __init__(
        self,
        *,
        exec_root: Path,
        firewall: Callable[[], Firewall],
        drivers: Callable[[RouteSocket, Firewall], Sequence[NetworkDriver]],
        pool_size: int = 4,
    ) -> None:
        self._work = PlaneWork(
            exec_root / "netns", firewall=firewall, drivers=drivers, pool_size=pool_size
        )
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="naru-network")

    async def start(self, bridges: Sequence[BridgeRules]) -> None:
        """Open the kernel; `bridges` are those that the records say exist."""
        await self._run(self._work.start, bridges)

    async def close(self) -> None:
        """Let go of everything in memory; containers keep their network."""
        await self._run(self._work.close)
        self._worker.shutdown(wait=False)

    def path(self, container_id: str) -> Path:
        return self._work.path(container_id)

    def driver(self, network: NetworkRecord) -> NetworkDriver:
        return self._work.driver(network)

    async def create(self, network: NetworkRecord) -> None:
        await self._run(self.driver(network).create, network)

    async def remove(self, network: NetworkRecord) -> None:
        await self._run(self.driver(network).remove, network)

    async def host_networks(self) -> list[IPv4Network | IPv6Network]:
        """What the host has routes to: new pools stay clear of it."""
        return await self._run(self._work.host_networks)

    async def bridge_addresses(self, name: str) -> list[str]:
        """The addresses of an interface ("172.17.0.1/16"); none when there is no such."""
        return await self._run(self._work.addresses_of, name)

    async def attach(
        self, container_id: str, joins: Sequence[Join], publish: Sequence[PortRequest]
    ) -> Sandbox:
        """A namespace for a container, joined to networks; `publish` at the join with the route.

        On failure nothing is left.
        """
        return await self._run(self._work.attach, container_id, joins, publish)

    async def connect(self, container_id: str, join: Join) -> Sandbox:
        """Join a running container to one more network."""
        return await self._run(self._work.connect, container_id, join)

    async def disconnect(self, container_id: str, network_id: str) -> Sandbox | None:
        """Take a running container out of a network -> what it has left.

        If the default route went through it, its ports are held until `reroute` says what follows.
        """
        return await self._run(self._work.disconnect, container_id, network_id)

    async def reroute(
        self, container_id: str, network_id: str, publish: Sequence[PortRequest]
    ) -> Sandbox:
        """Move the default route and the published ports to this network; "" for none.

        A port that one of `publish` still asks for keeps its number. When a port cannot be had,
        nothing has changed.
        """
        return await self._run(self._work.reroute, container_id, network_id, publish)

    async def detach(self, container_id: str) -> Sandbox | None:
        """Undo `attach` -> what there was. Idempotent; needs only what is on disk."""
        return await self._run(self._work.detach, container_id)

    async def adopt(self, live: Iterable[str]) -> list[Sandbox]:
        """After a restart: take over what `live` containers have, undo what others left."""
        return await self._run(self._work.adopt, set(live))

    async def namespace(self, container_id: str) -> Namespace:
        """The container's namespace, opened; until `put_away`."""
        return await self._run(self._work.namespace, container_id)

    def put_away(self, container_id: str) -> None:
        """Close the namespace's descriptors, soon: its path keeps it, and can be opened again."""
        self._worker.submit(self._work.put_away, container_id)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        # Shielded: a client that hangs up must not leave a change half recorded.
        return await asyncio.shield(loop.run_in_executor(self._worker, partial(work, *arguments)))
