"""The networks service: the `/networks` operations, and what a container's life needs of them.

start()                    before anything else; makes or repairs the networks' kernel objects
recover(live)              then: adopts running containers' networks, drops what others left
attach(container)          before the runtime runs it -> namespace path and endpoints
files(container)           after attach: /etc/hosts, /etc/resolv.conf, /etc/hostname
detach(container_id)       after its exit, a failed start, or as part of a removal; idempotent
settings(container)        `NetworkSettings` of inspect, in every state
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from naru.engine.networking import creation, endpoints, publishing, view
from naru.engine.networking.catalog import PREDEFINED, Catalog, Filters, filtered
from naru.engine.networking.connections import Connections, Containers
from naru.engine.networking.creation import NetworkCreate
from naru.engine.networking.leases import AddressBook
from naru.engine.networking.name_files import FileWriter, NameFiles, refresh
from naru.engine.networking.predefined import make_predefined
from naru.engine.networking.pruning import Pruning
from naru.engine.networking.sandboxes import Sandboxes
from naru.engine.networking.settings import NetworkSettings
from naru.engine.tasks import Tasks
from naru.network.drivers import bridge
from naru.network.plane import Plane
from naru.spec.containers import ContainerRecord
from naru.spec.errors import (
    Conflict,
    Forbidden,
    NaruError,
    NotFound,
)
from naru.spec.events import Event
from naru.spec.networks import EndpointSettings, NetworkRecord
from naru.store.records import Records, delete, put

_log = logging.getLogger(__name__)


class Attachment(msgspec.Struct, frozen=True):
    """`netns` is None in the host's namespace. `ports` is `NetworkSettings.Ports`."""

    netns: Path | None
    endpoints: Mapping[str, EndpointSettings]
    ports: Mapping[str, Any]


