"""Becoming the supervisor of an exec root: all that happens once, before the program that stays."""

from __future__ import annotations

import _socket as socket
import contextlib
import ctypes
import fcntl
import os
import sys

from . import program
from .records import Records, remove

_ALREADY_RUNNING = 3  # exit status
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_MNT_DETACH = 2


def launch(root: str, hidden_mount: str | None) -> None:
    """Become the supervisor of `root`, or end with status 3 when there is one."""
    os.umask(0o077)
    records = Records(root)
    records.make_directories()
    os.makedirs(os.path.join(root, "console"), mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(root, "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(_ALREADY_RUNNING)
    records.remove_half_written()
    listener = _listen(root)
    if os.fork():
        os._exit(0)  # whoever started us may connect now
    _leave_the_starter(root)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_CHILD_SUBREAPER) failed")
    if hidden_mount is not None:
        _hide(libc, hidden_mount)
    with contextlib.suppress(OSError):  # the disk is full; only people read it
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    for fd in (lock, listener.fileno()):
        os.set_inheritable(fd, True)
    # What has to be compiled is compiled here: the compiler's memory (1 MB) ends with this image.
    from . import loop  # noqa: F401

    state = {"listener": listener.fileno(), "lock": lock}
    program.execute(program.command(root, hidden_mount), state)


def _listen(root: str) -> socket.socket:
    """At an address that is short however long the root is (limit: 107 bytes)."""
    address = f"/proc/self/fd/{os.open(root, os.O_PATH | os.O_DIRECTORY)}/supervisor.sock"
    remove(address)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    listener.bind(address)
    listener.listen(64)
    return listener


def _leave_the_starter(root: str) -> None:
    """Its session, directory and stdio; complaints go to our log."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(os.path.join(root, "supervisor.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for target, source in enumerate((null, null, log)):
        os.dup2(source, target)


def _hide(libc: ctypes.CDLL, mount: str) -> None:
    """In a mount namespace that follows the host's, so that what the daemon mounts is seen."""
    every = ctypes.c_ulong(_MS_REC | _MS_SLAVE)
    if (
        libc.unshare(_CLONE_NEWNS) != 0
        or libc.mount(b"none", b"/", None, every, None) != 0
        or libc.umount2(mount.encode(), _MNT_DETACH) != 0
    ):
        sys.exit(f"hiding {mount}: {os.strerror(ctypes.get_errno())}")
