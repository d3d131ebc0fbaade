"""What concerns a file system as a whole."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from naru.kernel.syscalls import checked, libc


def sync_filesystem(path: Path) -> None:
    """syncfs(2): all that was written to the file system of `path` is on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        checked(libc.syncfs(ctypes.c_int(fd)), "syncfs", str(path))
    finally:
        os.close(fd)
