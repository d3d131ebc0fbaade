"""The program that stays: waits for daemons, children and adopted processes, and serves requests.

    hello        the pid, and which code this is
    spawn        run the OCI runtime; answered when it has ended, with the process's pid and stdio
    stdio        copies of what is kept for a process
    live         what is kept, page by page
    close_stdin  of a process
    acknowledge  an exit: it is forgotten
    adopt        after a crash: a daemon's copies of a process's stdio
    adopted      after a crash: no more of them to come
    upgrade      execute another version
    quit         end, if nothing is kept

What fails is answered with `{"error": TEXT}`.
"""

from __future__ import annotations

import _socket as socket
import contextlib
import os
import select
import signal
import time

from . import program, wire
from .connections import Connections
from .launcher import Launcher
from .processes import Processes
from .procfs import UNKNOWN_STATUS, docker_status
from .records import Records, complain, remove
from .starts import Start, StartFailed, Starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Json

_LIVE_PER_REPLY = 200
_ASKED_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    def __init__(self, root: str, state: Json) -> None:
        """`state`: from `launch` the listening socket and the lock, from an upgrade all."""
        self._root = root
        self._code = program.identity()  # of now: newer files may lie there when it is asked for
        self._lock: int = state["lock"]
        for fd in (self._lock, state["listener"]):
            os.set_inheritable(fd, False)
        self._listener = socket.socket(fileno=state["listener"])
        self._epoll = select.epoll()
        self._connections = Connections(self._epoll)
        records = Records(root)
        self._processes = Processes(records, self._epoll, self._connections.tell_all)
        self._launcher = Launcher(root, state.get("given_limit"))
        self._starts = Starts(records, self._launcher)
        self._early: dict[int, tuple[int, int]] = {}  # pid -> (status, ns), its runtime at work
        self._waiting: list[tuple[socket.socket, int]] = []  # for an answer to `adopted`
        self._upgrade_to: list[str] | None = None
        if "processes" in state:
            self._processes.take_over(state)
            for fd in state["clients"]:
                os.set_inheritable(fd, False)
                self._connections.welcome(socket.socket(fileno=fd))
        else:
            self._starts.finish_left_over()
            self._processes.adopt_recorded()
        self._wakeup = self._catch_signals()
        for fd in (self._wakeup, self._listener.fileno()):
            self._epoll.register(fd, select.EPOLLIN)

    def _catch_signals(self) -> int:
        """-> what becomes readable with a signal. Only when it is known what is kept: one that
        asks us to end may be pending since before an upgrade."""
        wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in _ASKED_TO_END:
            signal.signal(number, self._asked_to_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED_TO_END)
        return wakeup

    def run(self) -> None:
        self._reap()
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wakeup, 4096)
                    self._reap()
                elif fd == self._listener.fileno():
                    with contextlib.suppress(OSError):
                        self._connections.welcome(wire.accept(self._listener))
                elif fd in self._connections.clients:
                    self._serve(self._connections.clients[fd])
                elif fd in self._processes.adopted:
                    self._processes.adopted_ended(fd)
            if self._upgrade_to is not None and not self._starts.under_way:
                self._upgrade(self._upgrade_to)

    # -- ends -------------------------------------------------------------------------------

    def _reap(self) -> None:
        starts, children = self._starts.under_way, self._processes.children
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            status = docker_status(wait_status)
            if pid in starts:
                self._runtime_ended(starts.pop(pid), status)
            elif pid in children:
                self._processes.ended(children.pop(pid), status, time.time_ns())
            elif starts:
                self._early[pid] = (status, time.time_ns())
        if not starts:
            self._early.clear()
        self._answer_waiting()

    def _runtime_ended(self, start: Start, status: int) -> None:
        number = start.request["id"]
        try:
            process = self._starts.finish(start, status)
        except StartFailed as failure:
            self._connections.send(start.client, {"id": number, "failed": failure.status})
            return
        self._processes.add(process)
        early = self._early.pop(process.pid, None)
        if early is None and not self._processes.watch_child(process):
            early = (UNKNOWN_STATUS, time.time_ns())
        answer = {"id": number, "pid": process.pid, "fds": list(process.fds)}
        self._connections.send(start.client, answer, list(process.fds.values()))
        if early is not None:
            self._processes.ended(process, *early)

    def _busy(self) -> int:
        return len(self._processes.by_name) + len(self._starts.under_way)

    def _asked_to_end(self, number: int, frame: object) -> None:
        """Containers outlive a careless SIGTERM; without any there is nothing to keep."""
        if not self._busy():
            self._end()

    def _end(self) -> None:
        remove(os.path.join(self._root, "supervisor.sock"))
        os._exit(0)

    # -- requests: each returns its answer, or None when it answers otherwise -----------------

    def _serve(self, client: socket.socket) -> None:
        request, fds = self._connections.receive(client)
        if request is None:
            return
        try:
            answer = getattr(self, "_do_" + request["op"])(client, request, fds)
        except Exception as error:  # a bad request must not take the containers' keeper down
            complain(f"request {request.get('op')}: {error!r}")
            answer = {"error": f"{type(error).__name__}: {error}"}
        if answer is not None:
            self._connections.send(client, {"id": request["id"], **answer})

    def _do_hello(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        return {"pid": os.getpid(), "code": self._code}

    def _do_spawn(self, client: socket.socket, request: Json, fds: list[int]) -> Json | None:
        """Run `argv`, with `{console}` in it replaced by the console socket's path."""
        old = self._processes.asked_for(request)
        if old is not None and not old.exited:
            return {"error": f"{old.name} is already running"}
        if old is not None:
            self._processes.forget(old)
        try:
            self._starts.begin(request, client)
        except OSError as error:
            return {"error": f"{request['path']}: {error.strerror}"}
        return None

    def _do_stdio(self, client: socket.socket, request: Json, fds: list[int]) -> Json | None:
        process = self._processes.asked_for(request)
        if process is None:
            return {"error": "no such process"}
        answer = {"id": request["id"], "fds": list(process.fds)}
        self._connections.send(client, answer, list(process.fds.values()))
        return None

    def _do_live(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        first, end = request["from"], request["from"] + _LIVE_PER_REPLY
        every = list(self._processes.by_name.values())
        return {"live": [one.state() for one in every[first:end]], "more": end < len(every)}

    def _do_close_stdin(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        process = self._processes.asked_for(request)
        if process is not None:
            process.close("stdin")
        return {}

    def _do_acknowledge(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        process = self._processes.asked_for(request)
        if process is None:
            self._processes.forget_record(request)
        elif process.exited and process.pid == request["pid"]:
            self._processes.forget(process)
        return {}

    def _do_adopt(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        process = self._processes.asked_for(request)
        if process is not None and process.pid == request["pid"]:
            self._processes.give(process, dict(zip(request["fds"], fds, strict=True)))
        else:
            for fd in fds:
                os.close(fd)
        return {}

    def _do_adopted(self, client: socket.socket, request: Json, fds: list[int]) -> None:
        """Answered when the starts that a daemon has left unfinished are over, so that the next
        one learns of every process."""
        self._processes.all_given()
        for ending in self._processes.unrecorded():
            self._connections.send(client, {"exit": ending})
        self._waiting.append((client, request["id"]))
        self._answer_waiting()

    def _answer_waiting(self) -> None:
        if any(start.client.fileno() < 0 for start in self._starts.under_way.values()):
            return
        for client, number in self._waiting:
            if client.fileno() >= 0:
                self._connections.send(client, {"id": number})
        self._waiting.clear()

    def _do_upgrade(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        self._upgrade_to = request["argv"]
        return {}

    def _upgrade(self, argv: list[str]) -> None:
        self._upgrade_to = None
        state = {
            "listener": self._listener.fileno(),
            "lock": self._lock,
            "clients": list(self._connections.clients),
            "given_limit": self._launcher.given_limit,
            **self._processes.state(),
        }
        keep = [self._listener.fileno(), self._lock, *self._connections.clients]
        keep += self._processes.descriptors()
        for fd in keep:
            os.set_inheritable(fd, True)
        signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED_TO_END)  # until the handlers are back
        try:
            program.execute(argv, state)
        except OSError as error:
            complain(f"upgrade: {error}")
            for fd in keep:
                os.set_inheritable(fd, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKED_TO_END)

    def _do_quit(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        if not self._busy():
            self._connections.send(client, {"id": request["id"], "busy": 0})
            self._end()
        return {"busy": self._busy()}
