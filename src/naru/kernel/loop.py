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
_SET_FD, _CLEAR_FD, _SET_STATUS, _SET_DIRECT_IO = 0x4C00, 0x4C01, 0x4C04, 0x4C08
_READ_ONLY, _AUTOCLEAR = 1, 4
# struct loop_info64: device, inode, rdevice, offset, sizelimit, number, encryption (2), flags,
# file name, crypt name, key, init (2)
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
_CONFIG = struct.Struct("=II")
_ATTEMPTS = 64


class ReadOnlyLoop:
    """A device of its own that shows `image` from `offset` on (bytes, a multiple of 512).

    It goes with its last user: this object, or what has been mounted from it meanwhile. So whoever
    is killed leaves none.
    """

    def __init__(self, image: Path, offset: int = 0) -> None:
        backing = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number, self._fd = _attach(
                backing, image, os.O_RDONLY, offset=offset, flags=_READ_ONLY | _AUTOCLEAR
            )
        finally:
            os.close(backing)
        self.path = f"/dev/loop{number}"
        # Without a second copy in the page cache, where the file system below can.
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._fd, _SET_DIRECT_IO, 1)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        # A description of a mount that is never carried out must not keep a device.
        if hasattr(self, "_fd"):
            self.close()


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
        device = _attach(backing, image, os.O_RDWR)
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


def _attach(
    backing: int, image: Path, access: int, *, offset: int = 0, flags: int = _AUTOCLEAR
) -> tuple[int, int]:
    """-> the device's number, and the device held open."""
    name = os.fsencode(image)[-63:]
    info = _INFO.pack(0, 0, 0, offset, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
    for _ in range(_ATTEMPTS):
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, _GET_FREE)
        finally:
            os.close(control)
        fd = os.open(f"/dev/loop{number}", access | os.O_CLOEXEC)
        try:
            _configure(fd, backing, info)
        except OSError as error:
            os.close(fd)
            # Between the question and the answer somebody else took it.
            if error.errno != errno.EBUSY:
                raise
        else:
            return number, fd
    raise OSError(errno.EBUSY, "no free loop device", str(image))


def _configure(fd: int, backing: int, info: bytes) -> None:
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
