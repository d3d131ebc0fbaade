"""The verbs of containers as the API calls them: each runs to its end whatever its client does."""

from __future__ import annotations

import asyncio
import contextlib

from naru.engine.containers.containers import Containers
from naru.engine.containers.create import Create, Created, Request
from naru.engine.containers.live import Ended
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.pause import Pause
from naru.engine.containers.remove import Remove
from naru.engine.containers.rename import Rename
from naru.engine.containers.start import Start
from naru.engine.containers.stop import Stop
from naru.engine.containers.update import DeviceLimits, Update
from naru.engine.containers.wait import Wait
from naru.engine.tasks import Tasks
from naru.spec.containers import HostConfig
from naru.spec.errors import NaruError


class Lifecycle:
    def __init__(
        self,
        *,
        containers: Containers,
        create: Create,
        start: Start,
        stop: Stop,
        pause: Pause,
        remove: Remove,
        rename: Rename,
        update: Update,
        wait: Wait,
        tasks: Tasks,
    ) -> None:
        self._containers = containers
        self._create = create
        self._start = start
        self._stop = stop
        self._pause = pause
        self._remove = remove
        self._rename = rename
        self._update = update
        self._wait = wait
        self._tasks = tasks

    async def create(self, request: Request) -> Created:
        return await self._tasks.finish(self._create(request), name="create")

    async def start(self, ref: str) -> bool:
        """-> False when it runs already."""
        return await self._tasks.finish(self._started(ref), name=f"start {ref}")

    async def stop(self, ref: str, *, signal: str = "", timeout: int | None = None) -> bool:
        """-> False when it does not run."""
        work = self._stop.stop(ref, signal=signal, timeout=timeout)
        return await self._tasks.finish(work, name=f"stop {ref}")

    async def kill(self, ref: str, *, signal: str = "") -> None:
        await self._tasks.finish(self._stop.kill(ref, signal=signal), name=f"kill {ref}")

    async def restart(self, ref: str, *, signal: str = "", timeout: int | None = None) -> None:
        work = self._restarted(ref, signal, timeout)
        await self._tasks.finish(work, name=f"restart {ref}")

    async def pause(self, ref: str) -> None:
        await self._tasks.finish(self._pause.pause(ref), name=f"pause {ref}")

    async def unpause(self, ref: str) -> None:
        await self._tasks.finish(self._pause.unpause(ref), name=f"unpause {ref}")

    async def rename(self, ref: str, new_name: str) -> None:
        await self._tasks.finish(self._rename(ref, new_name), name=f"rename {ref}")

    async def update(
        self, ref: str, asked: HostConfig, limits: DeviceLimits | None = None
    ) -> list[str]:
        return await self._tasks.finish(self._update(ref, asked, limits), name=f"update {ref}")

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False) -> None:
        work = self._remove(ref, force=force, volumes=volumes)
        await self._tasks.finish(work, name=f"remove {ref}")

    def wait(self, ref: str, condition: str = "") -> asyncio.Future[Ended]:
        """Registered when this returns; cancel the future to give up."""
        return self._wait.begin(ref, condition)

    async def _started(self, ref: str) -> bool:
        record = self._containers.find(ref)
        try:
            return await self._start(record.id)
        except NaruError:
            present = self._containers.get(record.id)
            if present is not None and present.host_config.auto_remove and not present.running:
                # `--rm` holds for a container that never ran, too.
                with contextlib.suppress(NaruError):
                    await self._remove(record.id, force=True, volumes=True)
            raise

    async def _restarted(self, ref: str, signal: str, timeout: int | None) -> None:
        record = self._containers.find(ref)
        live = self._containers.live(record)
        live.kept = True
        try:
            await self._stop.stop(record.id, signal=signal, timeout=timeout)
        finally:
            live.kept = False
        await self._start(record.id)
        present = self._containers.get(record.id)
        if present is not None:
            await self._containers.tell(occurrence(present, "restart"))
