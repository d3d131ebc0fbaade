"""The only place that names concrete classes: from a configuration to the whole engine.

`build` opens nothing that can fail slowly; `App.start` connects to the supervisor and takes over
what runs. Read top to bottom it is the map of the engine: adapters, services, routes.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass

from naru import __version__
from naru.api import versions
from naru.api.router import RouteTable
from naru.api.routes.archive import ArchiveRoutes
from naru.api.routes.commit import CommitRoutes
from naru.api.routes.containers import ContainerRoutes, Views
from naru.api.routes.disk import DiskRoutes
from naru.api.routes.exec import ExecRoutes
from naru.api.routes.image_transfers import ImageTransferRoutes
from naru.api.routes.images import ImageRoutes
from naru.api.routes.networks import NetworkRoutes
from naru.api.routes.registry import RegistryRoutes
from naru.api.routes.storage import StorageRoutes
from naru.api.routes.streams import StreamRoutes
from naru.api.routes.system import SystemRoutes
from naru.api.routes.volumes import VolumeRoutes
from naru.daemon.config import Config, ConfigError
from naru.daemon.option_types import RuntimeChoice
from naru.daemon.prelude import Prelude
from naru.engine.check.blobs import BlobInspection
from naru.engine.check.check import Check
from naru.engine.check.containers import ContainerInspection
from naru.engine.check.images import ImageInspection
from naru.engine.check.layers import LayerInspection
from naru.engine.check.volumes import VolumeInspection
from naru.engine.containers.adapt import HostDefaults
from naru.engine.containers.attach import Attach
from naru.engine.containers.changes import Changes
from naru.engine.containers.collaborators import Followers
from naru.engine.containers.containers import Containers
from naru.engine.containers.create import Create
from naru.engine.containers.exec import Execs
from naru.engine.containers.exec_store import ExecStore
from naru.engine.containers.exits import Exits
from naru.engine.containers.export import Export
from naru.engine.containers.facts import HostFacts, controllers
from naru.engine.containers.files import Files
from naru.engine.containers.health import HealthChecks
from naru.engine.containers.inspect import Inspect
from naru.engine.containers.lifecycle import Lifecycle
from naru.engine.containers.listing import Listing as ContainerListing
from naru.engine.containers.live import Lives
from naru.engine.containers.logs import Logs
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.pause import Pause
from naru.engine.containers.prepare import Prepare
from naru.engine.containers.provision import MountProvision
from naru.engine.containers.prune import Prune
from naru.engine.containers.pump import Pump
from naru.engine.containers.recovery import Recovery
from naru.engine.containers.remove import Remove
from naru.engine.containers.rename import Rename
from naru.engine.containers.resize import Resize
from naru.engine.containers.resources import Controllers
from naru.engine.containers.start import Start
from naru.engine.containers.stats import Statistics
from naru.engine.containers.stop import Stop
from naru.engine.containers.teardown import Teardown
from naru.engine.containers.top import TopProcesses
from naru.engine.containers.update import Update
from naru.engine.containers.wait import Wait
from naru.engine.disk.ledger import Ledger
from naru.engine.disk_usage import DiskUsage
from naru.engine.events import Events
from naru.engine.images.commit import Committer
from naru.engine.images.imports import Importer
from naru.engine.images.inquiries import Inquiries
from naru.engine.images.layer_blobs import LayerBlobs
from naru.engine.images.library import Library
from naru.engine.images.listing import Listing as ImageListing
from naru.engine.images.load import Loader
from naru.engine.images.pull import Puller
from naru.engine.images.push import Pusher
from naru.engine.images.removal import Removal
from naru.engine.images.save import Saver
from naru.engine.networking.settings import NetworkSettings
from naru.engine.networks import Networks
from naru.engine.storage.bench import StorageBench
from naru.engine.storage.inspect import InspectLayers
from naru.engine.storage.migrate import Migration
from naru.engine.system import Installation, System
from naru.engine.tasks import Tasks
from naru.engine.volumes import Volumes
from naru.kernel import cgroups
from naru.network.backends import data_plane
from naru.network.ipam import DEFAULT_POOLS
from naru.registry.endpoints import Resolver
from naru.registry.transport import Transport
from naru.runtime.oci import OciRuntime
from naru.runtime.seccomp_bpf import SeccompCache
from naru.runtime.supervisor import Supervisor
from naru.runtime.warmth import CgroupWarmth
from naru.spec.containers import LogConfig
from naru.store.blobs import BlobStore
from naru.store.choice import choose
from naru.store.records import Records
from naru.store.room import Room
from naru.store.settled import settled
from naru.store.switchable_layers import SwitchableLayers

log = logging.getLogger(__name__)

_RUNTIMES = ("crun", "runc")  # in the order of preference


def build(config: Config, begun: Prelude) -> App:
    """Open the stores and put the engine together; nothing is taken over yet."""
    return App(config, begun=begun, choices=_runtimes(config), stores=_stores(config))


@dataclass(frozen=True, kw_only=True)
class Stores:
    records: Records
    layers: SwitchableLayers
    blobs: BlobStore
    room: Room


class App:
    """The engine, whole. `start` before the first request, `stop` after the last."""

    def __init__(
        self,
        config: Config,
        *,
        begun: Prelude,
        choices: dict[str, RuntimeChoice],
        stores: Stores,
    ) -> None:
        """`choices`: the runtimes there are, the default one first."""
        self.router = RouteTable()
        self._config = config
        self._begun = begun
        self._choices = choices
        self._stores = stores
        self._tasks = Tasks()
        self._pump = Pump()
        self._warmth = CgroupWarmth.for_this_machine()
        self._supervisor = Supervisor(
            config.exec_root, hidden_mount=begun.hidden_mount, launching=begun.launching
        )
        self._transport = _transport(config)
        self._paths = ContainerPaths(config.data_root, config.exec_root)
        self._logs = Logs(
            containers_root=self._paths.containers, journal_root=config.exec_root / "journals"
        )
        self._lives = Lives()
        self._containers = Containers(records=stores.records, lives=self._lives)
        self._events = Events(records=stores.records)
        self._volumes = Volumes(root=config.data_root / "volumes", records=stores.records)
        self._networks = Networks(
            records=stores.records,
            plane=data_plane(
                exec_root=config.exec_root, iptables=config.iptables, ip_forward=config.ip_forward
            ),
            containers=self._containers,
            tasks=self._tasks,
            settings=_network_settings(config),
            directory=self._paths.directory,
        )
        self._library = Library(records=stores.records, blobs=stores.blobs, layers=stores.layers)
        self._images = ImageListing(library=self._library)
        self._recovery = self._build_containers()
        self._build_images()
        self._system = self._build_system()
        NetworkRoutes(networks=self._networks).register(self.router)
        VolumeRoutes(volumes=self._volumes).register(self.router)

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take over what runs; the order is that of `Recovery`."""
        networks, supervisor = asyncio.ensure_future(self._networks.start()), self._supervisor
        try:
            await self._stores.layers.recover()
            await self._library.recover()
            await self._volumes.recover()
            for runtime in self._programs.values():
                await asyncio.to_thread(runtime.recover)
            await supervisor.connect()
        finally:
            await asyncio.wait({networks})
        networks.result()
        await self._networks.recover([r for r in self._containers.all() if r.running])
        await self._execs.recover()
        await self._recovery()
        await self._migration.recover()

    async def stop(self) -> None:
        """End what is under way; containers run on, under the supervisor, if there are any."""
        await self._tasks.close()
        await self._execs.leave()
        for live in self._lives:
            if live.streams is not None:
                await live.streams.leave()
        await self._networks.stop()
        await self._quit_supervisor()
        await self._transport.close()
        await self._stores.layers.close()
        await asyncio.to_thread(self._pump.close)
        await asyncio.to_thread(self._warmth.close)
        await self._stores.records.close()

    async def reload(self, config: Config) -> None:
        self._config = config
        self._stores.room.floor = config.min_free_space
        self._system.installation = self._installation(config)

    def _storage_switched(self) -> None:
        self._system.installation = self._installation(self._config)

    async def _quit_supervisor(self) -> None:
        """A supervisor that keeps nothing is not needed until the next start."""
        try:
            if not await self._supervisor.live() and await self._supervisor.quit():
                await asyncio.to_thread(cgroups.remove_shared_parent, self._begun.hierarchies)
                await asyncio.to_thread(self._begun.hybrid.release)
        except Exception:
            log.exception("the supervisor stays")
        await self._supervisor.close()

    # -- the parts ----------------------------------------------------------------------------

    def _build_containers(self) -> Recovery:
        """Routes of containers -> what takes over the containers of a former daemon."""
        containers, paths, logs, pump = self._containers, self._paths, self._logs, self._pump
        layers, volumes, networks, tasks = (
            self._stores.layers, self._volumes, self._networks, self._tasks,
        )  # fmt: skip
        runtimes = self._programs = self._oci_runtimes()
        facts = self._facts()
        self._execs = Execs(
            containers=containers,
            runtimes=runtimes,
            store=ExecStore(self._config.exec_root / "execs"),
            pump=pump,
            tasks=tasks,
            acknowledge=self._supervisor.acknowledge,
            pidfd=self._supervisor.pidfd,
            stdio=self._supervisor.stdio,
        )
        health = HealthChecks(containers=containers, execs=self._execs, tasks=tasks)
        followers: list[Followers] = [self._execs, health]
        teardown = Teardown(
            layers=layers,
            networks=networks,
            volumes=volumes,
            runtimes=runtimes,
            paths=paths,
            facts=facts,
        )
        prepare = Prepare(
            containers=containers,
            layers=layers,
            volumes=volumes,
            paths=paths,
            facts=facts,
            init_by_default=self._config.init,
        )
        start = Start(
            containers=containers,
            prepare=prepare,
            networks=networks,
            runtimes=runtimes,
            logs=logs,
            pump=pump,
            teardown=teardown,
            paths=paths,
            followers=followers,
        )
        remove = Remove(
            containers=containers,
            layers=layers,
            volumes=volumes,
            logs=logs,
            runtimes=runtimes,
            teardown=teardown,
            paths=paths,
            tasks=tasks,
            followers=followers,
        )
        exits = Exits(
            containers=containers,
            start=start,
            remove=remove,
            teardown=teardown,
            facts=facts,
            tasks=tasks,
            acknowledge=self._supervisor.acknowledge,
            exec_ended=self._execs.heard,
            followers=followers,
        )
        recovery = Recovery(
            containers=containers,
            exits=exits,
            start=start,
            remove=remove,
            teardown=teardown,
            runtimes=runtimes,
            logs=logs,
            pump=pump,
            paths=paths,
            tasks=tasks,
            live=self._supervisor.live,
            stdio=self._supervisor.stdio,
            followers=followers,
        )
        self._check = self._build_check(remove)
        self._supervisor.on_exit = exits.heard
        self._build_container_routes(runtimes, start, remove)

        return recovery

    def _build_check(self, remove: Remove) -> Check:
        library, layers, busy = self._library, self._stores.layers, self._containers.unrecorded
        return Check(
            inspections=[
                ImageInspection(library=library),
                BlobInspection(library=library),
                LayerInspection(library=library, busy=busy),
                ContainerInspection(
                    containers=self._containers,
                    paths=self._paths,
                    layers=layers,
                    finish_removal=remove.recover,
                    detach=self._networks.detach,
                ),
                VolumeInspection(volumes=self._volumes),
            ]
        )

    def _build_container_routes(
        self, runtimes: dict[str, OciRuntime], start: Start, remove: Remove
    ) -> None:
        containers, paths, logs = self._containers, self._paths, self._logs
        layers, networks = self._stores.layers, self._networks
        stop = Stop(containers=containers, runtimes=runtimes)
        self._pause = Pause(containers=containers, runtimes=runtimes)
        create = Create(
            containers=containers,
            images=self._library,
            layers=layers,
            provision=MountProvision(containers=containers, volumes=self._volumes),
            runtimes=runtimes,
            paths=paths,
            defaults=self._host_defaults(),
            controllers=self._controllers,
            logs=logs,
            storage_driver=lambda: layers.driver.name,
        )
        lifecycle = Lifecycle(
            containers=containers,
            create=create,
            start=start,
            stop=stop,
            pause=self._pause,
            remove=remove,
            rename=Rename(containers=containers, networks=networks),
            update=Update(containers=containers, runtimes=runtimes, controllers=self._controllers),
            wait=Wait(containers=containers),
            tasks=self._tasks,
        )
        self._listing = ContainerListing(
            containers=containers,
            images=self._library,
            layers=layers,
            networks=networks,
            all_images=self._stores.records.images.values,
        )
        views = Views(
            listing=self._listing,
            inspect=Inspect(
                containers=containers,
                images=self._library,
                layers=layers,
                networks=networks,
                logs=logs,
                execs=self._execs,
                paths=paths,
            ),
            top=TopProcesses(containers=containers, runtimes=runtimes),
            changes=Changes(containers=containers, layers=layers),
            export=Export(containers=containers, layers=layers),
        )
        self._migration = Migration(
            layers=layers,
            library=self._library,
            containers=containers,
            stop=stop,
            start=start,
            tasks=self._tasks,
            switched=self._storage_switched,
            named=self._config.storage_driver,
            options=self._config.storage_opts,
        )
        StorageRoutes(
            migration=self._migration,
            inspect=InspectLayers(containers=containers, library=self._library, layers=layers),
            bench=StorageBench(data_root=self._config.data_root),
        ).register(self.router)
        ContainerRoutes(
            lifecycle=lifecycle,
            views=views,
            resize=Resize(containers=containers, runtimes=runtimes),
            prune=Prune(containers=containers, layers=layers, remove=remove),
        ).register(self.router)
        ArchiveRoutes(files=Files(containers=containers, layers=layers)).register(self.router)
        ExecRoutes(execs=self._execs).register(self.router)
        StreamRoutes(
            attach=Attach(containers=containers, logs=logs),
            logs=logs,
            statistics=Statistics(containers=containers, facts=self._facts()),
        ).register(self.router)

    def _build_images(self) -> None:
        config, library, transport = self._config, self._library, self._transport
        blobs = LayerBlobs(library=library, drop=config.layer_blobs == "drop")
        ImageTransferRoutes(
            puller=Puller(
                library=library,
                transport=transport,
                tasks=self._tasks,
                blobs=blobs,
                at_once=config.max_concurrent_downloads,
            ),
            pusher=Pusher(
                library=library,
                transport=transport,
                tasks=self._tasks,
                blobs=blobs,
                at_once=config.max_concurrent_uploads,
            ),
            importer=Importer(library=library, transport=transport, version=__version__),
            loader=Loader(library=library, tasks=self._tasks),
            saver=Saver(library=library),
        ).register(self.router)
        RegistryRoutes(inquiries=Inquiries(transport=transport)).register(self.router)
        ImageRoutes(
            library=library, listing=self._images, removal=Removal(library=library)
        ).register(self.router)
        committer = Committer(
            library=library, containers=self._containers, pauses=self._pause, version=__version__
        )
        CommitRoutes(committer=committer).register(self.router)

    def _build_system(self) -> System:
        usage = DiskUsage(
            records=self._stores.records,
            ledger=Ledger(
                root=self._config.data_root,
                records=self._stores.records,
                driver=lambda: self._stores.layers.driver.name,
            ),
            room=self._stores.room,
            images=self._images,
            containers=self._listing,
            volumes=self._volumes,
        )
        DiskRoutes(usage=usage, check=self._check).register(self.router)
        system = System(
            installation=self._installation(self._config),
            containers=self._containers.all,
            image_count=lambda: len(self._stores.records.images),
            event_listeners=lambda: self._stores.records.listeners,
            driver_status=lambda: self._stores.layers.driver.status(),
            cgroups=self._begun.hierarchies,
        )
        SystemRoutes(
            info=system.info,
            version=system.version,
            events=self._events,
            disk_usage={
                "image": usage.of_images,
                "container": usage.of_containers,
                "volume": usage.of_volumes,
                "build-cache": usage.of_build_cache,
            },
        ).register(self.router)
        return system

    # -- what the configuration means -----------------------------------------------------------

    def _oci_runtimes(self) -> dict[str, OciRuntime]:
        seccomp = SeccompCache()
        return {
            name: OciRuntime(
                name=name,
                path=choice.path,
                args=choice.args,
                exec_root=self._config.exec_root,
                supervisor=self._supervisor,
                seccomp=seccomp,
                warmth=self._warmth,
                systemd_cgroup=self._systemd_cgroup,
            )
            for name, choice in self._choices.items()
        }

    @property
    def _systemd_cgroup(self) -> bool:
        return self._config.cgroup_driver == "systemd"

    def _facts(self) -> HostFacts:
        return HostFacts(
            hierarchies=self._begun.hierarchies,
            systemd_cgroup=self._systemd_cgroup,
            cgroup_parent=self._config.cgroup_parent,
        )

    def _controllers(self) -> Controllers:
        return controllers(self._begun.hierarchies)

    def _host_defaults(self) -> HostDefaults:
        config = self._config
        return HostDefaults(
            runtime=next(iter(self._choices)),
            log=LogConfig(type=config.log_driver, config=dict(config.log_opts)),
            shm_size=config.default_shm_size,
            cgroup_parent=config.cgroup_parent,
            network_mode="bridge" if config.bridge != "none" else "none",
            init=config.init,
            ulimits=config.default_ulimits,
        )

    def _installation(self, config: Config) -> Installation:
        init = self._facts().find_init()
        return Installation(
            data_root=config.data_root,
            storage_driver=self._stores.layers.driver.name,
            log_driver=config.log_driver,
            log_drivers=("json-file", "none"),
            network_drivers=("bridge", "host", "null"),
            volume_drivers=("local",),
            cgroup_driver="systemd" if self._systemd_cgroup else "cgroupfs",
            runtimes={name: (choice.path, *choice.args) for name, choice in self._choices.items()},
            default_runtime=next(iter(self._choices)),
            init_binary=str(init) if init else "",
            api_version=versions.text(versions.NEWEST),
            min_api_version=versions.text(versions.OLDEST),
            address_pools=_pools(config),
            labels=config.labels,
            insecure_registries=config.insecure_registries,
            registry_mirrors=config.registry_mirrors,
            debug=config.debug,
        )


