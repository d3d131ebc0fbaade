"""The owner of the engine's long-lived asyncio work: nothing is fired and forgotten.

A task that fails is logged here with its name; `close` cancels what still runs and awaits it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Tasks:
    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run `work` to its end whatever happens to the caller."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """Await `work` for a client: its errors are the client's, but not its hanging up.

        When the caller is cancelled the work goes on to its end, and an error of it is logged.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.add_done_callback(self._ended)
            raise

    async def settled(self) -> None:
        """Wait until no task is left, those included that tasks spawn meanwhile."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def close(self, *, grace: float = 5.0) -> None:
        """Let the tasks finish within `grace` seconds, then cancel those that remain."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=grace)
        while self._running:  # also what a cancelled task spawns
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    @staticmethod
    async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Await all, begun in this order -> their results.

        When one fails the others are cancelled; all have ended before its error is raised.
        """
        tasks = [asyncio.create_task(work) for work in works]
        if not tasks:
            return []
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            pending = [task for task in tasks if not task.done()]
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        errors = [task.exception() for task in tasks if not task.cancelled()]
        if failed := next((error for error in errors if error is not None), None):
            raise failed
        return [task.result() for task in tasks]

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
