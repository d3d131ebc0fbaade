"""Worker processes, for what the interpreter lock would hold up: a function runs in a process.

They are forked from a small process (see `workers_main`) that is started with the first job and
ends after a minute without any, so that neither costs more than a few milliseconds. A worker that
is no longer wanted is killed, and all of them end with the daemon, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Generic, TypeVar, TypeVarTuple

from naru.kernel.workers_main import DESCRIPTORS, SIZE

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_START: Final = "import sys; sys.path[:] = {path!r}; from naru.kernel.workers_main import main; main({fd}, {lock!r})"  # fmt: skip  # noqa: E501


class WorkerLost(OSError):
    """A worker has ended without an answer: killed, most likely for want of memory."""


class Workers:
    """All methods block, and are for worker threads of the daemon."""

    def __init__(self, lock: Path) -> None:
        """`lock` is a file in a directory that only one daemon uses."""
        self._lock_file = lock
        self._starting = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def await_former(self) -> None:
        """Wait until no worker of a former daemon is left; they end with it, in milliseconds."""
        if self._lock_file.exists():
            fd = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            finally:
                os.close(fd)

    def warm(self) -> None:
        """Start the process that workers come from, where a job will come soon."""
        with self._starting:
            if self._process is None or self._process.poll() is not None:
                self._start()

    def call(self, function: Callable[[list[int], *Ts], T], *args: *Ts) -> T:
        """`function([], *args)` in a worker -> its result; raises what it raises."""
        with self.begin([], function, *args) as job:
            return job.result()

    def begin(
        self, fds: Sequence[int], function: Callable[[list[int], *Ts], T], *args: *Ts
    ) -> Job[T]:
        """Begin `function(copies of fds, *args)` in a worker.

        The function is one of a module; arguments and result are pickled.
        """
        request = pickle.dumps((function, args))
        modules = {function.__module__, *(type(each).__module__ for each in args)} - {"builtins"}
        message = " ".join(sorted(modules)).encode()
        for attempt in (1, 2):
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._send(message, [theirs.fileno(), *fds])
                pidfd = _begun(ours)
            except OSError:
                # The process had just ended, having been idle; twice is something else.
                ours.close()
                if attempt == 2:
                    raise
                continue
            return Job(ours, pidfd, request)
        raise AssertionError

    def close(self) -> None:
        """End the process, and with it what still runs. Idempotent."""
        with self._starting:
            self._end()

    def _send(self, message: bytes, fds: list[int]) -> None:
        assert len(fds) <= DESCRIPTORS
        with self._starting:
            if self._control is None or self._process is None or self._process.poll() is not None:
                self._start()
            assert self._control is not None
            socket.send_fds(self._control, [message], fds)

    def _start(self) -> None:
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            start = _START.format(path=sys.path, fd=theirs.fileno(), lock=str(self._lock_file))
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", start],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._control = ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.wait()
            self._process = None


class Job(Generic[T]):
    """A worker at work. Left as a context without a result having been taken, it is killed."""

    def __init__(self, stream: socket.socket, pidfd: int, request: bytes) -> None:
        self._socket = stream
        self._pidfd = pidfd
        self._done = False
        with suppress(ConnectionError):  # what has become of it is told by `result`
            stream.sendall(SIZE.pack(len(request)))
            stream.sendall(request)

    def result(self) -> T:
        """Wait for the function's result; raises what it raised, or `WorkerLost`."""
        data = b""
        with suppress(ConnectionError), self._socket.makefile("rb") as stream:
            head = stream.read(SIZE.size)
            data = stream.read(SIZE.unpack(head)[0]) if len(head) == SIZE.size else b""
        self._await_end()
        if not data:
            raise WorkerLost("a worker process ended in the middle of its work")
        succeeded, answer = pickle.loads(data)
        if not succeeded:
            raise answer
        result: T = answer
        return result

    def kill(self) -> None:
        """Idempotent. When it returns the worker does nothing more."""
        if not self._done:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._await_end()

    def _await_end(self) -> None:
        """Until then it holds what it has opened: a mount would be busy."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll()
        self._done = True

    def __enter__(self) -> Job[T]:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Kill it unless it has ended, and let go of it."""
        self.kill()
        self._socket.close()
        os.close(self._pidfd)


def _begun(stream: socket.socket) -> int:
    """Wait for the fork -> the worker's pidfd."""
    marker, fds, _, _ = socket.recv_fds(stream, 1, 1)
    if not marker:
        raise WorkerLost("the process that workers come from has ended")
    return fds[0]
