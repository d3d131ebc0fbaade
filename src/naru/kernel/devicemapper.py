"""Device mapper (dm-ioctl.h) by its own ioctls: no libdevmapper, no dmsetup, no waiting for udev.

A device made here is marked for removal while it is held open, so it exists exactly as long as
somebody uses it, a mount or an open descriptor: whoever is killed leaves no device behind. Without
that mark (`deferred=False`) it is removed when it is closed here, unless it is in use then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

CONTROL = Path("/dev/mapper/control")
SECTOR = 512

_IOC = 0xC138FD00  # _IOWR(0xfd, command, struct dm_ioctl)
_VERSION, _DEV_CREATE, _DEV_REMOVE, _DEV_SUSPEND, _DEV_STATUS = 0, 3, 4, 6, 7
_TABLE_LOAD, _TABLE_STATUS, _LIST_VERSIONS, _TARGET_MSG = 9, 12, 13, 14

# version (3), data size, data start, targets, open count, flags, event, padding, device, name, uuid
_HEADER = struct.Struct("=3I2IIiIIIQ128s129s7x")
_TARGET = struct.Struct("=QQiI16s")
_NEEDED = (4, 27, 0)
"""The interface's version that knows deferred removal (Linux 3.13)."""

_SUSPEND, _TABLE, _PRESENT = 1 << 1, 1 << 4, 1 << 5
_FULL, _DEFERRED = 1 << 8, 1 << 17
# In the upper half of the cookie: udev neither probes the device nor tells others of it. A probe
# would hold it open just when it is to be removed.
_NO_PROBES = (0x02 | 0x04 | 0x08) << 16
_ROOM = 16 << 10


class Info(NamedTuple):
    device: int  # as st_rdev
    open_count: int
    active: bool  # it has a table, and is not suspended


class Target(NamedTuple):
    """A line of a table: `start` and `length` in sectors of 512 bytes."""

    start: int
    length: int
    type: str
    arguments: str  # or, read back, the target's state


class Device:
    """A device held open. It goes with its last user, so closing this may be its end."""

    def __init__(self, name: str, number: int, *, removing: bool = False) -> None:
        """`removing`: closing it removes it, where nobody else uses it."""
        self.name = name
        self._removing = removing
        self.path = f"/dev/dm-{os.minor(number)}"
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # No devtmpfs at /dev: nobody else makes the node.
            os.mknod(self.path, 0o060600, number)
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            if self._removing:
                with contextlib.suppress(OSError):
                    remove_now(self.name)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A description of a mount that is never carried out must not keep a device.
        if hasattr(self, "_fd"):
            self.close()


def versions() -> dict[str, tuple[int, int, int]]:
    """The targets that the kernel has now. `OSError`: no device mapper, or too old a one."""
    head, body = _call(_LIST_VERSIONS, "")
    if head[:3] < _NEEDED:
        found = ".".join(map(str, head[:3]))
        raise OSError(errno.ENOSYS, f"device mapper's interface {found} has no deferred removal")
    found_targets = {}
    offset = 0
    while offset + 16 <= len(body):
        step, *version = struct.unpack_from("=4I", body, offset)
        name = body[offset + 16 :].split(b"\0", 1)[0].decode()
        if name:
            found_targets[name] = (version[0], version[1], version[2])
        if not step:
            break
        offset += step
    return found_targets


def info(name: str) -> Info | None:
    try:
        head, _ = _call(_DEV_STATUS, name)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return Info(_rdev(head[10]), head[6], head[7] & (_PRESENT | _SUSPEND) == _PRESENT)


def held(name: str, table: Sequence[Target], *, deferred: bool = True) -> Device:
    """The device `name`, made with `table` unless it is there, and held open.

    One that is there may go at any moment, with its last user; then it is made anew. With
    `deferred` the kernel removes it then, without it this process must.
    """
    for _ in range(100):
        if (there := info(name)) is None:
            try:
                return _made(name, table, deferred=deferred)
            except OSError as error:
                if error.errno != errno.EBUSY:  # another was quicker
                    raise
                continue
        with contextlib.suppress(OSError):
            device = Device(name, there.device, removing=not deferred)
            if deferred:
                remove(name)  # a kill between making and marking it left one without the mark
            if there.active:
                return device
            device.close()  # a kill in the middle left one without a table
        time.sleep(0.01)  # its removal is under way in the kernel, which tells nobody
    raise OSError(errno.EBUSY, f"device {name} neither opens nor goes")


def opened(name: str) -> Device:
    """Hold a device of somebody else's open. `OSError` with ENXIO: there is none."""
    there = info(name)
    if there is None:
        raise OSError(errno.ENXIO, f"no device mapper device {name}")
    return Device(name, there.device)


