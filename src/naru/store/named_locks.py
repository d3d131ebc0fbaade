"""A lock for each name, kept for as long as somebody has it or waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager


class NamedLocks:
    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def __iter__(self) -> Iterator[str]:
        """The names whose lock somebody has, or waits for."""
        return iter(list(self._locks))

    def __contains__(self, name: object) -> bool:
        return name in self._locks

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            # Not by `locked()`: between a release and the next one's turn it is False.
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
