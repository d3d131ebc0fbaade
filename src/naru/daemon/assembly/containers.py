"""The verbs on containers, put together, and their routes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from naru.api.router import RouteTable
from naru.api.routes.archive import ArchiveRoutes
from naru.api.routes.containers import ContainerRoutes, Views
from naru.api.routes.exec import ExecRoutes
from naru.api.routes.streams import StreamRoutes
from naru.daemon.assembly import settings
from naru.daemon.assembly.foundation import Foundation
from naru.engine.containers import devices
from naru.engine.containers.attach import Attach
from naru.engine.containers.changes import Changes
from naru.engine.containers.collaborators import Followers
from naru.engine.containers.create import Create
from naru.engine.containers.devices import HostDevices
from naru.engine.containers.exec import Execs
from naru.engine.containers.exec_store import ExecStore
from naru.engine.containers.exits import Exits
from naru.engine.containers.export import Export
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.files import Files
from naru.engine.containers.health import HealthChecks
from naru.engine.containers.inspect import Inspect
from naru.engine.containers.lifecycle import Lifecycle
from naru.engine.containers.listing import Listing
from naru.engine.containers.lost_files import LostFiles
from naru.engine.containers.pause import Pause
from naru.engine.containers.prepare import Prepare
from naru.engine.containers.provision import MountProvision
from naru.engine.containers.prune import Prune
from naru.engine.containers.recovery import Recovery
from naru.engine.containers.remove import Remove
from naru.engine.containers.rename import Rename
from naru.engine.containers.resize import Resize
from naru.engine.containers.start import Start
from naru.engine.containers.stats import Statistics
from naru.engine.containers.stop import Stop
from naru.engine.containers.teardown import Teardown
from naru.engine.containers.top import TopProcesses
from naru.engine.containers.update import Update
from naru.engine.containers.wait import Wait
from naru.kernel import block_limits
from naru.spec.containers import ContainerRecord


@dataclass(frozen=True, kw_only=True)
class ContainerParts:
    """What others need of the verbs. `recovery` takes over a former daemon's containers, after
    `lost_files` has made what they need."""

    execs: Execs
    exits: Exits
    listing: Listing
    lost_files: LostFiles
    pause: Pause
    recovery: Recovery
    remove: Remove
    start: Start
    stop: Stop


def container_parts(base: Foundation) -> ContainerParts:
    execs = Execs(
        containers=base.containers,
        runtimes=base.runtimes,
        store=ExecStore(base.config.exec_root / "execs"),
        pump=base.pump,
        tasks=base.tasks,
        acknowledge=base.supervisor.acknowledge,
        pidfd=base.supervisor.pidfd,
        stdio=base.supervisor.stdio,
    )
    health = HealthChecks(containers=base.containers, execs=execs, tasks=base.tasks)
    followers: list[Followers] = [execs, health]
    teardown = Teardown(
        layers=base.stores.layers,
        networks=base.networks,
        volumes=base.volumes,
        runtimes=base.runtimes,
        paths=base.paths,
        facts=base.facts,
    )
    start = Start(
        containers=base.containers,
        prepare=Prepare(
            containers=base.containers,
            layers=base.stores.layers,
            volumes=base.volumes,
            paths=base.paths,
            facts=base.facts,
            init_by_default=base.config.init,
            limited_by_default=any(
                option.partition("=")[0].rpartition(".")[2] == "size"
                for option in base.config.storage_opts
            ),
        ),
        networks=base.networks,
        runtimes=base.runtimes,
        logs=base.logs,
        pump=base.pump,
        teardown=teardown,
        paths=base.paths,
        tasks=base.tasks,
        followers=followers,
    )
    remove = Remove(
        containers=base.containers,
        layers=base.stores.layers,
        volumes=base.volumes,
        logs=base.logs,
        runtimes=base.runtimes,
        teardown=teardown,
        paths=base.paths,
        tasks=base.tasks,
        followers=followers,
    )
    exits = Exits(
        containers=base.containers,
        start=start,
        remove=remove,
        teardown=teardown,
        facts=base.facts,
        tasks=base.tasks,
        acknowledge=base.supervisor.acknowledge,
        exec_ended=execs.heard,
        followers=followers,
    )
    recovery = Recovery(
        containers=base.containers,
        exits=exits,
        start=start,
        remove=remove,
        teardown=teardown,
        runtimes=base.runtimes,
        logs=base.logs,
        pump=base.pump,
        paths=base.paths,
        tasks=base.tasks,
        live=base.supervisor.live,
        stdio=base.supervisor.stdio,
        followers=followers,
    )
    return ContainerParts(
        execs=execs,
        exits=exits,
        listing=Listing(
            containers=base.containers,
            images=base.library,
            layers=base.stores.layers,
            networks=base.networks,
            all_images=base.stores.records.images.values,
        ),
        lost_files=LostFiles(
            containers=base.containers, layers=base.stores.layers, paths=base.paths
        ),
        pause=Pause(containers=base.containers, runtimes=base.runtimes),
        recovery=recovery,
        remove=remove,
        start=start,
        stop=Stop(containers=base.containers, runtimes=base.runtimes),
    )


def container_routes(router: RouteTable, base: Foundation, parts: ContainerParts) -> None:
    containers, layers, runtimes = base.containers, base.stores.layers, base.runtimes
    ContainerRoutes(
        lifecycle=_lifecycle(base, parts),
        views=_views(base, parts),
        resize=Resize(containers=containers, runtimes=runtimes),
        prune=Prune(containers=containers, layers=layers, remove=parts.remove),
    ).register(router)
    ArchiveRoutes(
        files=Files(
            containers=containers, layers=layers, workers=base.stores.workers, tasks=base.tasks
        )
    ).register(router)
    ExecRoutes(execs=parts.execs).register(router)
    StreamRoutes(
        attach=Attach(containers=containers, logs=base.logs),
        logs=base.logs,
        statistics=Statistics(containers=containers, facts=base.facts),
    ).register(router)


def _lifecycle(base: Foundation, parts: ContainerParts) -> Lifecycle:
    containers, runtimes = base.containers, base.runtimes
    create = Create(
        containers=containers,
        images=base.library,
        layers=base.stores.layers,
        provision=MountProvision(containers=containers, volumes=base.volumes),
        runtimes=runtimes,
        paths=base.paths,
        defaults=settings.host_defaults(base.config, base.choices),
        controllers=base.controllers,
        logs=base.logs,
        storage_driver=lambda: base.stores.layers.driver.name,
    )
    return Lifecycle(
        containers=containers,
        create=create,
        start=parts.start,
        stop=parts.stop,
        pause=parts.pause,
        remove=parts.remove,
        rename=Rename(containers=containers, networks=base.networks),
        update=Update(
            containers=containers,
            runtimes=runtimes,
            controllers=base.controllers,
            hold=functools.partial(_hold_block_limits, base.facts),
        ),
        wait=Wait(containers=containers),
        tasks=base.tasks,
    )


def _hold_block_limits(facts: HostFacts, record: ContainerRecord, found: HostDevices) -> None:
    group = facts.limited_group(record.id, record.host_config.cgroup_parent)
    block_limits.hold(group, devices.block_limits(found))


def _views(base: Foundation, parts: ContainerParts) -> Views:
    containers, layers = base.containers, base.stores.layers
    return Views(
        listing=parts.listing,
        inspect=Inspect(
            containers=containers,
            images=base.library,
            layers=layers,
            networks=base.networks,
            logs=base.logs,
            execs=parts.execs,
            paths=base.paths,
        ),
        top=TopProcesses(containers=containers, runtimes=base.runtimes),
        changes=Changes(containers=containers, layers=layers),
        export=Export(containers=containers, layers=layers, workers=base.stores.workers),
    )