def remove(name: str) -> None:
    """Let the device go with its last user, which may be now; one that is gone is no error."""
    with _unless_gone():
        _call(_DEV_REMOVE, name, flags=_DEFERRED, event=_NO_PROBES)


def remove_now(name: str) -> None:
    """Remove the device. `OSError` with EBUSY: it is in use; one that is gone is no error."""
    with _unless_gone():
        _call(_DEV_REMOVE, name, event=_NO_PROBES)


def status(name: str) -> list[Target]:
    """The device's targets, with what each reports of itself."""
    return _targets(*_call(_TABLE_STATUS, name))


def table(name: str) -> list[Target]:
    return _targets(*_call(_TABLE_STATUS, name, flags=_TABLE))


def message(name: str, text: str) -> None:
    """Tell the target at the device's first sector."""
    _call(_TARGET_MSG, name, struct.pack("=Q", 0) + text.encode() + b"\0")


def suspend(name: str) -> None:
    """Hold back all I/O, with a mounted file system made consistent first."""
    _call(_DEV_SUSPEND, name, flags=_SUSPEND)


def resume(name: str) -> None:
    _call(_DEV_SUSPEND, name, event=_NO_PROBES)


@contextlib.contextmanager
def suspended(name: str) -> Iterator[None]:
    """For the time of the block. The device may go before or in it, with its last user."""
    with _unless_gone():
        suspend(name)
    try:
        yield
    finally:
        with _unless_gone():
            resume(name)


def pack_table(table: Sequence[Target]) -> bytes:
    """The targets as DM_TABLE_LOAD wants them, each aligned to 8 bytes."""
    out = b""
    for target in table:
        text = target.arguments.encode() + b"\0"
        text += bytes(-len(text) % 8)
        size = _TARGET.size + len(text)
        kind = target.type.encode()
        out += _TARGET.pack(target.start, target.length, 0, size, kind) + text
    return out


def unpack_table(body: bytes, count: int) -> list[Target]:
    """The targets as DM_TABLE_STATUS gives them: `next` counts from the first one's start."""
    found = []
    offset = 0
    for _ in range(count):
        start, length, _, after, kind = _TARGET.unpack_from(body, offset)
        text = body[offset + _TARGET.size :].split(b"\0", 1)[0]
        found.append(Target(start, length, kind.rstrip(b"\0").decode(), text.decode()))
        offset = after
    return found


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


def _made(name: str, table: Sequence[Target], *, deferred: bool) -> Device:
    head, _ = _call(_DEV_CREATE, name)
    try:
        _load(name, table)
        resume(name)
        device = Device(name, _rdev(head[10]), removing=not deferred)
    except BaseException:
        remove(name)
        raise
    if deferred:
        remove(name)
    return device


def _load(name: str, table: Sequence[Target]) -> None:
    _call(_TABLE_LOAD, name, pack_table(table), targets=len(table))


def _targets(head: tuple[int, ...], body: bytes) -> list[Target]:
    return unpack_table(body, head[5])


def _rdev(number: int) -> int:
    """The kernel's 64-bit huge_encode_dev as the number that os.major() takes apart."""
    return os.makedev((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))


def _call(
    command: int,
    name: str,
    data: bytes = b"",
    *,
    targets: int = 0,
    flags: int = 0,
    event: int = 0,
) -> tuple[tuple[int, ...], bytes]:
    """-> the header's fields, what follows it."""
    room = _ROOM
    while True:
        size = _HEADER.size + max(len(data), room)
        buffer = bytearray(size)
        _HEADER.pack_into(
            buffer, 0, 4, 0, 0, size, _HEADER.size, targets, 0, flags, event, 0, 0,
            name.encode(), b"",
        )  # fmt: skip
        buffer[_HEADER.size : _HEADER.size + len(data)] = data
        control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(control, _IOC | command, buffer)
        except OSError as error:
            text = f"device mapper: {_NAMES[command]} {name}: {os.strerror(error.errno or 0)}"
            raise OSError(error.errno, text) from error
        finally:
            os.close(control)
        head = _HEADER.unpack_from(buffer)
        if not head[7] & _FULL:
            return head, bytes(buffer[head[4] :])
        room *= 4


_NAMES = {
    _VERSION: "version", _DEV_CREATE: "create", _DEV_REMOVE: "remove", _DEV_SUSPEND: "suspend",
    _DEV_STATUS: "info", _TABLE_LOAD: "load", _TABLE_STATUS: "status",
    _LIST_VERSIONS: "versions", _TARGET_MSG: "message",
}  # fmt: skip
