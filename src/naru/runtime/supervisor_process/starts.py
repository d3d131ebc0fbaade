"""The runtimes at work on a start: begun, ended, or left over from a supervisor that died."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from .launcher import Console, Launcher
from .processes import Process, name_of
from .procfs import UNKNOWN_STATUS, naming, pipe_names, start_ticks
from .records import Records, complain, read, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket

    from .wire import Json

_RUNTIME_DEADLINE = 10  # s


class Start:
    """A runtime at work on starting a container or an exec, and the stdio made for it."""

    def __init__(self, request: Json, client: socket.socket) -> None:
        self.request = request
        self.client = client
        self.fds: dict[str, int] = {}
        self.console: Console | None = None

    @property
    def name(self) -> str:
        return name_of(self.request["container"], self.request["exec"])

    def stop_listening(self) -> None:
        if self.console is not None:
            self.console.close()
            self.console = None


class StartFailed(Exception):
    """`status`: the runtime's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the runtime failed with status {status}")
        self.status = status


class Starts:
    def __init__(self, records: Records, launcher: Launcher) -> None:
        self._records = records
        self._launcher = launcher
        self.under_way: dict[int, Start] = {}  # by the runtime's pid

    def begin(self, request: Json, client: socket.socket) -> None:
        """Execute the runtime, or raise `OSError` and leave nothing."""
        start = Start(request, client)
        # Before the spawn: a crash while it is under way must not hide the runtime.
        saved = {key: request[key] for key in ("container", "exec", "pid_file")}
        self._records.write("starts", start.name, saved)
        try:
            if request["tty"]:
                start.console = self._launcher.new_console()
            pid = self._launcher.start(request, start.fds, start.console)
        except OSError:
            self._records.remove("starts", start.name)
            for fd in start.fds.values():
                os.close(fd)
            start.stop_listening()
            raise
        self.under_way[pid] = start

    def finish(self, start: Start, status: int) -> Process:
        """The runtime has ended with `status`: what it started, which its pid file names, or
        `StartFailed`."""
        request, pid = start.request, 0
        try:
            if status == 0:
                if start.console is not None:
                    start.fds["pty"] = start.console.terminal()
                pid = int(read(request["pid_file"]))
        except (OSError, ValueError) as error:
            complain(f"start of {request['container']}: {error!r}")
        start.stop_listening()
        remove(request["pid_file"])
        self._records.remove("starts", start.name)
        process = Process(_state(request, pid, pipe_names(start.fds)), start.fds)
        if pid == 0:
            process.close()
            raise StartFailed(status or UNKNOWN_STATUS)
        return process

    def finish_left_over(self) -> None:
        """What our predecessor had begun. Its stdio is lost, so nobody wants the processes; but
        they must be known, to be ended in order."""
        for name in self._records.names("starts"):
            start = self._records.read("starts", name)
            _await_runtime(start["pid_file"])
            with contextlib.suppress(OSError, ValueError):
                pid = int(read(start["pid_file"]))
                self._records.write("pids", name, _state(start, pid, {}))
            remove(start["pid_file"])
            self._records.remove("starts", name)


def _state(start: Json, pid: int, pipes: dict[str, str]) -> Json:
    return {
        "container": start["container"],
        "exec": start["exec"],
        "pid": pid,
        "started": start_ticks(pid),
        "exited": False,
        "pipes": pipes,
    }


def _await_runtime(pid_file: str) -> None:
    """Until no process has `pid_file` in its command line: the runtime and what it forks, before
    that becomes the container. One that hangs is killed."""
    deadline = time.monotonic() + _RUNTIME_DEADLINE
    while pids := naming(pid_file):
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pids[0])
            if time.monotonic() > deadline:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            waiting.poll(20)  # ms: it may also become the container, which no event tells
            os.close(pidfd)
