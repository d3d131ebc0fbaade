"""The start of the daemon: what the records say is compared with what the machine shows.

Running containers are taken up again as they are; those that ended meanwhile get their end; what a
killed daemon left half done is finished or taken away; after a reboot the restart policies decide.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from naru.engine.containers import restart_policy
from naru.engine.containers.collaborators import Followers, Logs, Runtimes, Supervised
from naru.engine.containers.containers import Containers
from naru.engine.containers.exits import Exits
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.pump import Pump
from naru.engine.containers.remains import remove_tree, unrecorded
from naru.engine.containers.remove import Remove
from naru.engine.containers.start import Start
from naru.engine.containers.streams import Stdio, Streams
from naru.engine.containers.teardown import Teardown
from naru.engine.tasks import Tasks
from naru.spec.containers import ContainerRecord, Status

log = logging.getLogger(__name__)


class Recovery:
    """Call it once: when the supervisor is connected and the networks have recovered."""

    def __init__(
        self,
        *,
        containers: Containers,
        exits: Exits,
        start: Start,
        remove: Remove,
        teardown: Teardown,
        runtimes: Runtimes,
        logs: Logs,
        pump: Pump,
        paths: ContainerPaths,
        tasks: Tasks,
        live: Callable[[], Awaitable[Iterable[Supervised]]],
        stdio: Callable[[str], Awaitable[Stdio]],
        followers: Sequence[Followers] = (),
    ) -> None:
        self._containers = containers
        self._exits = exits
        self._start = start
        self._remove = remove
        self._teardown = teardown
        self._runtimes = runtimes
        self._logs = logs
        self._pump = pump
        self._paths = paths
        self._tasks = tasks
        self._live = live
        self._stdio = stdio
        self._followers = followers

    async def __call__(self) -> None:
        # Looked at once: what ends from now on is heard of in the ordinary way, however late.
        processes = {
            each.container_id: each.pid for each in await self._live() if each.exec_id is None
        }
        await self._adopt(processes)
        # Before anything ends: then a directory without a record may be a removal under way.
        await self._clear_leftovers()
        await self._exits.begin()
        await self._finish(processes)

    async def _adopt(self, processes: Mapping[str, int]) -> None:
        """Take up the stdio of every recorded process that the supervisor still knows.

        Also of those that have ended: their output must be in the log before their end is recorded.
        """
        for record in self._containers.all():
            if record.running and await self._take_up(record) and record.id in processes:
                for follower in self._followers:
                    follower.started(record)

    async def _take_up(self, record: ContainerRecord) -> bool:
        runtime = self._runtimes.get(record.host_config.runtime)
        if runtime is None:
            log.error(
                "container %s runs under the runtime %s, which is not configured any more",
                record.id[:12],
                record.host_config.runtime,
            )
            return False
        live = self._containers.live(record)
        live.streams = Streams.start(
            await self._stdio(record.id),
            tty=record.config.tty,
            log=self._logs.intake(record, resumed=True),
            stdin_once=record.config.stdin_once,
            close_stdin=functools.partial(runtime.close_stdin, record.id),
            pump=self._pump,
            point=live.attach_point,
        )
        return True

    async def _finish(self, processes: Mapping[str, int]) -> None:
        """Starts that were not recorded, ends that nobody saw; then the restart policies."""
        records = self._containers.all()
        await self._kill_unrecorded(processes, records)
        for record in records:
            if record.running and processes.get(record.id) != record.state.pid:
                await self._exits.lost(record)
        waiting = [record for record in self._containers.all() if not record.running]
        for record in waiting:
            await self._settle(record)

    async def _kill_unrecorded(
        self, processes: Mapping[str, int], records: Sequence[ContainerRecord]
    ) -> None:
        """A process that was started just before the daemon died, its start not recorded."""
        running = {record.id for record in records if record.running}
        for container_id in processes.keys() - running:
            log.warning("container %s: its start was not recorded; undoing it", container_id[:12])
            record = self._containers.get(container_id)
            if record is not None:
                await self._teardown.everything(record)

    async def _settle(self, record: ContainerRecord) -> None:
        """One that does not run: what its last run left goes, then its restart policy decides."""
        live = self._containers.live(record)
        host = record.host_config
        if host.auto_remove:
            # Also one that was never started, as dockerd does: whoever ran it is gone.
            await self._finish_removal(record)
            return
        if live.teardown is None and self._paths.bundle(record.id).exists():
            live.teardown = self._tasks.spawn(
                self._teardown.everything(record), name=f"teardown of {record.id[:12]}"
            )
        if record.state.status is Status.RESTARTING:
            if live.restart_timer is None:
                self._exits.restart_later(record, live)
            return
        ran = record.state.status is not Status.CREATED
        if ran and restart_policy.starts_with_daemon(
            host.restart_policy, stopped_by_user=record.stopped_by_user
        ):
            self._tasks.spawn(self._start_again(record), name=f"start of {record.id[:12]}")

    async def _finish_removal(self, record: ContainerRecord) -> None:
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is not None and not present.running:
                await self._teardown.everything(present)
                await self._remove.finish(present, live, volumes=True)

    async def _start_again(self, record: ContainerRecord) -> None:
        try:
            await self._start(record.id)
        except Exception as error:
            log.warning("container %s does not start: %s", record.id[:12], error)

    async def _clear_leftovers(self) -> None:
        """Directories without a record: a create or a removal that a kill interrupted."""
        for container_id in await unrecorded(self._containers, self._paths.containers):
            log.info("container %s: taking away what is left of it", container_id[:12])
            try:
                await self._remove.recover(container_id)
            except Exception:
                log.exception("container %s: leftovers stay", container_id[:12])
        for container_id in await unrecorded(self._containers, self._paths.bundles):
            await asyncio.to_thread(remove_tree, self._paths.bundle(container_id))
