"""From a configuration to the whole engine: with `assembly`, the only place that names concrete
classes. `assembly.foundation` makes what everything stands on, the others put the parts on it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from naru.api.router import RouteTable
from naru.api.routes.networks import NetworkRoutes
from naru.api.routes.volumes import VolumeRoutes
from naru.daemon.assembly import settings
from naru.daemon.assembly.containers import container_parts, container_routes
from naru.daemon.assembly.foundation import Foundation, lay
from naru.daemon.assembly.images import image_routes
from naru.daemon.assembly.system import installation, system_parts
from naru.daemon.config import Config
from naru.daemon.prelude import Prelude
from naru.kernel import cgroups

log = logging.getLogger(__name__)


def build(config: Config, begun: Prelude) -> App:
    """Open the stores and put the engine together; nothing is taken over yet."""
    return App(lay(config, begun))


class App:
    """The engine, whole. `start` before the first request, `stop` after the last."""

    def __init__(self, base: Foundation) -> None:
        self.router = RouteTable()
        self._base = base
        self._transport = settings.transport(base.config)
        self._containers = container_parts(base)
        container_routes(self.router, base, self._containers)
        images = image_routes(self.router, base, self._containers, self._transport)
        NetworkRoutes(networks=base.networks).register(self.router)
        VolumeRoutes(volumes=base.volumes).register(self.router)
        self._system = system_parts(self.router, base, self._containers, images)
        base.supervisor.on_exit = self._containers.exits.heard

    async def start(self) -> None:
        """Take over what runs; the order is that of `Recovery`."""
        base = self._base
        networks = asyncio.ensure_future(base.networks.start())
        try:
            await base.stores.layers.recover()
            await base.library.sweeper.recover()
            await base.volumes.recover()
            await self._containers.lost_files.restore()
            for runtime in base.runtimes.values():
                await asyncio.to_thread(runtime.recover)
            await base.supervisor.connect()
        finally:
            await asyncio.wait({networks})
        networks.result()
        await base.networks.recover([r for r in base.containers.all() if r.running])
        await self._containers.execs.recover()
        await self._containers.recovery()
        await self._system.migration.recover()

    async def stop(self) -> None:
        """End what is under way; containers run on, under the supervisor, if there are any."""
        base = self._base
        await base.tasks.close()
        await self._containers.execs.leave()
        for live in base.lives:
            if live.streams is not None:
                await live.streams.leave()
        await base.networks.stop()
        await self._quit_supervisor()
        await self._transport.close()
        await base.stores.layers.close()
        await asyncio.to_thread(base.pump.close)
        await asyncio.to_thread(base.warmth.close)
        await base.stores.records.close()

    async def reload(self, config: Config) -> None:
        self._base = replace(self._base, config=config)
        self._base.stores.room.floor = config.min_free_space
        self._system.system.installation = installation(self._base)

    async def _quit_supervisor(self) -> None:
        """A supervisor that keeps nothing is not needed until the next start."""
        supervisor, begun = self._base.supervisor, self._base.begun
        try:
            if not await supervisor.live() and await supervisor.quit():
                await asyncio.to_thread(cgroups.remove_shared_parent, begun.hierarchies)
                await asyncio.to_thread(begun.hybrid.release)
        except Exception:
            log.exception("the supervisor stays")
        await supervisor.close()
