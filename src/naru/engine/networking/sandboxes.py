"""What running containers have of the network: attach before the start, detach after the exit.

The kernel's side is the data plane's; here are the addresses, names and resolvers, in memory, and
after a restart of the daemon rebuilt from what the plane adopts.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from naru.engine.networking import endpoints, publishing
from naru.engine.networking.catalog import Catalog, is_user_defined
from naru.engine.networking.directory import Directory, View
from naru.engine.networking.leases import AddressBook
from naru.engine.networking.name_files import FileWriter
from naru.engine.networking.settings import NetworkSettings
from naru.network.driver import Endpoint
from naru.network.firewall import PortMap
from naru.network.plane import Plane
from naru.network.ports import PortRequest
from naru.network.resolver import Resolver
from naru.network.sandbox import Join, Sandbox
from naru.spec.containers import ContainerRecord
from naru.spec.errors import InternalError, InvalidParameter, NaruError
from naru.spec.networks import EndpointSettings, NetworkRecord

_log = logging.getLogger(__name__)


@dataclass
class Attached:
    """A container's networks while it runs. `netns` is None in the host's namespace."""

    record: ContainerRecord
    netns: Path | None
    sandbox: Sandbox
    view: View
    settings: dict[str, EndpointSettings] = field(default_factory=dict)  # by network name
    resolver: Resolver | None = None

    @property
    def ports(self) -> list[PortMap]:
        return self.sandbox.ports

    @property
    def networks(self) -> list[NetworkRecord]:
        return [join.network for join in self.sandbox.joins]


class Sandboxes:
    def __init__(
        self,
        *,
        plane: Plane,
        catalog: Catalog,
        addresses: AddressBook,
        files: FileWriter,
        settings: NetworkSettings,
    ) -> None:
        self._plane = plane
        self._catalog = catalog
        self._addresses = addresses
        self._files = files
        self._settings = settings
        self._directory = Directory()
        self._attached: dict[str, Attached] = {}

    def get(self, container_id: str) -> Attached | None:
        return self._attached.get(container_id)

    def members(self, network_id: str) -> list[tuple[ContainerRecord, Endpoint]]:
        return [
            (attached.record, join.endpoint)
            for attached in self._attached.values()
            for join in attached.sandbox.joins
            if join.network.id == network_id
        ]

    async def attach(self, record: ContainerRecord) -> Attached:
        """Set up a container's networks; on failure nothing is left."""
        wanted = self._wanted(record)
        check_combination([network for network, _ in wanted])
        gateway = endpoints.gateway_of(wanted)
        joins: list[Join] = []
        publish: list[PortRequest] = []
        try:
            for number, (network, settings) in enumerate(wanted):
                endpoints.check(network, settings)
                join = self._join(record, network, settings, number, route=network is gateway)
                joins.append(join)
                if join.route:
                    publish = self._publish(record, join)
            if record.host_config.network_mode == "host":
                sandbox = Sandbox(container_id=record.id, joins=joins)
            else:
                sandbox = await self._connected(record, joins, publish)
        except BaseException:
            for join in joins:
                self._addresses.release(join.network, join.endpoint)
            raise
        try:
            return await self._settled(record, sandbox, wanted)
        except BaseException:
            await self.detach(record.id)
            raise

    async def connect(
        self, record: ContainerRecord, network: NetworkRecord, settings: EndpointSettings
    ) -> EndpointSettings:
        """Join a running container to one more network -> its settings there."""
        attached = self._attached[record.id]
        number = self._free_number(attached)
        join = self._join(record, network, settings, number, route=False)
        try:
            attached.sandbox = await self._plane.connect(record.id, join)
        except BaseException:
            self._addresses.release(network, join.endpoint)
            raise
        try:
            await self._route(attached, record, coming=(network, settings))
            join = next(each for each in attached.sandbox.joins if each.network.id == network.id)
            await self._introduce(attached, join, settings)
        except BaseException:
            await self.disconnect(record, network)
            raise
        self._plane.put_away(record.id)
        return attached.settings[network.name]

    async def disconnect(self, record: ContainerRecord, network: NetworkRecord) -> None:
        attached = self._attached[record.id]
        gone = [join for join in attached.sandbox.joins if join.network.id == network.id]
        left = await self._plane.disconnect(record.id, network.id)
        if left is not None:
            attached.sandbox = left
        for join in gone:
            self._withdraw(attached, join)
        if attached.resolver is not None and not attached.view:
            attached.resolver.close()
            attached.resolver = None
        if left is not None:
            try:
                await self._route(attached, record, lost=any(join.route for join in gone))
            except NaruError as error:
                # It has left the network all the same.
                _log.error("container %s: its default route and ports: %s", record.id, error)
        self._plane.put_away(record.id)

    async def _route(
        self,
        attached: Attached,
        record: ContainerRecord,
        *,
        coming: tuple[NetworkRecord, EndpointSettings] | None = None,
        lost: bool = False,
    ) -> None:
        """Let default route and published ports follow the networks that the container has now.

        `coming`: a network that is joined but not told of yet; `lost`: that of the route is gone.
        """
        joins = attached.sandbox.joins
        known = attached.settings
        candidates = [(j.network, known[j.network.name]) for j in joins if j.network.name in known]
        gateway = endpoints.gateway_of([*candidates, *([coming] if coming else [])])
        now = next((join.network.id for join in joins if join.route), "")
        wanted = gateway.id if gateway is not None else ""
        if wanted == now and not lost:
            return
        after = next((join for join in joins if join.network.id == wanted), None)
        publish = self._publish(record, after) if after is not None else []
        with _explained(record, after.endpoint if after is not None else None, publish):
            attached.sandbox = await self._plane.reroute(record.id, wanted, publish)

    async def detach(self, container_id: str) -> Attached | None:
        """Take down what `attach` set up -> what there was, None when nothing."""
        attached = self._attached.pop(container_id, None)
        if attached is not None and attached.resolver is not None:
            attached.resolver.close()
        if attached is None or attached.netns is not None:
            try:
                await self._plane.detach(container_id)
            except BaseException:
                if attached is not None:  # for the next attempt, which gives its addresses back
                    self._attached[container_id] = attached
                raise
        if attached is not None:
            for join in attached.sandbox.joins:
                self._withdraw(attached, join)
        return attached

    async def recover(self, live: Mapping[str, ContainerRecord]) -> None:
        """After a restart: adopt what the live containers have, drop what others left."""
        adopted = {sandbox.container_id: sandbox for sandbox in await self._plane.adopt(live)}
        for container_id, record in live.items():
            if record.host_config.network_mode.startswith("container:"):
                continue
            sandbox = adopted.get(container_id) or self._in_host(record)
            for join in sandbox.joins:
                self._addresses.restore(join.network, join.endpoint, container_id)
            try:
                await self._settled(record, sandbox, self._wanted(record))
            except (NaruError, OSError) as error:
                _log.warning("container %s: its network is not whole: %s", container_id, error)

    async def rename(self, record: ContainerRecord) -> None:
        attached = self._attached.get(record.id)
        if attached is None:
            return
        attached.record = record
        for join in attached.sandbox.joins:
            settings = attached.settings[join.network.name]
            await self._introduce(attached, join, settings)

    def close(self) -> None:
        """Stop answering names; the containers keep their networks."""
        for attached in self._attached.values():
            if attached.resolver is not None:
                attached.resolver.close()
        self._attached.clear()

    def _wanted(self, record: ContainerRecord) -> list[tuple[NetworkRecord, EndpointSettings]]:
        """The container's networks, that of its network mode first: it becomes eth0."""
        found: dict[str, tuple[NetworkRecord, EndpointSettings]] = {}
        for ref, settings in record.endpoints.items():
            if ref == "bridge" and not self._settings.bridge:
                continue  # `--bridge none`: loopback is all there is
            by_id = self._catalog.get(settings.network_id) if settings.network_id else None
            network = self._catalog.named(ref) or by_id or self._catalog.find(ref)
            found.setdefault(network.id, (network, endpoints.cleared(settings)))
        first = [each for each in found.values() if self._is_first(record, each[0])]
        rest = [each for each in found.values() if not self._is_first(record, each[0])]
        return first + sorted(rest, key=lambda each: each[0].name)

    def _is_first(self, record: ContainerRecord, network: NetworkRecord) -> bool:
        return record.host_config.network_mode in (network.name, network.id)

    def _join(
        self,
        record: ContainerRecord,
        network: NetworkRecord,
        settings: EndpointSettings,
        number: int,
        *,
        route: bool,
    ) -> Join:
        endpoint_id = secrets.token_hex(32)
        lease = self._addresses.lease(
            network,
            endpoint_id=endpoint_id,
            container_id=record.id,
            wanted=settings.ipam_config,
        )
        ipv4, ipv6 = lease.ipv4.partition("/")[0], lease.ipv6.partition("/")[0]
        mac = settings.mac_address.lower().replace("-", ":") or endpoints.made_mac(ipv4, ipv6)
        endpoint = Endpoint(
            id=endpoint_id,
            interface=f"eth{number}",
            host_interface=f"veth{endpoint_id[:9]}",
            mac=mac,
            ipv4=lease.ipv4,
            ipv6=lease.ipv6,
            gateway4=lease.gateway4,
            gateway6=lease.gateway6,
        )
        return Join(network=network, endpoint=endpoint, route=route)

    def _publish(self, record: ContainerRecord, join: Join) -> list[PortRequest]:
        return publishing.requests(
            record,
            join.network,
            ipv4=join.endpoint.ipv4,
            ipv6=join.endpoint.ipv6,
            default_ip=self._settings.ip,
        )

    async def _connected(
        self, record: ContainerRecord, joins: Sequence[Join], publish: Sequence[PortRequest]
    ) -> Sandbox:
        endpoint = next((join.endpoint for join in joins if join.route), None)
        with _explained(record, endpoint, publish):
            return await self._plane.attach(record.id, joins, publish)

    async def _settled(
        self,
        record: ContainerRecord,
        sandbox: Sandbox,
        wanted: Iterable[tuple[NetworkRecord, EndpointSettings]],
    ) -> Attached:
        host = record.host_config.network_mode == "host"
        attached = Attached(
            record=record,
            netns=None if host else self._plane.path(record.id),
            sandbox=sandbox,
            view=View(self._directory),
        )
        self._attached[record.id] = attached
        by_network = {network.id: settings for network, settings in wanted}
        for join in sandbox.joins:
            await self._introduce(
                attached, join, by_network.get(join.network.id, EndpointSettings())
            )
        if attached.netns is not None:
            self._plane.put_away(record.id)
        return attached

    async def _introduce(self, attached: Attached, join: Join, settings: EndpointSettings) -> None:
        """Tell a joined container's names to its network, and the network's to it."""
        record, network = attached.record, join.network
        names: list[str] | None = None
        if is_user_defined(network.name):
            names = endpoints.dns_names(record, settings)
            self._directory.enter(network, record.id, names, join.endpoint)
            attached.view.join(network.name, settings.links or ())
            await self._resolve(attached)
        attached.settings[network.name] = endpoints.achieved(
            settings, network, join.endpoint, names
        )

    async def _resolve(self, attached: Attached) -> None:
        if attached.resolver is not None or attached.netns is None:
            return
        namespace = await self._plane.namespace(attached.record.id)

        def servers() -> Sequence[str]:
            # A container on internal networks alone must not reach the world by names either.
            outside = any(join.route for join in attached.sandbox.joins)
            return self._files.upstream(attached.record) if outside else ()

        resolver = Resolver(names=attached.view, servers=servers)
        try:
            await resolver.start(namespace)
        except OSError as error:
            raise InternalError(f"embedded DNS server: {error}") from error
        attached.resolver = resolver

    def _withdraw(self, attached: Attached, join: Join) -> None:
        self._directory.leave(join.network, attached.record.id)
        attached.view.leave(join.network.name)
        attached.settings.pop(join.network.name, None)
        self._addresses.release(join.network, join.endpoint)

    def _free_number(self, attached: Attached) -> int:
        taken = {join.endpoint.interface for join in attached.sandbox.joins}
        return next(n for n in range(len(taken) + 1) if f"eth{n}" not in taken)

    def _in_host(self, record: ContainerRecord) -> Sandbox:
        """A live container without a state file: one in the host's namespace."""
        joins = []
        if record.host_config.network_mode == "host":
            for network, _ in self._wanted(record):
                known = record.endpoints.get(network.name, EndpointSettings())
                endpoint = Endpoint(id=known.endpoint_id, interface="", host_interface="", mac="")
                joins.append(Join(network=network, endpoint=endpoint))
        return Sandbox(container_id=record.id, joins=joins)


@contextmanager
def _explained(
    record: ContainerRecord, endpoint: Endpoint | None, publish: Sequence[PortRequest]
) -> Iterator[None]:
    """A port that cannot be had, as Docker says it."""
    try:
        yield
    except InternalError as error:
        if endpoint is None or not publish or "port" not in str(error):
            raise
        raise InternalError(
            "driver failed programming external connectivity on endpoint "
            f"{record.name} ({endpoint.id}): {error}"
        ) from error


def check_combination(networks: Sequence[NetworkRecord]) -> None:
    """Host and none stand alone. Docker's texts."""
    if len(networks) < 2:
        return
    names = {network.name for network in networks}
    if "host" in names:
        raise InvalidParameter(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if "none" in names:
        raise InvalidParameter(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
