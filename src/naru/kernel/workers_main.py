"""The process that worker processes are forked from: small, with one thread, and warm.

It is started by `kernel.workers`, with a control socket as its only way to be told anything. A
message there is a job: the modules that the job needs, and descriptors: the job's own socket, then
those that it works on. The modules are imported before the fork, so that they are read once.

    job socket, towards the worker:   size, pickle of (function, arguments)
    job socket, towards the daemon:   one byte with the worker's pidfd, then size, pickle of
                                      (True, result) or (False, exception)

The workers end with this process, and this process with the daemon.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import struct
from typing import Final

from naru.kernel.syscalls import libc

SIZE: Final = struct.Struct("=Q")
MESSAGE: Final = 4096
"""Most bytes of a message on the control socket."""
DESCRIPTORS: Final = 8
_PR_SET_PDEATHSIG = 1
_IDLE_MILLISECONDS = 60_000
_NICE = 5  # what the daemon answers comes first


def main(control_fd: int, lock: str) -> None:
    """Serve until the daemon is gone or has wanted nothing for a minute.

    `lock` is held, shared, by this process and its workers: see `Workers.await_former`.
    """
    os.nice(_NICE)
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_SH)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended is reaped at once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's; the daemon decides
    control = socket.socket(fileno=control_fd)
    _Server(control).serve()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._workers: set[int] = set()  # pidfds

    def serve(self) -> None:
        while True:
            ready = self._poll.poll(None if self._workers else _IDLE_MILLISECONDS)
            if not ready:
                return
            for fd, _ in ready:
                if fd != self._control.fileno():
                    self._poll.unregister(fd)
                    self._workers.remove(fd)
                    os.close(fd)
                elif not self._job():
                    return

    def _job(self) -> bool:
        """Start a worker for the next job -> False when the daemon is gone."""
        message, fds, _, _ = socket.recv_fds(self._control, MESSAGE, DESCRIPTORS)
        if not message:
            return False
        for name in message.decode().split():
            importlib.import_module(name)
        gc.freeze()
        server = os.getpid()
        pid = os.fork()
        if not pid:
            _work(server, socket.socket(fileno=fds[0]), fds[1:])
        pidfd = os.pidfd_open(pid)
        self._workers.add(pidfd)
        self._poll.register(pidfd, select.POLLIN)
        with socket.socket(fileno=fds[0]) as job:
            try:
                socket.send_fds(job, [b"w"], [pidfd])
            except OSError:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # nobody waits for it
        for fd in fds[1:]:
            os.close(fd)
        return True


def _work(server: int, job: socket.socket, fds: list[int]) -> None:
    """In the forked process; never returns."""
    status = 1
    try:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == server:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with job.makefile("rwb") as stream:
                stream.write(_answer(stream.read(SIZE.unpack(stream.read(SIZE.size))[0]), fds))
            status = 0
    finally:
        os._exit(status)


def _answer(request: bytes, fds: list[int]) -> bytes:
    try:
        function, arguments = pickle.loads(request)
        data = pickle.dumps((True, function(fds, *arguments)))
    except BaseException as error:
        data = pickle.dumps((False, _sendable(error)))
    return SIZE.pack(len(data)) + data


def _sendable(error: BaseException) -> BaseException:
    """The error, or its text: one with a signature of its own can be pickled, not read again."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return OSError(f"{type(error).__name__}: {error}")
    return error
