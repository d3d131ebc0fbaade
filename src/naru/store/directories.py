"""The directories below a root, kept open while an archive is unpacked into them.

Each is resolved by openat2 with RESOLVE_IN_ROOT, once: links lead where they would lead if the root
were `/`, `..` stops there, and magic links are refused.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections import OrderedDict
from collections.abc import Callable

from naru.kernel.syscalls import syscall

_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HOW = struct.pack("QQQ", _FLAGS, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
_KEPT = 256


class Directories:
    """By path relative to the root, "" for the root itself. `made(path)` is told of new parents."""

    def __init__(self, root: str | os.PathLike[str], *, made: Callable[[str], object]) -> None:
        self.root = os.open(root, _FLAGS)
        self._made = made
        self._open: OrderedDict[str, tuple[int, bool]] = OrderedDict({"": (self.root, True)})
        self.stale: list[int] = []  # of a former tree, closed when nobody uses them

    def close(self) -> None:
        self.forget()
        self.close_stale()
        os.close(self.root)
        self._open.clear()

    def get(self, path: str) -> tuple[int, bool]:
        """An open directory, made with its parents where the archive left it out.

        -> (descriptor, whether new files in it might get another group than ours). It stays open
        until the next `close_stale`, or for a few hundred other directories.
        """
        known = self._open.get(path)
        if known is not None:
            if path:
                self._open.move_to_end(path)
            return known
        try:
            fd = self.open(path)
        except FileNotFoundError:
            fd = self._make_parents(path)
        inherits = bool(os.fstat(fd).st_mode & stat.S_ISGID)
        self._open[path] = (fd, inherits)
        if len(self._open) > _KEPT:
            oldest = next(key for key in self._open if key)
            os.close(self._open.pop(oldest)[0])
        return fd, inherits

    def find(self, path: str) -> tuple[int, bool]:
        """Like `get` of one that must be there -> (descriptor, whether the caller closes it)."""
        known = self._open.get(path)
        return (known[0], False) if known else (self.open(path or "."), True)

    def open(self, path: str) -> int:
        """A descriptor of the caller's own."""
        return syscall(
            _OPENAT2,
            ctypes.c_int(self.root),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_char_p(_HOW),
            ctypes.c_size_t(len(_HOW)),
            what="openat2",
        )

    def _make_parents(self, path: str) -> int:
        missing = [path]
        while True:
            parent = missing[-1].rpartition("/")[0]
            try:
                fd = self.open(parent or ".")
                break
            except FileNotFoundError:
                missing.append(parent)
        for step in reversed(missing):
            try:
                os.mkdir(step.rpartition("/")[2], 0o755, dir_fd=fd)
            finally:
                os.close(fd)
            self._made(step)
            fd = self.open(step)
        return fd

    def changed(self, path: str) -> None:
        """The directory's mode is another now."""
        if not path:
            inherits = bool(os.fstat(self.root).st_mode & stat.S_ISGID)
            self._open[""] = (self.root, inherits)
        elif path in self._open:
            self.stale.append(self._open.pop(path)[0])

    def forget(self) -> None:
        """Look every directory up again: a link or a directory on the way may have changed."""
        self.stale += [fd for path, (fd, _inherits) in self._open.items() if path]
        self._open = OrderedDict({"": self._open[""]})

    def close_stale(self) -> None:
        """Call when no descriptor that `get` gave is in use."""
        for fd in self.stale:
            os.close(fd)
        self.stale.clear()
