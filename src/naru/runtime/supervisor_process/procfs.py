"""What the kernel tells of processes: their ends, their descriptors, who is at work for whom."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

from .records import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN_STATUS = 255  # what Docker reports for an exit that nobody saw

# <linux/pidfd.h>: struct pidfd_info up to exit_code (64 bytes), since Linux 6.13; exit since 6.15.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")  # mask, cgroupid, pid .. fsgid, exit_code


def docker_status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def status_of_other(pid: int, started: int, pidfd: int) -> int | None:
    """The status of an ended process that is not our child; None while the kernel hides it.

    A zombie shows it in /proc to root, a reaped one in its pidfd (Linux 6.15).
    """
    fields = _stat(pid)
    present = fields is not None and int(fields[19]) == started
    if fields is not None and present and fields[0] == "Z":
        return docker_status(int(fields[49]))
    info = bytearray(_PIDFD_INFO.size)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    with contextlib.suppress(OSError):  # a kernel before 6.13
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
        mask, *_, wait_status = _PIDFD_INFO.unpack(info)
        if mask & _PIDFD_INFO_EXIT:
            return docker_status(wait_status)
    return None if present else UNKNOWN_STATUS


def start_ticks(pid: int) -> int:
    """When it was started, in ticks since boot; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state (field 3) on; None when there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None


def naming(argument: str) -> list[int]:
    """The processes that have `argument` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                if argument.encode() in file.read().split(b"\0"):
                    found.append(int(entry))
    return found


def pipe_names(fds: dict[str, int]) -> dict[str, str]:
    """What /proc calls our stdout and stderr of a process."""
    outputs = ("stdout", "stderr")
    return {name: os.readlink(f"/proc/self/fd/{fds[name]}") for name in outputs if name in fds}


def open_pipes(pid: int, pipes: dict[str, str]) -> dict[str, int]:
    """Our ends of those pipes, opened anew by way of the process's own descriptors."""
    found: dict[str, int] = {}
    wanted = {pipe: name for name, pipe in pipes.items()}
    descriptors = f"/proc/{pid}/fd"
    entries: list[str] = []
    with contextlib.suppress(OSError):  # it has just ended
        entries = os.listdir(descriptors)
    for entry in entries:
        # The process may change its descriptors: only what we hold is looked at and opened.
        with contextlib.suppress(OSError), _held(f"{descriptors}/{entry}") as path:
            if name := wanted.pop(os.readlink(path), ""):
                found[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return found


@contextlib.contextmanager
def _held(path: str) -> Iterator[str]:
    """Another path to the same file, whatever becomes of `path`."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
