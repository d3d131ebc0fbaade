"""Layers in the making: each is made once, by the first who asks for it, while the others wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from naru.spec.errors import NaruError
from naru.spec.layers import LayerRecord


class Making:
    def __init__(self, known: Callable[[str], LayerRecord | None]) -> None:
        """`known` finds a layer that is made, by its name."""
        self._known = known
        self._tasks: dict[str, asyncio.Task[LayerRecord]] = {}
        self._placed: dict[str, asyncio.Future[str]] = {}

    def __iter__(self) -> Iterator[str]:
        """The names of those under way."""
        return iter(list(self._tasks))

    async def once(
        self, name: str, make: Callable[[], Coroutine[Any, Any, LayerRecord]]
    ) -> LayerRecord:
        while (known := self._known(name)) is None:
            task = self._tasks.get(name)
            mine = task is None
            if task is None:
                task = asyncio.create_task(make(), name=f"layer {name[:19]}")
                self._tasks[name] = task
                self._placed[name] = asyncio.get_running_loop().create_future()
                task.add_done_callback(lambda _: self._made(name))
            try:
                return await asyncio.shield(task)
            except NaruError:
                if mine:
                    raise
                # The other's tar was bad, or its download broke: ours may be whole.
        return known

    def place(self, name: str, storage_id: str) -> None:
        """Others may be put over it from now on, though it has no record yet."""
        self._placed[name].set_result(storage_id)

    async def placed(self, name: str) -> str | None:
        """Wait until another can be put over it -> its storage id; None: it is known by then."""
        if (task := self._tasks.get(name)) is None:
            return None
        placed = self._placed[name]
        both: set[asyncio.Future[Any]] = {task, placed}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if placed.done() and not placed.cancelled():
            return placed.result()
        await asyncio.shield(task)
        return None

    async def done(self, name: str) -> None:
        """Wait for it if it is under way; fails as its making does."""
        if (task := self._tasks.get(name)) is not None:
            await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _made(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._placed.pop(name).cancel()
