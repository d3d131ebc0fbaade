"""One thread that reads the output of all processes, so that no container slows the event loop.

Reading, log encoding and log writing happen here; a read or a write releases the interpreter, and
what is encoded at a time is one pipe's content, so the loop waits less than a millisecond for it.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)


class Pump:
    """`call` may be used from everywhere; `watch` and `unwatch` only inside the pump's thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._calls: deque[Callable[[], None]] = deque()
        self._readers: dict[int, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closing = False

    def call(self, action: Callable[[], None]) -> None:
        """Run `action` in the pump's thread, in the order of the calls."""
        self._calls.append(action)
        self._start()
        os.eventfd_write(self._wake, 1)

    def watch(self, fd: int, on_readable: Callable[[], None]) -> None:
        self._readers[fd] = on_readable
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Do what was called so far, then end the thread. Nothing may be called afterwards."""
        if self._thread is not None:
            self.call(self._stop)
            self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def _start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="pump", daemon=True)
                    self._thread = thread
                    thread.start()

    def _stop(self) -> None:
        self._closing = True

    def _run(self) -> None:
        while not self._closing:
            for fd, _ in self._epoll.poll():
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                    while self._calls:
                        self._guarded(self._calls.popleft())
                elif (reader := self._readers.get(fd)) is not None:
                    self._guarded(reader)

    @staticmethod
    def _guarded(action: Callable[[], None]) -> None:
        # One container's failure must not end the thread that serves them all.
        try:
            action()
        except Exception:
            log.exception("the pump caught an error")
