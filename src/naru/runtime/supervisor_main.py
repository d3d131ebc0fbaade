"""The supervisor: one small process that outlives the daemon and owns every container's stdio.

It starts the OCI runtime, keeps the far ends of the pipes (or the pty) of each container and exec,
reaps their processes as a subreaper and records every exit in a file. It never reads or writes
container data. Daemons connect to `<exec-root>/supervisor.sock` (SOCK_SEQPACKET, mode 0600), send
one JSON request per datagram and get one JSON reply with the same `id`; file descriptors travel by
SCM_RIGHTS. Exits are sent to every connected daemon as `{"exit": {...}}`.

    supervisor.lock     held (flock) by the one supervisor of this exec root
    pids/NAME           what runs: enough for a next supervisor to adopt it after a crash
    exits/NAME          what ended: stays until a daemon acknowledges it
    NAME                is CONTAINER or CONTAINER.EXEC

It runs by itself (`python -I -S supervisor_main.py EXEC_ROOT`), imports the standard library only,
and little of that, because its memory is paid on every host.

Life: `launch` takes the lock, binds the socket, forks away and becomes a subreaper, then executes
this file again without what only that needed (ctypes). An upgrade is the same execve in the same
pid: descriptors, children and connections are handed over in a memfd. After a crash, the daemon
starts a new supervisor, which adopts what `pids/` names, and gives it its own copies of the stdio.
"""

import array
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

STATE = "NARU_SUPERVISOR_STATE"  # environment: the memfd of a handed-over state
MAX_MESSAGE = 1 << 18
MAX_FDS = 8
SEND_BUFFER = 4 << 20
UNKNOWN_STATUS = 255  # what Docker reports for an exit that nobody saw
LIVE_PER_REPLY = 200

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

    def __init__(self, container, exec_id, pid, started, fds):
        self.container = container
        self.exec_id = exec_id
        self.pid = pid
        self.started = started  # clock ticks since boot: tells a reused pid apart
        self.fds = fds
        self.exited = False

    @property
    def name(self):
        return name_of(self.container, self.exec_id)

    def state(self):
        return {
            "container": self.container,
            "exec": self.exec_id,
            "pid": self.pid,
            "started": self.started,
            "exited": self.exited,
        }

    def close(self, *names):
        for name in names or tuple(self.fds):
            fd = self.fds.pop(name, None)
            if fd is not None:
                os.close(fd)


class Start:
    """A runtime that is at work on starting a container or an exec."""

    def __init__(self, request, client, fds, console):
        self.request = request
        self.client = client
        self.fds = fds
        self.console = console  # the listening console socket, or None


