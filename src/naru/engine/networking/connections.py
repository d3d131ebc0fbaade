"""`/networks/{id}/connect` and `/disconnect`: endpoints changed after a container's creation."""

from __future__ import annotations

from typing import Protocol

import msgspec

from naru.engine.containers.live import Live
from naru.engine.networking import endpoints, view
from naru.engine.networking.catalog import Catalog, is_user_defined
from naru.engine.networking.sandboxes import Sandboxes, check_combination
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, Forbidden, InternalError, InvalidParameter, NotFound
from naru.spec.events import Event
from naru.spec.networks import EndpointSettings, NetworkRecord


class Containers(Protocol):
    def find(self, ref: str) -> ContainerRecord: ...

    def get(self, container_id: str) -> ContainerRecord | None: ...

    def live(self, record: ContainerRecord) -> Live: ...

    async def save(self, record: ContainerRecord, *events: Event) -> ContainerRecord: ...


class Connections:
    def __init__(self, *, catalog: Catalog, sandboxes: Sandboxes, containers: Containers) -> None:
        self._catalog = catalog
        self._sandboxes = sandboxes
        self._containers = containers

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> list[Event]:
        """-> the events to tell. A container that does not run only takes note."""
        network = self._catalog.find(ref)
        record = self._containers.find(container)
        async with self._containers.live(record).lock:
            record = self._containers.get(record.id) or record
            self._check(record, network, settings)
            if not record.running:
                noted = settings
                if is_user_defined(network.name):
                    noted = msgspec.structs.replace(
                        settings,
                        network_id=network.id,
                        dns_names=endpoints.dns_names(record, settings),
                    )
                await self._save(record, {**record.endpoints, network.name: noted})
                return []
            achieved = await self._sandboxes.connect(record, network, settings)
            await self._save(record, {**record.endpoints, network.name: achieved})
        return [view.event(network, "connect", container=record.id)]

    async def disconnect(self, ref: str, container: str, *, force: bool) -> list[Event]:
        network = self._catalog.find(ref)
        try:
            record = self._containers.find(container)
        except NotFound:
            if not force:
                raise
            raise NotFound(f"endpoint {container} not found") from None
        async with self._containers.live(record).lock:
            record = self._containers.get(record.id) or record
            if network.name == "host":
                raise Forbidden(
                    "container cannot be disconnected from host network or connected to host "
                    "network"
                )
            name = self._key_of(record, network)
            if name is None:
                raise InternalError(
                    f"container {record.id} is not connected to network {network.name}"
                )
            was_running = record.running and self._sandboxes.get(record.id) is not None
            if was_running:
                await self._sandboxes.disconnect(record, network)
            left = {key: each for key, each in record.endpoints.items() if key != name}
            await self._save(record, left)
        return [view.event(network, "disconnect", container=record.id)] if was_running else []

    def _check(
        self, record: ContainerRecord, network: NetworkRecord, settings: EndpointSettings
    ) -> None:
        if record.state.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"container {record.id} is marked for removal and cannot be connected")
        if record.host_config.network_mode.startswith("container:"):
            raise InvalidParameter(
                "container sharing network namespace with another container or host cannot be "
                "connected to any other network"
            )
        if network.name == "host" and record.host_config.network_mode != "host":
            raise InvalidParameter(
                "cannot connect container to host network - container must be created in host "
                "network mode"
            )
        if self._key_of(record, network) is not None:
            raise Forbidden(
                f"endpoint with name {record.name} already exists in network {network.name}"
            )
        others = [found for name in record.endpoints if (found := self._known(name)) is not None]
        check_combination([*others, network])
        endpoints.check(network, settings)

    def _known(self, name: str) -> NetworkRecord | None:
        return self._catalog.named(name) or self._catalog.get(name)

    def _key_of(self, record: ContainerRecord, network: NetworkRecord) -> str | None:
        """Under which key the container has this network: a created one may have its id."""
        for key, settings in record.endpoints.items():
            if network.id in (key, settings.network_id) or key == network.name:
                return key
        return None

    async def _save(self, record: ContainerRecord, settings: dict[str, EndpointSettings]) -> None:
        await self._containers.save(msgspec.structs.replace(record, endpoints=settings))
