"""Paths opened inside a directory as if it were "/": no symlink, ".." or mount leads out of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import posixpath

from naru.kernel.syscalls import syscall

_OPENAT2 = 437
_NO_MAGIC_LINKS = 0x02
_IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """openat2(2) with RESOLVE_IN_ROOT -> a new file descriptor; `OSError` as open(2) raises it."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _IN_ROOT | _NO_MAGIC_LINKS)
    try:
        return syscall(
            _OPENAT2,
            ctypes.c_int(root),
            ctypes.c_char_p(os.fsencode(path) or b"."),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
            what="openat2",
        )
    except OSError as error:
        error.filename = path
        raise


def make_directories(root: int, path: str, *, mode: int = 0o755, owner: tuple[int, int]) -> bool:
    """mkdir -p inside `root`; what is made belongs to `owner`. -> whether the last one was made."""
    made = False
    reached = "/"
    for name in filter(None, posixpath.normpath("/" + path).split("/")):
        parent = open_in_root(root, reached, os.O_PATH | os.O_DIRECTORY)
        try:
            made = False
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, mode, dir_fd=parent)
                os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
                made = True
        finally:
            os.close(parent)
        reached = posixpath.join(reached, name)
    # A path that ends in something else than a directory is the caller's error to hear of.
    os.close(open_in_root(root, reached, os.O_PATH | os.O_DIRECTORY))
    return made