class Supervisor:
    def __init__(self, root, listener, lock):
        self.root = root
        self.listener = listener
        self.lock = lock
        self.clients = {}  # fd -> socket
        self.processes = {}  # name -> Process; ended ones until they are acknowledged
        self.children = {}  # pid -> Process
        self.adopted = {}  # pidfd -> Process that is not our child
        self.lost = {}  # name -> Process that ended while nobody watched
        self.starting = {}  # pid of the runtime -> Start
        self.early = {}  # pid -> (status, ns): reaped while its runtime was still at work
        self.sealed = {}  # runtime path -> (its identity, memfd)
        self.upgrade_to = None
        self.consoles = os.open(os.path.join(root, "console"), os.O_PATH | os.O_DIRECTORY)
        self.console_number = 0
        self.given_limit, self.hard_limit = raised_file_limit()
        self.epoll = select.epoll()
        self.wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.asked_to_end)
        for fd in (self.wakeup, listener.fileno()):
            self.epoll.register(fd, select.EPOLLIN)

    # -- the loop ---------------------------------------------------------------------------

    def run(self):
        self.reap()
        while True:
            for fd, _ in self.epoll.poll():
                if fd == self.wakeup:
                    try:
                        os.read(self.wakeup, 4096)
                    except BlockingIOError:
                        pass
                    self.reap()
                elif fd == self.listener.fileno():
                    self.accept()
                elif fd in self.clients:
                    self.receive(self.clients[fd])
                elif fd in self.adopted:
                    self.adopted_ended(fd)
            if self.upgrade_to and not self.starting:
                self.execute_upgrade()

    def asked_to_end(self, number, frame):
        """Containers outlive a careless SIGTERM; without any there is nothing to keep."""
        if not self.processes and not self.starting:
            self.remove_socket()
            os._exit(0)

    def accept(self):
        client, _ = self.listener.accept()
        self.welcome(client)

    def welcome(self, client):
        client.setblocking(False)
        for option in (32, socket.SO_SNDBUF):  # SO_SNDBUFFORCE needs CAP_NET_ADMIN
            try:
                client.setsockopt(socket.SOL_SOCKET, option, SEND_BUFFER)
                break
            except OSError:
                continue
        self.clients[client.fileno()] = client
        self.epoll.register(client.fileno(), select.EPOLLIN)

    def receive(self, client):
        try:
            data, ancillary, _, _ = client.recvmsg(
                MAX_MESSAGE, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.drop(client)
            return
        fds = received(ancillary)
        request = json.loads(data)
        try:
            answer = getattr(self, "do_" + request["op"])(client, request, fds)
        except Exception as error:  # a bad request must not take the containers' keeper down
            print(f"request {request.get('op')} failed: {error!r}", file=sys.stderr, flush=True)
            answer = {"error": f"{type(error).__name__}: {error}"}
        if answer is not None:
            self.send(client, {"id": request["id"], **answer})

    def send(self, client, message, fds=()):
        """A daemon that does not read is cut off: it reconnects and finds all in the files."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            client.sendmsg([json.dumps(message).encode()], ancillary)
        except OSError:
            self.drop(client)

    def drop(self, client):
        if self.clients.pop(client.fileno(), None) is not None:
            self.epoll.unregister(client.fileno())
            client.close()

    # -- requests ---------------------------------------------------------------------------

    def do_hello(self, client, request, fds):
        return {"pid": os.getpid(), "code": code_identity()}

    def do_spawn(self, client, request, fds):
        """Run `argv`; the answer comes when the runtime has ended. `{console}` in argv is
        replaced by the console socket's path."""
        name = name_of(request["container"], request["exec"])
        old = self.processes.get(name)
        if old is not None and not old.exited:
            return {"error": f"{name} is already running"}
        if old is not None:
            self.forget(old)
        kept, given, console, argv = {}, [], None, request["argv"]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            if request["tty"]:
                console, path = self.listen_for_console()
                argv = [path if part == "{console}" else part for part in argv]
                stdio = [null, null, null]
            else:
                stdio = [null]
                if request["stdin"]:
                    stdio[0], kept["stdin"] = os.pipe2(os.O_CLOEXEC)
                    given.append(stdio[0])
                for output in ("stdout", "stderr"):
                    kept[output], write_end = os.pipe2(os.O_CLOEXEC)
                    given.append(write_end)
                    stdio.append(write_end)
            program = self.program(request["path"], request["sealed"])
            pid = self.posix_spawn(program, argv, request["env"], stdio)
        except OSError as error:
            for fd in kept.values():
                os.close(fd)
            if console is not None:
                self.stop_listening(console)
            return {"error": f"{request['path']}: {error.strerror}", "errno": error.errno}
        finally:
            for fd in (null, *given):
                os.close(fd)
        self.starting[pid] = Start(request, client, kept, console)
        return None

    def do_stdio(self, client, request, fds):
        process = self.processes[name_of(request["container"], request["exec"])]
        names = list(process.fds)
        answer = {"id": request["id"], "pid": process.pid, "fds": names}
        self.send(client, answer, list(process.fds.values()))

    def do_live(self, client, request, fds):
        start = request["from"]
        names = list(self.processes)
        page = [self.processes[name].state() for name in names[start : start + LIVE_PER_REPLY]]
        return {"live": page, "more": start + LIVE_PER_REPLY < len(names)}

    def do_close_stdin(self, client, request, fds):
        process = self.processes.get(name_of(request["container"], request["exec"]))
        if process is not None:
            process.close("stdin")
        return {}

    def do_acknowledge(self, client, request, fds):
        process = self.processes.get(name_of(request["container"], request["exec"]))
        if process is not None and process.exited and process.pid == request["pid"]:
            self.forget(process)
        elif process is None:
            remove(self.path("exits", name_of(request["container"], request["exec"])))
        return {}

    def do_adopt(self, client, request, fds):
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
        if process.name in self.lost:
            del self.lost[process.name]
            process.fds["pidfd"] = pidfd
            self.watch(process)
        elif pidfd is not None:
            os.close(pidfd)
        return {}

    def do_adopted(self, client, request, fds):
        """No more `adopt` to come: what nobody has a pidfd of ended with an unknown status."""
        for process in list(self.lost.values()):
            self.ended(process, UNKNOWN_STATUS, time.time_ns())
        self.lost.clear()
        return {}

    def do_upgrade(self, client, request, fds):
        self.upgrade_to = request["argv"]
        return {}

    def do_quit(self, client, request, fds):
        """End, if there is nothing left to keep."""
        if self.processes or self.starting:
            return {"busy": len(self.processes) + len(self.starting)}
        self.remove_socket()
        self.send(client, {"id": request["id"], "busy": 0})
        os._exit(0)

    # -- starting ---------------------------------------------------------------------------

    def program(self, path, sealed):
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

    def posix_spawn(self, program, argv, env, stdio):
        # Python ignores SIGPIPE and SIGXFSZ: the container must not inherit that, nor our limit.
        file_limit(self.given_limit, self.hard_limit)
        try:
            return os.posix_spawn(
                program,
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)],
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
                setsid=True,
            )
        finally:
            file_limit(self.hard_limit, self.hard_limit)

    def listen_for_console(self):
        """A socket for `--console-socket`, by a path that is short however long the root is."""
        self.console_number += 1
        entry = f"{self.consoles}/{self.console_number}"
        remove(f"/proc/self/fd/{entry}")
        console = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        console.bind(f"/proc/self/fd/{entry}")
        console.listen(1)
        return (console, f"/proc/self/fd/{entry}"), f"/proc/{os.getpid()}/fd/{entry}"

    def stop_listening(self, console):
        console[0].close()
        remove(console[1])

    def runtime_ended(self, start, status):
        """The runtime has done its work: its pid file names the process, or it failed."""
        request = start.request
        try:
            if start.console is not None and status == 0:
                start.fds["pty"] = sent_terminal(start.console[0])
            pid = int(read(request["pid_file"])) if status == 0 else 0
        except (OSError, ValueError) as error:
            print(f"start of {request['container']}: {error!r}", file=sys.stderr, flush=True)
            pid = 0
        finally:
            if start.console is not None:
                self.stop_listening(start.console)
            remove(request["pid_file"])
        process = Process(request["container"], request["exec"], pid, 0, start.fds)
        if pid == 0:
            process.close()
            self.send(start.client, {"id": request["id"], "failed": status or UNKNOWN_STATUS})
            return
        status_and_time = self.early.pop(pid, None)
        self.processes[process.name] = process
        if status_and_time is None:
            process.started = start_ticks(pid)
            process.fds["pidfd"] = os.pidfd_open(pid)  # not reaped yet: it is surely ours
            self.children[pid] = process
            write(self.path("pids", process.name), process.state())
        answer = {"id": request["id"], "pid": pid, "fds": list(process.fds)}
        self.send(start.client, answer, list(process.fds.values()))
        if status_and_time is not None:
            self.ended(process, *status_and_time)

    # -- ending -----------------------------------------------------------------------------

    def reap(self):
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

    def ended(self, process, status, at):
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
        write(self.path("exits", process.name), record)
        remove(self.path("pids", process.name))
        for client in list(self.clients.values()):
            self.send(client, {"exit": record})

    def adopted_ended(self, pidfd):
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

    def forget(self, process):
        process.close()
        self.processes.pop(process.name, None)
        remove(self.path("exits", process.name))
        remove(self.path("pids", process.name))

    # -- taking over ------------------------------------------------------------------------

    def adopt_from_files(self):
        """What ran under a supervisor that died. Its children are now another process's, so
        pidfds watch them and tell their status."""
        for name in os.listdir(self.path("pids")):
            state = json.loads(read(self.path("pids", name)))
            process = Process(state["container"], state["exec"], state["pid"], state["started"], {})
            if os.path.exists(self.path("exits", name)):
                remove(self.path("pids", name))
                continue
            self.processes[name] = process
            try:
                pidfd = os.pidfd_open(process.pid)
            except OSError:
                self.lost[name] = process
                continue
            if start_ticks(process.pid) != process.started:
                os.close(pidfd)
                self.lost[name] = process
                continue
            process.fds["pidfd"] = pidfd
            self.watch(process)

    def watch(self, process):
        self.adopted[process.fds["pidfd"]] = process
        self.epoll.register(process.fds["pidfd"], select.EPOLLIN)

    def execute_upgrade(self):
        argv, self.upgrade_to = self.upgrade_to, None
        processes = [
            {**process.state(), "fds": process.fds, "child": process.pid in self.children}
            for process in self.processes.values()
        ]
        state = {
            "listener": self.listener.fileno(),
            "lock": self.lock,
            "clients": list(self.clients),
            "processes": processes,
            "lost": list(self.lost),
            "quota": self.given_limit,
        }
        keep = [self.listener.fileno(), self.lock, *self.clients]
        keep += [fd for process in self.processes.values() for fd in process.fds.values()]
        for fd in keep:
            os.set_inheritable(fd, True)
        try:
            execute(argv, state)
        except OSError as error:
            print(f"upgrade failed: {error}", file=sys.stderr, flush=True)
            for fd in keep:
                os.set_inheritable(fd, False)

    def take_over(self, state):
        self.given_limit = state["quota"]
        for saved in state["processes"]:
            process = Process(
                saved["container"], saved["exec"], saved["pid"], saved["started"], saved["fds"]
            )
            process.exited = saved["exited"]
            self.processes[process.name] = process
            if process.name in state["lost"]:
                self.lost[process.name] = process
            elif saved["child"]:
                self.children[process.pid] = process
            elif not process.exited:
                self.watch(process)
            for fd in process.fds.values():
                os.set_inheritable(fd, False)
        for fd in state["clients"]:
            os.set_inheritable(fd, False)
            self.welcome(socket.socket(fileno=fd))

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def remove_socket(self):
        remove(self.path("supervisor.sock"))


