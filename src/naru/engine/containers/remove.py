"""`DELETE /containers/{id}`: the record goes first, then, in the background, what it had on disk.

The container's directory goes last. A directory without a record is the mark of a removal that a
kill has interrupted; recovery finishes it, anonymous volumes included.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack

from naru.engine.containers import doomed_volumes, signals, transitions
from naru.engine.containers.collaborators import Followers, Layers, Logs, Runtimes, Volumes
from naru.engine.containers.containers import Containers
from naru.engine.containers.live import Ended, Live
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.persevere import persevere
from naru.engine.containers.remains import remove_tree
from naru.engine.containers.teardown import Teardown
from naru.engine.tasks import Tasks
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, InternalError, NaruError, NotFound

log = logging.getLogger(__name__)

_KILL_SECONDS = 10.0


class Remove:
    def __init__(
        self,
        *,
        containers: Containers,
        layers: Layers,
        volumes: Volumes,
        logs: Logs,
        runtimes: Runtimes,
        teardown: Teardown,
        paths: ContainerPaths,
        tasks: Tasks,
        followers: Sequence[Followers] = (),
    ) -> None:
        self._containers = containers
        self._layers = layers
        self._volumes = volumes
        self._logs = logs
        self._runtimes = runtimes
        self._teardown = teardown
        self._paths = paths
        self._tasks = tasks
        self._followers = followers

    async def __call__(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        record = self._containers.find(ref)
        live = self._containers.live(record)
        if live.removing:
            raise Conflict(f"removal of container {ref} is already in progress")
        try:
            transitions.may_remove(record, force=force)
        except Conflict:
            # Its end may be about to be recorded: whoever followed the log knows of it already.
            async with live.lock:
                transitions.may_remove(self._containers.find(record.id), force=force)
        live.removing = True
        try:
            live.cancel_restart()
            while not await self._remove(record, live, force=force, volumes=volumes):
                pass
        finally:
            live.removing = False

    async def _remove(
        self, record: ContainerRecord, live: Live, *, force: bool, volumes: bool
    ) -> bool:
        """-> False when a start that was under way has come first: once more."""
        present = self._containers.get(record.id)
        if present is not None and present.running:
            await self._kill(present, live)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None:
                return True  # it removed itself
            transitions.may_remove(present, force=force)
            if present.running:
                return False
            await self.finish(present, live, volumes=volumes)
        return True

    async def finish(self, record: ContainerRecord, live: Live, *, volumes: bool) -> None:
        """With the lock held, of a container at rest: its record goes, then all the rest."""
        doomed = self._anonymous_volumes(record) if volumes else []
        if any(point.type == "volume" for point in record.mounts):
            # Also when none go: the create has left a note of them.
            directory = self._paths.directory(record.id)
            await asyncio.to_thread(doomed_volumes.note, directory, doomed)
        with ExitStack() as begun:
            begun.enter_context(self._containers.leaving(record.id))
            await self._delete(record, live, doomed)
            self._tasks.spawn(
                self._discard(record.id, live.teardown, begun.pop_all()),
                name=f"removal of {record.id[:12]}",
            )

    async def _delete(self, record: ContainerRecord, live: Live, doomed: Sequence[str]) -> None:
        await self._containers.delete(record, occurrence(record, "destroy"))
        live.attach_point.close()
        for follower in self._followers:
            follower.removed(record.id)
        await self._remove_volumes(doomed)
        live.announce_removal(Ended(record.state.exit_code))

    async def recover(self, container_id: str) -> None:
        """Finish a removal, or undo a create, that left a directory without a record."""
        with ExitStack() as begun:
            begun.enter_context(self._containers.leaving(container_id))
            await self._recover(container_id)
            await self._discard(container_id, None, begun.pop_all())

    async def _recover(self, container_id: str) -> None:
        directory = self._paths.directory(container_id)
        doomed = await asyncio.to_thread(doomed_volumes.noted, directory)
        for runtime in self._runtimes.values():
            await runtime.delete(container_id)
        await self._remove_volumes(doomed)

    async def _kill(self, record: ContainerRecord, live: Live) -> None:
        exited = live.next_exit()
        runtime = self._runtimes[record.host_config.runtime]
        try:
            await runtime.kill(record.id, signals.KILL)
            if record.state.status is Status.PAUSED:
                await runtime.resume(record.id)  # a frozen process does not even die
        except NaruError as error:
            # Most likely it has ended, which is told soon.
            log.info("container %s is not killed: %s", record.id[:12], error)
        try:
            await asyncio.wait_for(exited, _KILL_SECONDS)
        except TimeoutError:
            raise InternalError(
                f'cannot remove container "/{record.name}": could not kill container: '
                "tried to kill container, but did not receive an exit event"
            ) from None

    def _anonymous_volumes(self, record: ContainerRecord) -> Sequence[str]:
        """Those that were made for this container and that no other container has taken over."""
        others = {
            point.name
            for other in self._containers.all()
            if other.id != record.id
            for point in other.mounts
        }
        return [
            point.name
            for point in record.mounts
            if point.type == "volume"
            and point.name not in others
            and self._is_anonymous(point.name)
        ]

    def _is_anonymous(self, name: str) -> bool:
        try:
            return self._volumes.get(name).anonymous
        except NotFound:
            return False

    async def _remove_volumes(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                await self._volumes.remove(name, force=True)
            except NaruError as error:
                log.warning("anonymous volume %s stays: %s", name, error)

    async def _discard(
        self, container_id: str, teardown: asyncio.Task[None] | None, begun: ExitStack
    ) -> None:
        with begun:
            if teardown is not None:
                await asyncio.wait({teardown})
            await persevere(
                lambda: self._remove_files(container_id), f"removal of {container_id[:12]}"
            )

    async def _remove_files(self, container_id: str) -> None:
        await self._layers.remove_writable(container_id)
        await self._logs.remove(container_id)
        await asyncio.to_thread(remove_tree, self._paths.bundle(container_id))
        await asyncio.to_thread(remove_tree, self._paths.directory(container_id))
