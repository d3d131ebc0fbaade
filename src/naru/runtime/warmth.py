"""Keeps cgroup v1 attaches fast while a start is being prepared.

The first write to a `cgroup.procs` after a pause waits for an RCU grace period (6 to 12 ms): the
kernel's cgroup_threadgroup_rwsem favours fork and exit until somebody writes. Writes that follow
soon are free. So from the moment a start is announced until shortly after, a thread writes this
process into the group in which it already is, every 3 ms: nothing moves, but the lock is taken.

Needed on cgroup v1 only (on v2 a runtime clones into the group), and not where the kernel favours
writers (mount option `favordynmods`): the first write after a pause tells.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from naru.kernel import cgroups

log = logging.getLogger(__name__)

_PERIOD = 0.003
_LINGER = 0.060  # a `docker run` creates its container 10 to 20 ms before it starts it
_FREE = 0.001  # a write below this did not wait for a grace period


class CgroupWarmth:
    """`hierarchy`: where a cgroup v1 hierarchy is mounted; None where there is nothing to do."""

    def __init__(self, hierarchy: Path | None) -> None:
        self._hierarchy = hierarchy
        self._until = 0.0
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def for_this_machine(cls) -> CgroupWarmth:
        return cls(cgroups.detect().v1.get("pids"))

    def expect(self) -> None:
        """A start comes within the next tens of milliseconds. Never blocks."""
        if self._hierarchy is None:
            return
        self._until = time.monotonic() + _LINGER
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="cgroup-warmth", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        self._hierarchy = None
        self._until = 0.0
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        free = 0
        try:
            while (hierarchy := self._hierarchy) is not None:
                self._wanted.wait()
                self._wanted.clear()
                first = self._burst(cgroups.own_group(hierarchy) / "cgroup.procs")
                # Three times free after a pause: this kernel does not make a writer wait.
                free = free + 1 if first < _FREE else 0
                if free == 3:
                    self._hierarchy = None
        except OSError as error:
            self._hierarchy = None
            log.info("starts will wait for cgroup attaches: %s", error)

    def _burst(self, procs: Path) -> float:
        """Write until no start is expected any more -> how long the first write took."""
        first = 0.0
        fd = os.open(procs, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while time.monotonic() < self._until:
                before = time.monotonic()
                os.write(fd, b"0")
                first = first or time.monotonic() - before
                time.sleep(_PERIOD)
        finally:
            os.close(fd)
        return first
