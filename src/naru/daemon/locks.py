"""One daemon for a data root, and a pid file that says which.

The kernel releases the lock of a daemon that was killed; a pid file can only be judged by whether
its process lives.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


class LockError(Exception):
    """Another daemon is at work here."""


_DAEMONS = (b"naru", b"docker")


@contextmanager
def held(*, data_root: Path, pidfile: Path) -> Iterator[None]:
    """Hold the data root and the pid file (an empty path: none) for the life of the daemon."""
    with ExitStack() as undo:
        undo.callback(os.close, _locked(data_root))
        if pidfile != Path():
            _written(pidfile)
            undo.callback(_removed, pidfile)
        yield


def _locked(data_root: Path) -> int:
    data_root.mkdir(mode=0o710, parents=True, exist_ok=True)
    # Programs that we start, the supervisor first of all, must not inherit it: it is O_CLOEXEC.
    fd = os.open(data_root / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise LockError(
            f"data root {data_root} is in use by another daemon (process {holder or 'unknown'})"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _written(pidfile: Path) -> None:
    with suppress(FileNotFoundError, ValueError):
        pid = int(pidfile.read_text())
        if pid != os.getpid() and _alive(pid):
            raise LockError(f"pid file found, ensure docker is not running or delete {pidfile}")
    pidfile.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = pidfile.with_name(f"{pidfile.name}.{os.getpid()}")
    fresh.write_text(str(os.getpid()))
    fresh.replace(pidfile)


def _alive(pid: int) -> bool:
    """Whether a daemon has this pid: not a dead one that nobody reaped, nor one whose number
    another program got since."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and any(name in command for name in _DAEMONS)


def _removed(pidfile: Path) -> None:
    with suppress(FileNotFoundError, ValueError):
        if int(pidfile.read_text()) == os.getpid():
            pidfile.unlink()
