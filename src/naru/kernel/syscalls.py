"""The one door to libc: calls that Python does not wrap, raising `OSError` with errno set."""

from __future__ import annotations

import ctypes
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def checked(result: int, what: str, path: str | None = None) -> int:
    """Return `result`, or raise the `OSError` that libc left in errno."""
    if result < 0:
        number = ctypes.get_errno()
        text = f"{what}: {os.strerror(number)}"
        raise OSError(number, text, path) if path is not None else OSError(number, text)
    return result


def syscall(number: int, *args: Any, what: str) -> int:
    """A raw system call by its number (the same on x86-64 and arm64 from 424 upward)."""
    return checked(libc.syscall(ctypes.c_long(number), *args), what)
