"""The engine as a whole: info, events, disk usage, checks, and the tools on storage drivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from naru.api.router import RouteTable
from naru.api.routes.absent import AbsentRoutes
from naru.api.routes.disk import DiskRoutes
from naru.api.routes.storage import StorageRoutes
from naru.api.routes.system import SystemRoutes
from naru.daemon.assembly import settings
from naru.daemon.assembly.containers import ContainerParts
from naru.daemon.assembly.foundation import Foundation
from naru.engine.check.blobs import BlobInspection
from naru.engine.check.check import Check
from naru.engine.check.containers import ContainerInspection
from naru.engine.check.images import ImageInspection
from naru.engine.check.layers import LayerInspection
from naru.engine.check.migration import MigrationInspection
from naru.engine.check.volumes import VolumeInspection
from naru.engine.disk.ledger import Ledger
from naru.engine.disk_usage import DiskUsage
from naru.engine.events import Events
from naru.engine.images.listing import Listing as ImageListing
from naru.engine.storage.bench import StorageBench
from naru.engine.storage.halting import Halting
from naru.engine.storage.inspect import InspectLayers
from naru.engine.storage.migrate import Migration
from naru.engine.system import Installation, System


@dataclass(frozen=True, kw_only=True)
class SystemParts:
    migration: Migration
    system: System


def system_parts(
    router: RouteTable, base: Foundation, parts: ContainerParts, images: ImageListing
) -> SystemParts:
    """The services with their routes registered."""
    usage = _disk_usage(base, parts, images)
    system = _system(base)
    AbsentRoutes().register(router)
    SystemRoutes(
        info=system.info,
        version=system.version,
        events=Events(records=base.stores.records),
        disk_usage={
            "image": usage.of_images,
            "container": usage.of_containers,
            "volume": usage.of_volumes,
            "build-cache": usage.of_build_cache,
        },
    ).register(router)

    def switched() -> None:
        driver = base.stores.layers.driver.name
        system.installation = msgspec.structs.replace(system.installation, storage_driver=driver)

    migration = _migration(base, parts, switched)
    DiskRoutes(usage=usage, check=_check(base, parts, migration)).register(router)
    StorageRoutes(
        migration=migration,
        inspect=InspectLayers(
            containers=base.containers, library=base.library, layers=base.stores.layers
        ),
        bench=StorageBench(data_root=base.config.data_root),
    ).register(router)
    return SystemParts(migration=migration, system=system)


def installation(base: Foundation) -> Installation:
    driver = base.stores.layers.driver.name
    return settings.installation(base.config, base.choices, base.facts, driver)


def _system(base: Foundation) -> System:
    records = base.stores.records
    return System(
        installation=installation(base),
        containers=base.containers.all,
        image_count=lambda: len(records.images),
        event_listeners=lambda: records.listeners,
        driver_status=lambda: base.stores.layers.driver.status(),
        cgroups=base.facts.hierarchies,
    )


def _disk_usage(base: Foundation, parts: ContainerParts, images: ImageListing) -> DiskUsage:
    return DiskUsage(
        records=base.stores.records,
        ledger=Ledger(
            root=base.config.data_root,
            records=base.stores.records,
            driver=lambda: base.stores.layers.driver,
        ),
        room=base.stores.room,
        images=images,
        containers=parts.listing,
        volumes=base.volumes,
    )


def _check(base: Foundation, parts: ContainerParts, migration: Migration) -> Check:
    return Check(
        inspections=[
            ImageInspection(library=base.library),
            BlobInspection(library=base.library),
            LayerInspection(
                library=base.library,
                busy=base.containers.unrecorded,
                again=parts.lost_files.again,
            ),
            ContainerInspection(
                containers=base.containers,
                paths=base.paths,
                layers=base.stores.layers,
                finish_removal=parts.remove.recover,
                detach=base.networks.detach,
                make_directory=parts.lost_files.make_directory,
            ),
            VolumeInspection(volumes=base.volumes),
            MigrationInspection(records=base.stores.records, under_way=lambda: migration.under_way),
        ]
    )


def _migration(base: Foundation, parts: ContainerParts, switched: Callable[[], None]) -> Migration:
    return Migration(
        layers=base.stores.layers,
        library=base.library,
        containers=base.containers,
        halting=Halting(
            records=base.library.records,
            layers=base.stores.layers,
            containers=base.containers,
            stop=parts.stop,
            start=parts.start,
            pause=parts.pause,
        ),
        tasks=base.tasks,
        switched=switched,
        named=base.config.storage_driver,
        options=base.config.storage_opts,
    )
