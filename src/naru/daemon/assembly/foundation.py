"""What every part of the engine stands on: stores, supervisor and runtimes, and the services that
others are built from.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from naru.daemon.assembly import settings
from naru.daemon.config import Config
from naru.daemon.prelude import Prelude
from naru.engine.containers.containers import Containers
from naru.engine.containers.facts import HostFacts, controllers
from naru.engine.containers.live import Lives
from naru.engine.containers.logs import Logs
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.pump import Pump
from naru.engine.containers.resources import Controllers
from naru.engine.images.library import Library
from naru.engine.networks import Networks
from naru.engine.tasks import Tasks
from naru.engine.volumes import Volumes
from naru.kernel.workers import Workers
from naru.network.backends import data_plane
from naru.runtime.oci import OciRuntime
from naru.runtime.seccomp_bpf import SeccompCache
from naru.runtime.supervisor import Supervisor
from naru.runtime.warmth import CgroupWarmth
from naru.store.blobs import BlobStore
from naru.store.choice import choose
from naru.store.records import Records
from naru.store.room import Room
from naru.store.settled import settled
from naru.store.switchable_layers import SwitchableLayers

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stores:
    records: Records
    layers: SwitchableLayers
    blobs: BlobStore
    room: Room
    workers: Workers


@dataclass(frozen=True, kw_only=True)
class Foundation:
    config: Config
    begun: Prelude
    choices: settings.Runtimes
    facts: HostFacts
    stores: Stores
    tasks: Tasks
    pump: Pump
    warmth: CgroupWarmth
    supervisor: Supervisor
    runtimes: dict[str, OciRuntime]
    paths: ContainerPaths
    logs: Logs
    lives: Lives
    containers: Containers
    volumes: Volumes
    networks: Networks
    library: Library

    def controllers(self) -> Controllers:
        return controllers(self.facts.hierarchies)


def lay(config: Config, begun: Prelude) -> Foundation:
    """Open the stores and make the services; nothing is started yet."""
    choices = settings.runtimes(config)
    stores = open_stores(config)
    tasks, lives = Tasks(), Lives()
    warmth = CgroupWarmth.for_this_machine()
    supervisor = Supervisor(
        config.exec_root, hidden_mount=begun.hidden_mount, launching=begun.launching
    )
    paths = ContainerPaths(config.data_root, config.exec_root)
    containers = Containers(records=stores.records, lives=lives)
    return Foundation(
        config=config,
        begun=begun,
        choices=choices,
        facts=settings.host_facts(config, begun.hierarchies),
        stores=stores,
        tasks=tasks,
        pump=Pump(),
        warmth=warmth,
        supervisor=supervisor,
        runtimes=oci_runtimes(config, choices, supervisor, warmth),
        paths=paths,
        logs=Logs(containers_root=paths.containers, journal_root=config.exec_root / "journals"),
        lives=lives,
        containers=containers,
        volumes=Volumes(
            root=config.data_root / "volumes", records=stores.records, room=stores.room
        ),
        networks=Networks(
            records=stores.records,
            plane=data_plane(
                exec_root=config.exec_root, iptables=config.iptables, ip_forward=config.ip_forward
            ),
            containers=containers,
            tasks=tasks,
            settings=settings.network_settings(config),
            directory=paths.directory,
        ),
        library=Library(records=stores.records, blobs=stores.blobs, layers=stores.layers),
    )


def open_stores(config: Config) -> Stores:
    config.data_root.mkdir(mode=0o711, parents=True, exist_ok=True)
    records = Records.open(config.data_root / "records.db")
    name = settled(records, config.storage_driver)
    room = Room(config.data_root, config.min_free_space)
    driver = choose(name, config.data_root, config.storage_opts, room=room)
    log.info("storage driver %s in %s", driver.name, config.data_root)
    workers = Workers(config.exec_root / "workers.lock")
    layers = SwitchableLayers(
        root=config.data_root,
        records=records,
        driver=driver,
        run_root=config.exec_root,
        room=room,
        workers=workers,
    )
    blobs = BlobStore(config.data_root / "blobs", room=room)
    return Stores(records=records, layers=layers, blobs=blobs, room=room, workers=workers)


def oci_runtimes(
    config: Config, choices: settings.Runtimes, supervisor: Supervisor, warmth: CgroupWarmth
) -> dict[str, OciRuntime]:
    seccomp = SeccompCache()
    return {
        name: OciRuntime(
            name=name,
            path=choice.path,
            args=choice.args,
            exec_root=config.exec_root,
            supervisor=supervisor,
            seccomp=seccomp,
            warmth=warmth,
            systemd_cgroup=settings.systemd_cgroup(config),
        )
        for name, choice in choices.items()
    }
