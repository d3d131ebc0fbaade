"""Which members of an archive may be unpacked in a process beside the one that reads it.

Small files, whose order among the other members does not matter: a file is only given away where
its directory was made while unpacking, by no way of a link, so that its name is the only one it can
be reached by. What follows waits for those given away if it has the same name, may lead to one of
them by another name, or changes what is in their directories.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from naru.kernel import workers_main
from naru.store.scribe import Record, Scribe
from naru.store.tarentry import HARDLINK, REGULAR, Entry

_BEGIN: Final = 3000
"""Files from which on another process is worth its start."""
_MOST: Final = 20_000
"""Files given away that are remembered."""


class Beside:
    """`write(path, entry, data)` is what the other process does with a file.

    `settled()` is told when it has done all; it may have put files in the place of directories.
    """

    def __init__(
        self, write: Callable[[str, Entry, memoryview], None], settled: Callable[[], None]
    ) -> None:
        self._write = write
        self._settled = settled
        # Elsewhere a fork would be one of a process with many threads, and many locks.
        self._may = workers_main.in_worker and len(os.sched_getaffinity(0)) > 1
        self._scribe: Scribe | None = None
        self._seen = 0
        self._plain = {""}  # directories that their name leads to without a link
        self._shut: set[str] = set()  # those among them whose files stay here
        self._given: set[str] = set()  # files that may not be there yet

    def takes(self, path: str, parent: str) -> bool:
        """Whether the file at `path`, in that directory, may be given away."""
        if not self._may or parent not in self._plain or parent in self._shut:
            return False
        if path in self._plain:
            return False
        self._seen += 1
        return self._seen > _BEGIN

    def give(self, path: str, entry: Entry, data: memoryview) -> None:
        if self._scribe is None:
            self._scribe = Scribe(self._write_record)
        if len(self._given) >= _MOST:
            self.settle()
        self._given.add(path)
        owner = (entry.uid, entry.gid)
        self._scribe.give((path, entry.mode, *owner, entry.mtime, entry.xattrs, len(data)), data)

    def before(self, kind: str, path: str, parent: str) -> None:
        """A member is going to be unpacked here."""
        if self._given and (
            kind == HARDLINK or parent not in self._plain or path in self._given
        ):  # fmt: skip
            self.settle()

    def made(self, path: str) -> None:
        """A directory was made."""
        if self._may and path.rpartition("/")[0] in self._plain:
            self._plain.add(path)

    def shut(self, path: str) -> None:
        """A directory that was there before gets other attributes, which its files may inherit."""
        self.settle()
        self._shut.add(path)

    def reset(self) -> None:
        """Something that is there is going to be removed, with all below it."""
        self.settle()
        self.close()  # it keeps directories open
        self._plain, self._shut = {""}, self._shut & {""}

    def settle(self) -> None:
        """Wait until all that was given away is there; raises what failed."""
        if self._given and self._scribe is not None:
            self._scribe.settle()
            self._given.clear()
            self._settled()

    def close(self) -> None:
        """End the other process, which begins again with as many files as before."""
        if self._scribe is not None:
            self._scribe.close()
            self._scribe, self._seen = None, 0

    def _write_record(self, record: Record, data: memoryview) -> None:
        path, mode, uid, gid, mtime, xattrs, size = record
        self._write(path, Entry(path, REGULAR, mode, uid, gid, size, mtime, xattrs=xattrs), data)
