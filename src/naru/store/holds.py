"""Layers that are kept though no image or container needs them yet, or any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any


class Holds:
    """Each is held as often as it was taken. What was passed over by a removal for that is
    removed when the last holder lets go."""

    def __init__(self, remove_unused: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._remove_unused = remove_unused
        self._counts: dict[str, int] = {}
        self._passed_over: set[str] = set()
        self._belated: set[asyncio.Future[object]] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._counts))

    def __contains__(self, chain: object) -> bool:
        return chain in self._counts

    def take(self, chain: str) -> None:
        self._counts[chain] = self._counts.get(chain, 0) + 1

    def drop(self, chain: str) -> None:
        left = self._counts.get(chain, 0) - 1
        if left > 0:
            self._counts[chain] = left
            return
        self._counts.pop(chain, None)
        if chain in self._passed_over:
            task = asyncio.ensure_future(self._remove_unused())
            self._belated.add(task)
            task.add_done_callback(self._belated.discard)

    def pass_over(self, needed: Iterable[str]) -> None:
        """A removal has left all that is held; but for `needed`, that was the only reason."""
        self._passed_over = set(self._counts).difference(needed)

    async def settled(self) -> None:
        """Wait for the removals that are under way since somebody let go."""
        await asyncio.gather(*self._belated, return_exceptions=True)
