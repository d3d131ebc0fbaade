"""The supervisor: one small process that outlives the daemon and owns every container's stdio.

It starts the OCI runtime, keeps the far ends of the pipes (or the pty) of each container and exec,
reaps their processes as a subreaper and records every exit in a file. It never reads or writes
container data. Daemons connect to `<exec-root>/supervisor.sock` (SOCK_SEQPACKET, mode 0600), send
one JSON request per datagram and get one JSON reply with the same `id`; file descriptors travel by
SCM_RIGHTS. Exits are sent to every connected daemon as `{"exit": {...}}`.

    supervisor.lock     held (flock) by the one supervisor of this exec root
    starts/NAME         a runtime at work on a start
    pids/NAME           what runs: enough for a next supervisor to adopt it after a crash
    exits/NAME          what ended: stays until a daemon acknowledges it
    NAME                is CONTAINER or CONTAINER.EXEC

It runs by itself, outside of the package, imports the standard library only, and little of that,
because its memory is paid on every host.

Life: `launch` takes the lock, binds the socket, forks away and becomes a subreaper, then executes
this file again without what only that needed (ctypes). An upgrade is the same execve in the same
pid: descriptors, children and connections are handed over in a memfd. After a crash, the daemon
starts a new supervisor, which adopts what `pids/` names, and gives it its own copies of the stdio.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

TYPE_CHECKING = False  # typing itself costs memory, and only the checker needs it
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Json = dict[str, Any]

STATE = "NARU_SUPERVISOR_STATE"  # environment: the memfd of a handed-over state
MAX_MESSAGE = 1 << 18
MAX_FDS = 8
SEND_BUFFER = 4 << 20
SO_SNDBUFFORCE = 32
LIVE_PER_REPLY = 200
RUNTIME_DEADLINE = 10  # s
UNKNOWN_STATUS = 255  # what Docker reports for an exit that nobody saw
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_REC, MS_SLAVE = 0x4000, 0x80000
MNT_DETACH = 2
ASKED_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# <linux/pidfd.h>: struct pidfd_info up to exit_code (64 bytes), since Linux 6.13; exit since 6.15.
PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 1 << 3
PIDFD_INFO = struct.Struct("=QQ11Ii")  # mask, cgroupid, pid .. fsgid, exit_code

F_ADD_SEALS = 1033
SEALS = 0xF  # SEAL | SHRINK | GROW | WRITE: exactly what crun's and runc's guards look for
MFD_EXEC = 0x10


class Process:
    """A container's init or an exec, with the descriptors kept for it.

    `fds` holds, by name: stdin, stdout, stderr or pty, and pidfd.
    """

    def __init__(self, state: Json, fds: dict[str, int]) -> None:
        self.container: str = state["container"]
        self.exec_id: str | None = state["exec"]
        self.pid: int = state["pid"]
        self.started: int = state["started"]  # ticks since boot: tells a reused pid apart
        self.exited: bool = state["exited"]
        self.ending: Json | None = None  # what its file in exits/ says, or should say
        self.pipes: dict[str, str] = state["pipes"]  # what /proc calls its stdout and stderr
        self.fds = fds

    @property
    def name(self) -> str:
        return name_of(self.container, self.exec_id)

    def state(self) -> Json:
        return {
            "container": self.container,
            "exec": self.exec_id,
            "pid": self.pid,
            "started": self.started,
            "exited": self.exited,
            "pipes": self.pipes,
        }

    def close(self, *names: str) -> None:
        for name in names or tuple(self.fds):
            fd = self.fds.pop(name, None)
            if fd is not None:
                os.close(fd)


class Start:
    """A runtime at work on starting a container or an exec, and the stdio made for it."""

    def __init__(self, request: Json, client: socket.socket) -> None:
        self.request = request
        self.client = client
        self.fds: dict[str, int] = {}
        self.console: socket.socket | None = None
        self.console_path = ""

    @property
    def name(self) -> str:
        return name_of(self.request["container"], self.request["exec"])

    def stop_listening(self) -> None:
        if self.console is not None:
            self.console.close()
            remove(self.console_path)
            self.console = None


class Launcher:
    """Executes the runtime with pipes, or with a socket to which it sends the pty."""

    def __init__(self, root: str, given_limit: int | None) -> None:
        self.sealed: dict[str, tuple[tuple[int, ...], int]] = {}  # path -> (identity, memfd)
        self.consoles = os.open(os.path.join(root, "console"), os.O_PATH | os.O_DIRECTORY)
        self.console_number = 0
        # Descriptors for hundreds of containers; what we start gets the limit that we had.
        soft, self.hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.given_limit = soft if given_limit is None else given_limit
        self.limit_files(self.hard_limit)

    def limit_files(self, soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self.hard_limit))

    def start(self, start: Start) -> int:
        """-> the runtime's pid. The container's ends of the pipes are closed here afterwards."""
        request, argv = start.request, start.request["argv"]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stdio, given = [null, null, null], [null]
        try:
            if request["tty"]:
                console = self.listen_for_console(start)
                argv = [console if part == "{console}" else part for part in argv]
            else:
                if request["stdin"]:
                    stdio[0], start.fds["stdin"] = os.pipe2(os.O_CLOEXEC)
                    given.append(stdio[0])
                for number, name in ((1, "stdout"), (2, "stderr")):
                    start.fds[name], stdio[number] = output_pipe()
                    given.append(stdio[number])
            program = self.program(request["path"], sealed=request["sealed"])
            return self.spawn(program, argv, request["env"], stdio)
        finally:
            for fd in given:
                os.close(fd)

    def program(self, path: str, *, sealed: bool) -> str:
        """The path to execute. A sealed memfd copy spares the runtime the copy that it would
        otherwise make of itself at each call (its guard against CVE-2019-5736)."""
        if not sealed:
            return path
        info = os.stat(path)
        identity = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
        known = self.sealed.get(path)
        if known is None or known[0] != identity:
            if known is not None:
                os.close(known[1])
            self.sealed[path] = known = (identity, sealed_copy(path))
        return f"/proc/self/fd/{known[1]}"

    def spawn(self, program: str, argv: list[str], env: dict[str, str], stdio: list[int]) -> int:
        self.limit_files(self.given_limit)
        try:
            return os.posix_spawn(
                program,
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)],
                setsigmask=[],
                # Python ignores these two: the container must not inherit that.
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                setsid=True,
            )
        finally:
            self.limit_files(self.hard_limit)

    def listen_for_console(self, start: Start) -> str:
        """A path for `--console-socket`, short however long the root is (limit: 107 bytes)."""
        self.console_number += 1
        entry = f"{self.consoles}/{self.console_number}"
        start.console_path = f"/proc/self/fd/{entry}"
        remove(start.console_path)
        start.console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        start.console.bind(start.console_path)
        start.console.listen(1)
        return f"/proc/{os.getpid()}/fd/{entry}"


class Connections:
    """The daemons' connections: whole JSON messages, with descriptors."""

    def __init__(self, epoll: select.epoll) -> None:
        self.epoll = epoll
        self.clients: dict[int, socket.socket] = {}

    def welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            client.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        except PermissionError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.clients[client.fileno()] = client
        self.epoll.register(client.fileno(), select.EPOLLIN)

    def receive(self, client: socket.socket) -> tuple[Json | None, list[int]]:
        try:
            data, ancillary, _, _ = client.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None, []
        except OSError:
            data, ancillary = b"", []
        fds = received(ancillary)
        try:
            return json.loads(data), fds  # b"", the end of the connection, is no JSON either
        except ValueError:
            for fd in fds:
                os.close(fd)
            self.drop(client)
            return None, []

    def send(self, client: socket.socket, message: Json, fds: list[int] | None = None) -> None:
        """A daemon that does not read is cut off: it reconnects and finds all in the files."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            client.sendmsg([json.dumps(message).encode()], rights)
        except OSError:
            self.drop(client)

    def tell_all(self, message: Json) -> None:
        for client in list(self.clients.values()):
            self.send(client, message)

    def drop(self, client: socket.socket) -> None:
        if self.clients.pop(client.fileno(), None) is not None:
            self.epoll.unregister(client.fileno())
            client.close()


class Supervisor:
    def __init__(
        self, root: str, listener: socket.socket, lock: int, given_limit: int | None
    ) -> None:
        self.root = root
        self.code = code_identity()  # of now: an upgrade's may lie there when it is asked for
        self.listener = listener
        self.lock = lock
        self.launcher = Launcher(root, given_limit)
        self.epoll = select.epoll()
        self.connections = Connections(self.epoll)
        self.processes: dict[str, Process] = {}  # ended ones too, until they are acknowledged
        self.children: dict[int, Process] = {}  # by pid
        self.adopted: dict[int, Process] = {}  # by pidfd: those that are not our children
        self.lost: dict[str, Process] = {}  # ended while nobody watched
        self.starting: dict[int, Start] = {}  # by the runtime's pid
        self.early: dict[int, tuple[int, int]] = {}  # pid -> (status, ns), its runtime at work
        self.waiting: list[tuple[socket.socket, int]] = []  # for an answer to `adopted`
        self.upgrade_to: list[str] | None = None
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in ASKED_TO_END:
            signal.signal(number, self.asked_to_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)
        for fd in (self.wakeup, listener.fileno()):
            self.epoll.register(fd, select.EPOLLIN)

    # -- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        self.reap()
        while True:
            for fd, _ in self.epoll.poll():
                if fd == self.wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wakeup, 4096)
                    self.reap()
                elif fd == self.listener.fileno():
                    with contextlib.suppress(OSError):
                        self.connections.welcome(self.listener.accept()[0])
                elif fd in self.connections.clients:
                    self.receive(self.connections.clients[fd])
                elif fd in self.adopted:
                    self.adopted_ended(fd)
            if self.upgrade_to is not None and not self.starting:
                self.execute_upgrade(self.upgrade_to)

    def asked_to_end(self, number: int, frame: object) -> None:
        """Containers outlive a careless SIGTERM; without any there is nothing to keep."""
        if not self.processes and not self.starting:
            self.end()

    def end(self) -> None:
        remove(self.path("supervisor.sock"))
        os._exit(0)

    def receive(self, client: socket.socket) -> None:
        request, fds = self.connections.receive(client)
        if request is None:
            return
        try:
            answer = getattr(self, "do_" + request["op"])(client, request, fds)
        except Exception as error:  # a bad request must not take the containers' keeper down
            complain(f"request {request.get('op')}: {error!r}")
            answer = {"error": f"{type(error).__name__}: {error}"}
        if answer is not None:
            self.connections.send(client, {"id": request["id"], **answer})

    # -- requests: each returns its answer, or None when it answers otherwise -----------------

    def do_hello(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        return {"pid": os.getpid(), "code": self.code}

    def do_spawn(self, client: socket.socket, request: Json, fds: list[int]) -> Json | None:
        """Run `argv`; the answer comes when the runtime has ended. `{console}` in argv is
        replaced by the console socket's path."""
        old = self.processes.get(name_of(request["container"], request["exec"]))
        if old is not None and not old.exited:
            return {"error": f"{old.name} is already running"}
        if old is not None:
            self.forget(old)
        start = Start(request, client)
        # Before the spawn: a crash while it is under way must not hide the runtime.
        write(
            self.path("starts", start.name),
            {key: request[key] for key in ("container", "exec", "pid_file")},
        )
        try:
            self.starting[self.launcher.start(start)] = start
        except OSError as error:
            remove(self.path("starts", start.name))
            for fd in start.fds.values():
                os.close(fd)
            start.stop_listening()
            return {"error": f"{request['path']}: {error.strerror}"}
        return None

    def do_stdio(self, client: socket.socket, request: Json, fds: list[int]) -> None:
        process = self.processes[name_of(request["container"], request["exec"])]
        answer = {"id": request["id"], "fds": list(process.fds)}
        self.connections.send(client, answer, list(process.fds.values()))

    def do_live(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        start, names = request["from"], list(self.processes)
        page = [self.processes[name].state() for name in names[start : start + LIVE_PER_REPLY]]
        return {"live": page, "more": start + LIVE_PER_REPLY < len(names)}

    def do_close_stdin(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        process = self.processes.get(name_of(request["container"], request["exec"]))
        if process is not None:
            process.close("stdin")
        return {}

    def do_acknowledge(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        name = name_of(request["container"], request["exec"])
        process = self.processes.get(name)
        if process is None:
            remove(self.path("exits", name))
        elif process.exited and process.pid == request["pid"]:
            self.forget(process)
        return {}

    def do_adopt(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        """After a crash of our predecessor: a daemon's copies of what it had kept."""
        given = dict(zip(request["fds"], fds, strict=True))
        process = self.processes.get(name_of(request["container"], request["exec"]))
        if process is None or process.pid != request["pid"]:
            for fd in given.values():
                os.close(fd)
            return {}
        pidfd = given.pop("pidfd", None)
        for name, fd in given.items():
            process.close(name)
            process.fds[name] = fd
        if pidfd is not None and self.lost.pop(process.name, None) is not None:
            process.fds["pidfd"] = pidfd
            self.watch(process)
        elif pidfd is not None:
            os.close(pidfd)
        return {}

    def do_adopted(self, client: socket.socket, request: Json, fds: list[int]) -> None:
        """No more `adopt` to come: what nobody has a pidfd of ended with an unknown status.

        Answered when the starts that a daemon has left unfinished are over, so that the next one
        learns of every process."""
        for process in list(self.lost.values()):
            self.ended(process, UNKNOWN_STATUS, time.time_ns())
        self.lost.clear()
        for process in self.processes.values():
            if process.ending and not os.path.exists(self.path("exits", process.name)):
                self.connections.send(client, {"exit": process.ending})  # the disk was full
        self.waiting.append((client, request["id"]))
        self.answer_waiting()

    def answer_waiting(self) -> None:
        if any(start.client.fileno() < 0 for start in self.starting.values()):
            return
        for client, number in self.waiting:
            if client.fileno() >= 0:
                self.connections.send(client, {"id": number})
        self.waiting.clear()

    def do_upgrade(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        self.upgrade_to = request["argv"]
        return {}

    def do_quit(self, client: socket.socket, request: Json, fds: list[int]) -> Json:
        """End, if there is nothing left to keep."""
        if not self.processes and not self.starting:
            self.connections.send(client, {"id": request["id"], "busy": 0})
            self.end()
        return {"busy": len(self.processes) + len(self.starting)}

    # -- beginnings and ends ----------------------------------------------------------------

    def reap(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            status = docker_status(wait_status)
            if pid in self.starting:
                self.runtime_ended(self.starting.pop(pid), status)
            elif pid in self.children:
                self.ended(self.children.pop(pid), status, time.time_ns())
            elif self.starting:
                self.early[pid] = (status, time.time_ns())
        if not self.starting:
            self.early.clear()
        self.answer_waiting()

    def runtime_ended(self, start: Start, status: int) -> None:
        """The runtime has done its work: its pid file names the process, or it failed."""
        request, pid = start.request, 0
        try:
            if status == 0:
                if start.console is not None:
                    start.fds["pty"] = sent_terminal(start.console)
                pid = int(read(request["pid_file"]))
        except (OSError, ValueError) as error:
            complain(f"start of {request['container']}: {error!r}")
        start.stop_listening()
        remove(request["pid_file"])
        remove(self.path("starts", start.name))
        state = {"container": request["container"], "exec": request["exec"], "pid": pid}
        state |= {"started": start_ticks(pid), "exited": False, "pipes": pipes(start.fds)}
        process = Process(state, start.fds)
        if pid == 0:
            process.close()
            self.connections.send(
                start.client, {"id": request["id"], "failed": status or UNKNOWN_STATUS}
            )
            return
        self.processes[process.name] = process
        early = self.early.pop(pid, None)
        if early is None:
            process.fds["pidfd"] = os.pidfd_open(pid)  # not reaped yet: it is surely ours
            self.children[pid] = process
            write(self.path("pids", process.name), process.state())
        answer = {"id": request["id"], "pid": pid, "fds": list(process.fds)}
        self.connections.send(start.client, answer, list(process.fds.values()))
        if early is not None:
            self.ended(process, *early)

    def ended(self, process: Process, status: int, at: int) -> None:
        """Record first, tell then: a daemon that is away, or dies now, finds the file. The
        outputs stay open: what the container wrote last may still be in the pipe."""
        process.exited = True
        process.close("stdin", "pidfd")
        record = {
            "container": process.container,
            "exec": process.exec_id,
            "pid": process.pid,
            "status": status,
            "at": at,
        }
        process.ending = record
        write(self.path("exits", process.name), record)
        remove(self.path("pids", process.name))
        self.connections.tell_all({"exit": record})

    def adopted_ended(self, pidfd: int) -> None:
        process = self.adopted[pidfd]
        status = exit_status_of_other(process, pidfd)
        if status is None:
            # A zombie whose status is not shown. EPOLLHUP, which needs no bit, tells when it
            # has been reaped, and the pidfd has it then.
            self.epoll.modify(pidfd, 0)
            return
        self.epoll.unregister(pidfd)
        del self.adopted[pidfd]
        self.ended(process, status, time.time_ns())

    def forget(self, process: Process) -> None:
        process.close()
        self.processes.pop(process.name, None)
        remove(self.path("exits", process.name))
        remove(self.path("pids", process.name))

    # -- taking over ------------------------------------------------------------------------

    def adopt_from_files(self) -> None:
        """What ran under a supervisor that died. Its children are now another process's, so
        pidfds watch them and tell their status."""
        for name in os.listdir(self.path("starts")):
            self.finish_start(json.loads(read(self.path("starts", name))), name)
        for name in os.listdir(self.path("pids")):
            process = Process(json.loads(read(self.path("pids", name))), {})
            if os.path.exists(self.path("exits", name)):
                remove(self.path("pids", name))
                continue
            self.processes[name] = process
            if 0 < start_ticks(process.pid) == process.started:
                process.fds["pidfd"] = os.pidfd_open(process.pid)
                process.fds.update(outputs_of(process))
                self.watch(process)
            else:
                self.lost[name] = process

    def finish_start(self, start: Json, name: str) -> None:
        """What our predecessor had begun. Its stdio is lost, so nobody wants the process; but it
        must be known, to be ended in order."""
        await_runtime(start["pid_file"])
        with contextlib.suppress(OSError, ValueError):
            pid = int(read(start["pid_file"]))
            state = {"container": start["container"], "exec": start["exec"], "pid": pid}
            ticks = start_ticks(pid)
            state |= {"started": ticks, "exited": False, "pipes": {}}
            write(self.path("pids", name), state)
        remove(start["pid_file"])
        remove(self.path("starts", name))

    def watch(self, process: Process) -> None:
        self.adopted[process.fds["pidfd"]] = process
        self.epoll.register(process.fds["pidfd"], select.EPOLLIN)

    def execute_upgrade(self, argv: list[str]) -> None:
        self.upgrade_to = None
        processes = [
            {**process.state(), "fds": process.fds, "child": process.pid in self.children}
            for process in self.processes.values()
        ]
        state = {
            "listener": self.listener.fileno(),
            "lock": self.lock,
            "clients": list(self.connections.clients),
            "processes": processes,
            "lost": list(self.lost),
            "given_limit": self.launcher.given_limit,
        }
        keep = [self.listener.fileno(), self.lock, *self.connections.clients]
        keep += [fd for process in self.processes.values() for fd in process.fds.values()]
        for fd in keep:
            os.set_inheritable(fd, True)
        signal.pthread_sigmask(signal.SIG_BLOCK, ASKED_TO_END)  # until the handlers are back
        try:
            execute(argv, state)
        except OSError as error:
            complain(f"upgrade: {error}")
            for fd in keep:
                os.set_inheritable(fd, False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED_TO_END)

    def take_over(self, state: Json) -> None:
        for saved in state["processes"]:
            process = Process(saved, saved["fds"])
            for fd in process.fds.values():
                os.set_inheritable(fd, False)
            self.processes[process.name] = process
            if process.name in state["lost"]:
                self.lost[process.name] = process
            elif saved["child"]:
                self.children[process.pid] = process
            elif not process.exited:
                self.watch(process)
        for fd in state["clients"]:
            os.set_inheritable(fd, False)
            self.connections.welcome(socket.socket(fileno=fd))

    def path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)


def name_of(container: str, exec_id: str | None) -> str:
    return f"{container}.{exec_id}" if exec_id else container


def output_pipe() -> tuple[int, int]:
    """(our end, the container's end), which keeps the pipe alive without ours.

    The container's end is open for reading, too: when the daemon and we die at once, the container
    is not killed by SIGPIPE at its next line, and `outputs_of` finds the pipe again."""
    ours, writing = os.pipe2(os.O_CLOEXEC)
    try:
        return ours, os.open(f"/proc/self/fd/{writing}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(writing)


def pipes(fds: dict[str, int]) -> dict[str, str]:
    outputs = ("stdout", "stderr")
    return {name: os.readlink(f"/proc/self/fd/{fds[name]}") for name in outputs if name in fds}


def outputs_of(process: Process) -> dict[str, int]:
    """Our ends of its outputs, opened anew by way of its own descriptors."""
    found: dict[str, int] = {}
    wanted = {pipe: name for name, pipe in process.pipes.items()}
    descriptors = f"/proc/{process.pid}/fd"
    entries: list[str] = []
    with contextlib.suppress(OSError):  # it has just ended
        entries = os.listdir(descriptors)
    for entry in entries:
        # The process may change its descriptors: only what we hold is looked at and opened.
        with contextlib.suppress(OSError), held(f"{descriptors}/{entry}") as path:
            if name := wanted.pop(os.readlink(path), ""):
                found[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return found


@contextlib.contextmanager
def held(path: str) -> Iterator[str]:
    """Another path to the same file, whatever becomes of `path`."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def docker_status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def exit_status_of_other(process: Process, pidfd: int) -> int | None:
    """The status of an ended process that is not our child; None while the kernel hides it.

    A zombie shows it in /proc to root, a reaped one in its pidfd (Linux 6.15).
    """
    fields = stat_fields(process.pid)
    present = fields is not None and int(fields[19]) == process.started
    if fields is not None and present and fields[0] == "Z":
        return docker_status(int(fields[49]))
    info = bytearray(PIDFD_INFO.size)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    with contextlib.suppress(OSError):  # a kernel before 6.13
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
        mask, *_, wait_status = PIDFD_INFO.unpack(info)
        if mask & PIDFD_INFO_EXIT:
            return docker_status(wait_status)
    return None if present else UNKNOWN_STATUS


def start_ticks(pid: int) -> int:
    """When it was started; 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state (field 3) on; None when there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None


def await_runtime(pid_file: str) -> None:
    """Until no process has `pid_file` in its command line: the runtime and what it forks, before
    that becomes the container. One that hangs is killed."""
    deadline = time.monotonic() + RUNTIME_DEADLINE
    while pids := naming(pid_file):
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pids[0])
            if time.monotonic() > deadline:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            waiting.poll(20)  # ms: it may also become the container, which no event tells
            os.close(pidfd)


def naming(argument: str) -> list[int]:
    """The processes that have `argument` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                if argument.encode() in file.read().split(b"\0"):
                    found.append(int(entry))
    return found


def received(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def sent_terminal(listener: socket.socket) -> int:
    """The pty that the runtime has sent: it is in the queue when the runtime has ended."""
    connection, _ = listener.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    fds = received(ancillary)
    if not fds:
        raise OSError("the runtime sent no terminal")
    return fds[0]


def sealed_copy(path: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    name = os.path.basename(path)
    try:
        copy = os.memfd_create(name, flags | MFD_EXEC)
    except OSError:  # before Linux 6.3 every memfd is executable, and the flag unknown
        copy = os.memfd_create(name, flags)
    with open(path, "rb", buffering=0) as source:
        offset = 0
        while sent := os.sendfile(copy, source.fileno(), offset, 1 << 24):
            offset += sent
    fcntl.fcntl(copy, F_ADD_SEALS, SEALS)
    # Executing a file that is open for writing is refused (ETXTBSY).
    readable = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(copy)
    return readable


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, value: Json) -> None:
    """Appears complete or not at all; a full disk must not end the containers' keeper."""
    try:
        with open(path + "~", "w") as file:
            json.dump(value, file)
        os.rename(path + "~", path)
    except OSError as error:
        complain(f"writing {path}: {error}")
        remove(path + "~")


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def complain(text: str) -> None:
    """Into our log, if there is room for it: a full disk must not end the containers' keeper."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


def code_identity() -> list[str | int]:
    info = os.stat(__file__)
    return [os.path.abspath(__file__), info.st_size, info.st_mtime_ns]


def command(root: str, hidden_mount: str | None = None) -> list[str]:
    """How to run this program: imported, as a script would be compiled at each start, and the
    compiler's memory (1.4 MB) stays."""
    module = os.path.splitext(os.path.basename(__file__))[0]
    directory = os.path.dirname(os.path.abspath(__file__))
    start = f"import sys; sys.path.append({directory!r}); import {module}; {module}.main()"
    options = [] if hidden_mount is None else [hidden_mount]
    return [sys.executable, "-I", "-S", "-c", start, root, *options]


def execute(argv: list[str], state: Json) -> None:
    memfd = os.memfd_create("naru-supervisor-state", 0)
    with open(memfd, "w", closefd=False) as file:
        json.dump(state, file)
    os.lseek(memfd, 0, os.SEEK_SET)
    try:
        os.execve(argv[0], argv, {**os.environ, STATE: str(memfd)})
    finally:
        os.close(memfd)


def launch(root: str, hidden_mount: str | None) -> None:
    """Become the supervisor of `root`, or end with status 3 when there is one."""
    import ctypes  # only here: it costs more memory than all else

    libc = ctypes.CDLL(None, use_errno=True)

    os.umask(0o077)
    for directory in ("starts", "pids", "exits", "console"):
        os.makedirs(os.path.join(root, directory), mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(root, "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(3)
    for directory in ("starts", "pids", "exits"):
        for name in os.listdir(os.path.join(root, directory)):
            if name.endswith("~"):
                remove(os.path.join(root, directory, name))
    address = f"/proc/self/fd/{os.open(root, os.O_PATH | os.O_DIRECTORY)}/supervisor.sock"
    remove(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    listener.bind(address)
    listener.listen(64)
    if os.fork():
        os._exit(0)  # whoever started us may connect now
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(os.path.join(root, "supervisor.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for target, source in enumerate((null, null, log)):
        os.dup2(source, target)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    if hidden_mount is not None:
        # In a mount namespace that follows the host's, so that what the daemon mounts is seen.
        every = ctypes.c_ulong(MS_REC | MS_SLAVE)
        if (
            libc.unshare(CLONE_NEWNS) != 0
            or libc.mount(b"none", b"/", None, every, None) != 0
            or libc.umount2(hidden_mount.encode(), MNT_DETACH) != 0
        ):
            sys.exit(f"hiding {hidden_mount}: {os.strerror(ctypes.get_errno())}")
    with contextlib.suppress(OSError):  # the disk is full; only people read it
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    for fd in (lock, listener.fileno()):
        os.set_inheritable(fd, True)
    execute(command(root, hidden_mount), {"listener": listener.fileno(), "lock": lock})


def main() -> None:
    root = os.path.abspath(sys.argv[1])
    hidden_mount = sys.argv[2] if len(sys.argv) > 2 else None
    handed_over = os.environ.pop(STATE, None)
    if handed_over is None:
        launch(root, hidden_mount)
        return
    with open(int(handed_over)) as memfd:
        state = json.load(memfd)
    for fd in (state["lock"], state["listener"]):
        os.set_inheritable(fd, False)
    with open("/proc/self/comm", "w") as comm:
        comm.write("naru-supervisor")
    listener = socket.socket(fileno=state["listener"])
    supervisor = Supervisor(root, listener, state["lock"], state.get("given_limit"))
    if "processes" in state:
        supervisor.take_over(state)
    else:
        supervisor.adopt_from_files()
    supervisor.run()


if __name__ == "__main__":
    main()