def name_of(container, exec_id):
    return f"{container}.{exec_id}" if exec_id else container


def docker_status(wait_status):
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def exit_status_of_other(process, pidfd):
    """The status of an ended process that is not our child; None while the kernel hides it.

    A zombie shows it in /proc to root, a reaped one in its pidfd (Linux 6.15).
    """
    fields = stat_fields(process.pid)
    present = fields is not None and int(fields[19]) == process.started
    if present and fields[0] == "Z":
        return docker_status(int(fields[49]))
    info = bytearray(PIDFD_INFO.size)
    struct.pack_into("=Q", info, 0, PIDFD_INFO_EXIT)
    try:
        answered = fcntl.ioctl(pidfd, PIDFD_GET_INFO, info) == 0
    except OSError:
        answered = False  # a kernel before 6.13
    mask, *_, wait_status = PIDFD_INFO.unpack(info)
    if answered and mask & PIDFD_INFO_EXIT:
        return docker_status(wait_status)
    return None if present else UNKNOWN_STATUS


def start_ticks(pid):
    """When it was started; 0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else 0


def stat_fields(pid):
    """/proc/PID/stat from the state (field 3) on; None when there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None


def received(ancillary):
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def sent_terminal(listener):
    """The pty that the runtime has sent: it is in the queue when the runtime has ended."""
    connection, _ = listener.accept()
    with connection:
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    fds = received(ancillary)
    if not fds:
        raise OSError("the runtime sent no terminal")
    return fds[0]


