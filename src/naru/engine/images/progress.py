"""The JSON messages of long image work, and their way to any number of watchers.

A watcher that reads slowly, or joins late, gets every change of state and the newest figures,
not every figure on the way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

Message = dict[str, Any]

_UNITS = ("B", "kB", "MB", "GB", "TB")
_BAR = 50
_EVERY = 0.1  # seconds between two figures of one layer


def status(text: str, id: str = "") -> Message:
    return {"status": text, "id": id} if id else {"status": text}


def step(text: str, id: str) -> Message:
    """A layer's change of state."""
    return {"status": text, "progressDetail": {}, "id": id}


def figures(text: str, id: str, current: int, total: int) -> Message:
    """A layer's bytes so far, also as the bar that plain clients print."""
    return {
        "status": text,
        "progressDetail": {"current": current, "total": total} if total else {"current": current},
        "progress": _bar(current, total),
        "id": id,
    }


def failure(text: str) -> Message:
    return {"errorDetail": {"message": text}, "error": text}


def human_size(size: float) -> str:
    """Three or four digits, decimal units: 1.234MB, as Docker prints sizes."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"


def _bar(current: int, total: int) -> str:
    if not total:
        return f"{human_size(current):>8}"
    done = min(_BAR, current * _BAR // total)
    head = "=" * done + ">" + " " * (_BAR - done) if done < _BAR else "=" * _BAR + ">"
    return f"[{head}]  {human_size(current):>7}/{human_size(total)}"


class Progress:
    """Written by one piece of work, read by those who asked for it."""

    def __init__(self) -> None:
        self._history: list[Message] = []
        self._watchers: set[_Watcher] = set()
        self._last: dict[str, float] = {}
        self.done = False
        self.error: BaseException | None = None

    def emit(self, message: Message) -> None:
        self._history.append(message)
        for watcher in self._watchers:
            watcher.push(message)

    def figures(self, text: str, id: str, current: int, total: int) -> None:
        """Like `emit(figures(...))`, at most ten times a second for each layer."""
        now = time.monotonic()
        if current < total and now - self._last.get(id, 0.0) < _EVERY:
            return
        self._last[id] = now
        message = figures(text, id, current, total)
        for watcher in self._watchers:
            watcher.push(message, replaces=(id, text))

    def finish(self, error: BaseException | None = None) -> None:
        self.done, self.error = True, error
        for watcher in self._watchers:
            watcher.changed.set()

    async def watch(self) -> AsyncIterator[Message]:
        """All messages from the first one on; raises what the work raised."""
        watcher = _Watcher(self._history)
        self._watchers.add(watcher)
        try:
            while True:
                for message in watcher.take():
                    yield message
                if self.done and not watcher.waiting:
                    if self.error is not None:
                        raise self.error
                    return
                if not watcher.waiting:
                    await watcher.changed.wait()
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, history: list[Message]) -> None:
        self.changed = asyncio.Event()
        self.waiting: dict[object, Message] = dict(enumerate(history))
        self._count = len(history)

    def push(self, message: Message, replaces: object = None) -> None:
        if replaces is None:
            self._count += 1
            replaces = self._count
        else:
            self.waiting.pop(replaces, None)
        self.waiting[replaces] = message
        self.changed.set()

    def take(self) -> list[Message]:
        messages = list(self.waiting.values())
        self.waiting.clear()
        self.changed.clear()
        return messages