def _stores(config: Config) -> Stores:
    config.data_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    records = Records.open(config.data_root / "records.db")
    name = settled(records, config.storage_driver)
    driver = choose(name, config.data_root, config.storage_opts)
    log.info("storage driver %s in %s", driver.name, config.data_root)
    room = Room(config.data_root, config.min_free_space)
    layers = SwitchableLayers(
        root=config.data_root,
        records=records,
        driver=driver,
        run_root=config.exec_root,
        room=room,
    )
    blobs = BlobStore(config.data_root / "blobs", room=room)
    return Stores(records=records, layers=layers, blobs=blobs, room=room)


def _runtimes(config: Config) -> dict[str, RuntimeChoice]:
    """The runtimes there are, the default one first."""
    found = {
        name: RuntimeChoice(name, path)
        for name in _RUNTIMES
        if (path := shutil.which(name)) is not None
    }
    found |= {choice.name: choice for choice in config.runtimes}
    default = config.default_runtime or next(iter(found), "")
    if not found:
        raise ConfigError("no OCI runtime: neither crun nor runc is installed")
    if default not in found:
        raise ConfigError(f"specified default runtime '{default}' does not exist")
    return {default: found.pop(default), **found}


def _transport(config: Config) -> Transport:
    resolver = Resolver(insecure=config.insecure_registries, mirrors=config.registry_mirrors)
    return Transport(resolver=resolver, user_agent=f"naru/{__version__}")


def _pools(config: Config) -> tuple[tuple[str, int], ...]:
    chosen = tuple((pool.base, pool.size) for pool in config.default_address_pools)
    return chosen or DEFAULT_POOLS


def _network_settings(config: Config) -> NetworkSettings:
    return NetworkSettings(
        bridge="" if config.bridge == "none" else config.bridge_name,
        bip=config.bip,
        icc=config.icc,
        ip=config.ip,
        ip_masquerade=config.ip_masq,
        mtu=config.mtu,
        pools=_pools(config),
        dns=config.dns,
        dns_search=config.dns_search,
        dns_options=config.dns_opts,
    )
