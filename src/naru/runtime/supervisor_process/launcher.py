"""Executing the OCI runtime, with pipes or with a socket to which it sends the pty."""

from __future__ import annotations

import _socket as socket
import contextlib
import fcntl
import os
import resource
import signal

from . import wire
from .records import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Json

_F_ADD_SEALS = 1033
_SEALS = 0xF  # SEAL | SHRINK | GROW | WRITE: exactly what crun's and runc's guards look for
_MFD_EXEC = 0x10


class Console:
    """A socket for `--console-socket`, in the directory that `consoles` is open on."""

    def __init__(self, consoles: int, number: int) -> None:
        # Short however long the root is (limit: 107 bytes): ours to bind, and the runtime's.
        self._path = f"/proc/self/fd/{consoles}/{number}"
        self.address = f"/proc/{os.getpid()}/fd/{consoles}/{number}"
        remove(self._path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(self._path)
        self._listener.listen(1)

    def terminal(self) -> int:
        """The pty that the runtime has sent: it is in the queue when the runtime has ended."""
        with contextlib.closing(wire.accept(self._listener)) as connection:
            _, fds = wire.receive(connection)
        if not fds:
            raise OSError("the runtime sent no terminal")
        return fds[0]

    def close(self) -> None:
        self._listener.close()
        remove(self._path)


class Launcher:
    def __init__(self, root: str, given_limit: int | None) -> None:
        """`given_limit`: the soft limit of open files for what is started; None for our own."""
        self._sealed: dict[str, tuple[tuple[int, ...], int]] = {}  # path -> (identity, memfd)
        self._consoles = os.open(os.path.join(root, "console"), os.O_PATH | os.O_DIRECTORY)
        self._console_number = 0
        # Descriptors for hundreds of containers; what we start gets the limit that we had.
        soft, self._hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.given_limit = soft if given_limit is None else given_limit
        self._limit_files(self._hard_limit)

    def start(self, request: Json, fds: dict[str, int], console: Console | None) -> int:
        """-> the runtime's pid. Our ends of the pipes are added to `fds`, also when it fails with
        `OSError`; the container's are closed here."""
        argv = request["argv"]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        stdio, given = [null, null, null], [null]
        try:
            if console is not None:
                argv = [console.address if part == "{console}" else part for part in argv]
            else:
                if request["stdin"]:
                    stdio[0], fds["stdin"] = os.pipe2(os.O_CLOEXEC)
                    given.append(stdio[0])
                for number, name in ((1, "stdout"), (2, "stderr")):
                    fds[name], stdio[number] = output_pipe()
                    given.append(stdio[number])
            program = self._program(request["path"], sealed=request["sealed"])
            return self._spawn(program, argv, request["env"], stdio)
        finally:
            for fd in given:
                os.close(fd)

    def new_console(self) -> Console:
        self._console_number += 1
        return Console(self._consoles, self._console_number)

    def _program(self, path: str, *, sealed: bool) -> str:
        """The path to execute. A sealed memfd copy spares the runtime the copy that it would
        otherwise make of itself at each call (its guard against CVE-2019-5736)."""
        if not sealed:
            return path
        info = os.stat(path)
        identity = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
        known = self._sealed.get(path)
        if known is None or known[0] != identity:
            if known is not None:
                os.close(known[1])
            self._sealed[path] = known = (identity, _sealed_copy(path))
        return f"/proc/self/fd/{known[1]}"

    def _spawn(self, program: str, argv: list[str], env: dict[str, str], stdio: list[int]) -> int:
        self._limit_files(self.given_limit)
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
            self._limit_files(self._hard_limit)

    def _limit_files(self, soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard_limit))


def output_pipe() -> tuple[int, int]:
    """(our end, the container's end), which keeps the pipe alive without ours.

    The container's end is open for reading, too: when the daemon and we die at once, the container
    is not killed by SIGPIPE at its next line, and `open_pipes` finds the pipe again."""
    ours, writing = os.pipe2(os.O_CLOEXEC)
    try:
        return ours, os.open(f"/proc/self/fd/{writing}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(writing)


def _sealed_copy(path: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    name = os.path.basename(path)
    try:
        copy = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:  # before Linux 6.3 every memfd is executable, and the flag unknown
        copy = os.memfd_create(name, flags)
    with open(path, "rb", buffering=0) as source:
        offset = 0
        while sent := os.sendfile(copy, source.fileno(), offset, 1 << 24):
            offset += sent
    fcntl.fcntl(copy, _F_ADD_SEALS, _SEALS)
    # Executing a file that is open for writing is refused (ETXTBSY).
    readable = os.open(f"/proc/self/fd/{copy}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(copy)
    return readable
