"""Processes by pidfd, and spawns that stay cheap in a large process."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from naru.kernel.descriptors import limit_as_given
from naru.kernel.syscalls import syscall

_PIDFD_SEND_SIGNAL = 424

# <linux/pidfd.h>: struct pidfd_info up to exit_code (64 bytes); the exit code since Linux 6.15.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("=QQ11Ii")

# Python ignores these two, and what it starts must not inherit that.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


def send_signal(pidfd: int, number: int) -> None:
    """Signal the very process that the pidfd names; `ProcessLookupError` when it has ended."""
    syscall(_PIDFD_SEND_SIGNAL, pidfd, number, None, 0, what="pidfd_send_signal")


def exit_code(pidfd: int) -> int | None:
    """The exit code of a reaped process, anyone's child (-N for signal N); None while it lives
    or when the kernel does not tell."""
    info = bytearray(_PIDFD_INFO.size)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    fields = _PIDFD_INFO.unpack(info)
    if not fields[0] & _PIDFD_INFO_EXIT:
        return None
    return os.waitstatus_to_exitcode(fields[-1])


class Finished(NamedTuple):
    status: int  # as the shell counts: 128 + N for signal N
    output: bytes  # stdout and stderr


async def run(
    argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes | None = None
) -> Finished:
    """Run a short-lived program with a small input; `OSError` when it cannot be started.

    posix_spawn (vfork) costs about 1 ms however large this process is; fork would copy its page
    tables. The wait is a pidfd on the loop.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    source = _input(stdin)
    try:
        os.set_blocking(write_end, True)
        with limit_as_given():
            pid = os.posix_spawn(  # noqa: ASYNC221 - vfork: 1 ms
                argv[0],
                list(argv),
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, 0),
                    (os.POSIX_SPAWN_DUP2, write_end, 1),
                    (os.POSIX_SPAWN_DUP2, write_end, 2),
                ],
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )
    except BaseException:
        os.close(read_end)
        raise
    finally:
        os.close(source)
        os.close(write_end)
    # A cancelled caller leaves this to finish by itself, so that the child is always reaped.
    return await asyncio.shield(asyncio.create_task(_finish(pid, read_end)))


async def _finish(pid: int, read_end: int) -> Finished:
    loop = asyncio.get_running_loop()
    output = bytearray()

    def collect() -> None:
        chunk = _read_now(read_end)
        output.extend(chunk)
        if not chunk:
            loop.remove_reader(read_end)

    loop.add_reader(read_end, collect)
    try:
        await _ended(pid)
        _, wait_status = os.waitpid(pid, 0)  # noqa: ASYNC222 - it has ended
        # What a grandchild still holds open is not waited for.
        while chunk := _read_now(read_end):
            output += chunk
    finally:
        loop.remove_reader(read_end)
        os.close(read_end)
    code = os.waitstatus_to_exitcode(wait_status)
    return Finished(code if code >= 0 else 128 - code, bytes(output))


def _read_now(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def _input(data: bytes | None) -> int:
    if data is None:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    memfd = os.memfd_create("input")
    view = memoryview(data)
    while view:
        view = view[os.write(memfd, view) :]
    os.lseek(memfd, 0, os.SEEK_SET)
    return memfd


async def _ended(pid: int) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    pidfd = os.pidfd_open(pid)
    loop.add_reader(pidfd, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