def sealed_copy(path):
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    name = os.path.basename(path)
    try:
        copy = os.memfd_create(name, flags | MFD_EXEC)
    except OSError:  # before Linux 6.3 every memfd is executable, and the flag unknown
        copy = os.memfd_create(name, flags)
    with open(path, "rb", buffering=0) as source:
        while os.sendfile(copy, source.fileno(), None, 1 << 24):
            pass
    fcntl.fcntl(copy, F_ADD_SEALS, SEALS)
    # Executing a file that is open for writing is refused (ETXTBSY).
    readable = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(copy)
    return readable


def raised_file_limit():
    """Descriptors for hundreds of containers; what we start gets the limit that we had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    file_limit(hard, hard)
    return soft, hard


def file_limit(soft, hard):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def read(path):
    with open(path) as file:
        return file.read()


def write(path, value):
    """Appears complete or not at all."""
    with open(path + "~", "w") as file:
        json.dump(value, file)
    os.rename(path + "~", path)


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def code_identity():
    info = os.stat(__file__)
    return [os.path.abspath(__file__), info.st_size, info.st_mtime_ns]


def execute(argv, state):
    memfd = os.memfd_create("naru-supervisor-state", 0)
    os.write(memfd, json.dumps(state).encode())
    os.lseek(memfd, 0, os.SEEK_SET)
    try:
        os.execve(argv[0], argv, {**os.environ, STATE: str(memfd)})
    finally:
        os.close(memfd)


def launch(root):
    """Become the supervisor of `root`, or end with status 3 when there is one."""
    import ctypes  # only here: it costs more memory than all else

    for directory in ("pids", "exits", "console"):
        os.makedirs(os.path.join(root, directory), mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(root, "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(3)
    for directory in ("pids", "exits"):
        for name in os.listdir(os.path.join(root, directory)):
            if name.endswith("~"):
                remove(os.path.join(root, directory, name))
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY)
    address = f"/proc/self/fd/{directory}/supervisor.sock"
    remove(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    os.umask(0o077)
    listener.bind(address)
    listener.listen(64)
    if os.fork():
        os._exit(0)  # whoever started us may connect now
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(
        os.path.join(root, "supervisor.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
    )
    for target, source in enumerate((null, null, log)):
        os.dup2(source, target)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)
    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) != 0:  # PR_SET_CHILD_SUBREAPER
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    for fd in (lock, listener.fileno()):
        os.set_inheritable(fd, True)
    argv = [sys.executable, "-I", "-S", os.path.abspath(__file__), root]
    execute(argv, {"listener": listener.fileno(), "lock": lock, "fresh": True})


def main():
    root = os.path.abspath(sys.argv[1])
    handed_over = os.environ.pop(STATE, None)
    if handed_over is None:
        launch(root)
    with open(int(handed_over)) as memfd:
        state = json.load(memfd)
    for fd in (state["lock"], state["listener"]):
        os.set_inheritable(fd, False)
    listener = socket.socket(fileno=state["listener"])
    supervisor = Supervisor(root, listener, state["lock"])
    if state.get("fresh"):
        supervisor.adopt_from_files()
    else:
        supervisor.take_over(state)
    supervisor.run()


if __name__ == "__main__":
    main()
