"""Loop devices (loop(4)): a file as a block device that goes when nothing uses it any more."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_CONTROL = "/dev/loop-control"
_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A  # Linux 5.8
_SET_FD, _CLEAR_FD, _SET_STATUS = 0x4C00, 0x4C01, 0x4C04
_AUTOCLEAR = 4
# struct loop_info64: device, inode, rdevice, offset, sizelimit, number, encryption (2), flags,
# file name, crypt name, key, init (2)
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
_CONFIG = struct.Struct("=II")
_ATTEMPTS = 64


@contextlib.contextmanager
def attached(image: Path) -> Iterator[str]:
    """`/dev/loopN` showing `image` for the time of the block, and as long as it is mounted.

    An image that a device shows already is not given a second one: two file systems on the same
    blocks would destroy each other, and a lazy unmount may have left the first in use.
    """
    shown = _showing(image)
    if shown is not None:
        with contextlib.closing(open(shown, "rb")):
            yield shown
        return
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        device = _attach(backing, image)
    finally:
        os.close(backing)
    try:
        yield f"/dev/loop{device[0]}"
    finally:
        os.close(device[1])


def _showing(image: Path) -> str | None:
    wanted = os.path.realpath(image)
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # it may end while we look
            if os.fsdecode(entry.read_bytes()).rstrip("\n") == wanted:
                return f"/dev/{entry.parent.parent.name}"
    return None


def _attach(backing: int, image: Path) -> tuple[int, int]:
    for _ in range(_ATTEMPTS):
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, _GET_FREE)
        finally:
            os.close(control)
        fd = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
        try:
            _configure(fd, backing, image)
        except OSError as error:
            os.close(fd)
            # Between the question and the answer somebody else took it.
            if error.errno != errno.EBUSY:
                raise
        else:
            return number, fd
    raise OSError(errno.EBUSY, "no free loop device", str(image))


def _configure(fd: int, backing: int, image: Path) -> None:
    name = os.fsencode(image)[-63:]
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR, name, b"", b"", 0, 0)
    try:
        fcntl.ioctl(fd, _CONFIGURE, _CONFIG.pack(backing, 0) + info + bytes(64))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        fcntl.ioctl(fd, _SET_FD, backing)
        try:
            fcntl.ioctl(fd, _SET_STATUS, info)
        except OSError:
            fcntl.ioctl(fd, _CLEAR_FD, 0)
            raise