class Networks:
    def __init__(
        self,
        *,
        records: Records,
        plane: Plane,
        containers: Containers,
        tasks: Tasks,
        settings: NetworkSettings,
        directory: Callable[[str], Path],
    ) -> None:
        """`directory`: where a container's hosts and resolv.conf are, by its id."""
        self._records = records
        self._directory = directory
        self._plane = plane
        self._containers = containers
        self._tasks = tasks
        self._settings = settings
        self._catalog = Catalog(records=records)
        self._addresses = AddressBook()
        self._files = FileWriter(settings=settings, catalog=self._catalog)
        self._sandboxes = Sandboxes(
            plane=plane,
            catalog=self._catalog,
            addresses=self._addresses,
            files=self._files,
            settings=settings,
        )
        self._connections = Connections(
            catalog=self._catalog, sandboxes=self._sandboxes, containers=containers
        )
        self._pruning = Pruning()
        self._changing = asyncio.Lock()  # of the set of networks: names and pools are unique

    # -- the daemon's life

    async def start(self) -> None:
        known = [network for network in self._catalog.all() if network.driver == "bridge"]
        stored = [network for network in known if network.name != "bridge"]
        await self._plane.start([bridge.rules_of(network) for network in known])
        await make_predefined(self._records, self._catalog, self._plane, self._settings)
        for network in stored:
            try:
                await self._plane.create(network)
            except NaruError as error:
                # The daemon must come up for the others; a start in this network tries again.
                _log.error("network %s: %s", network.name, error)

    async def recover(self, live: Iterable[ContainerRecord]) -> None:
        await self._sandboxes.recover({record.id: record for record in live})

    async def stop(self) -> None:
        """Containers keep their networks."""
        self._sandboxes.close()
        await self._plane.close()

    # -- a container's life

    async def attach(self, container: ContainerRecord) -> Attachment:
        """Before the runtime runs: a namespace with the container's networks in it.

        Errors say "failed to set up container networking", as Docker's; nothing is left then.
        """
        kind, _, ref = container.host_config.network_mode.partition(":")
        if kind == "container" and ref:
            return self._shared(ref)
        try:
            attached = await self._sandboxes.attach(container)
        except NaruError as error:
            text = str(error)
            if not text.startswith("failed to set up container networking"):
                raise type(error)(f"failed to set up container networking: {text}") from error
            raise
        self._tell(
            view.event(network, "connect", container=container.id) for network in attached.networks
        )
        return Attachment(
            netns=attached.netns,
            endpoints=dict(attached.settings),
            ports=publishing.shown(container, attached.ports),
        )

    async def detach(self, container_id: str) -> None:
        attached = await self._sandboxes.detach(container_id)
        if attached is not None:
            self._tell(
                view.event(network, "disconnect", container=container_id)
                for network in attached.networks
            )

    def files(self, container: ContainerRecord) -> NameFiles:
        """The contents of the container's own files; those of its host for a shared network."""
        kind, _, ref = container.host_config.network_mode.partition(":")
        if kind == "container" and ref:
            return self.files(self._containers.find(ref))
        attached = self._sandboxes.get(container.id)
        if attached is not None:
            container = msgspec.structs.replace(container, endpoints=dict(attached.settings))
        return self._files.files(container)

    def settings(self, container: ContainerRecord) -> dict[str, Any]:
        """`NetworkSettings` of `GET /containers/{id}/json`."""
        attached = self._sandboxes.get(container.id)
        if attached is None:
            idle = {name: endpoints.cleared(each) for name, each in container.endpoints.items()}
            return view.settings(container, idle, ports={}, key=None)
        return view.settings(
            container,
            attached.settings,
            ports=publishing.shown(container, attached.ports),
            key=attached.netns or self._plane.path("default"),
        )

    async def renamed(self, container: ContainerRecord) -> None:
        """The container answers to its new name."""
        await self._sandboxes.rename(container)

    # -- the /networks operations

    async def create(self, request: NetworkCreate) -> tuple[str, str]:
        """`POST /networks/create` -> the id, and a warning or ""."""
        creation.check(request)
        async with self._changing:
            if self._catalog.named(request.name) is not None:
                raise Conflict(f"network with name {request.name} already exists")
            record = creation.record(
                request,
                taken=self._catalog.subnets(),
                occupied=await self._plane.host_networks(),
                settings=self._settings,
            )
            self._plane.driver(record).validate(record)
            await self._plane.create(record)
            try:
                await self._records.commit(
                    put(self._records.networks, record), events=[view.event(record, "create")]
                )
            except BaseException:
                await self._plane.remove(record)
                raise
        return record.id, ""

    def search(self, filters: Filters) -> list[dict[str, Any]]:
        found = filtered(self._catalog.all(), filters, self._in_use)
        return [view.network(network) for network in found]

    def inspect(self, ref: str, *, scope: str = "") -> dict[str, Any]:
        record = self._catalog.find(ref)
        if scope and scope != record.scope:
            raise NotFound(f"network {ref} not found")
        members = {
            container.id: view.member(container.name, endpoint)
            for container, endpoint in self._sandboxes.members(record.id)
        }
        return view.inspected(record, members, self._addresses.occupied(record))

    async def remove(self, ref: str) -> None:
        async with self._changing:
            await self._remove(self._catalog.find(ref))

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        before = self._present_files(container)
        events = await self._connections.connect(ref, container, settings)
        self._tell(events)
        await self._refresh(container, before)

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        before = self._present_files(container)
        events = await self._connections.disconnect(ref, container, force=force)
        self._tell(events)
        await self._refresh(container, before)

    async def prune(self, filters: Filters) -> list[str]:
        """`POST /networks/prune` -> the names of the networks that are gone."""
        wanted = self._pruning.candidates(self._catalog.all(), filters, self._in_use)
        removed = []
        for network in wanted:
            try:
                await self.remove(network.id)
            except NaruError as error:
                _log.warning("network %s is not pruned: %s", network.name, error)
            else:
                removed.append(network.name)
        self._tell(
            [Event(type="network", action="prune", actor_id="", attributes={"reclaimed": "0"})]
        )
        return removed

    def _present_files(self, container: str) -> NameFiles | None:
        """None for what has no files of its own; the operation itself says what is wrong."""
        try:
            record = self._containers.find(container)
        except NotFound:
            return None
        return self.files(record) if self._sandboxes.get(record.id) is not None else None

    async def _refresh(self, container: str, before: NameFiles | None) -> None:
        """A running container's own files follow its networks."""
        if before is None:
            return
        record = self._containers.find(container)
        directory = self._directory(record.id)
        if directory.is_dir():
            await asyncio.to_thread(refresh, directory, before, self.files(record))

    async def _remove(self, record: NetworkRecord) -> None:
        if record.name in PREDEFINED:
            raise Forbidden(f"{record.name} is a pre-defined network and cannot be removed")
        members = self._addresses.active(record.id)
        if members:
            named = [(self._name_of(owner), endpoint) for endpoint, owner in members.items()]
            raise Forbidden(
                f"error while removing network: network {record.name} has active endpoints "
                f"({view.active(named)})"
            )
        # The record first: a crash in between leaves a bridge, which the next remove of that
        # name does not meet, and no network that cannot be used.
        await self._records.commit(
            delete(self._records.networks, record.id), events=[view.event(record, "destroy")]
        )
        self._addresses.forget(record.id)
        await self._plane.remove(record)

    def _shared(self, ref: str) -> Attachment:
        other = self._containers.find(ref)
        if not other.running:
            raise Conflict(f"cannot join network of a non running container: {other.id}")
        return Attachment(Path(f"/proc/{other.state.pid}/ns/net"), {}, {})

    def _in_use(self, network: NetworkRecord) -> bool:
        return bool(self._addresses.active(network.id))

    def _name_of(self, container_id: str) -> str:
        record = self._containers.get(container_id)
        return record.name if record is not None else container_id[:12]

    def _tell(self, events: Iterable[Event]) -> None:
        """Record events in their order without holding up the start or the exit they tell of."""
        happened = list(events)
        if happened:
            self._tasks.spawn(
                self._records.commit(events=happened), name="recording network events"
            )
