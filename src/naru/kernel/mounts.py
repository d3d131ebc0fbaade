"""Mounting: a `Mount` says what to mount, `mount()` does it.

Options are mount(8)'s words. Overlay's lower layers are given one by one, topmost first, as
`lowerdir+=PATH`; whether they reach the kernel as one classic option page or through the new mount
API (no limit on their number, any character in their paths) is decided here. `OSError` is raised
for whatever the kernel refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from naru.kernel.mount_context import mount_by_context
from naru.kernel.mount_options import (
    BIND_ATTRIBUTES,
    FLAGS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    ParsedOptions,
    parse_options,
)
from naru.kernel.mount_table import mount_table
from naru.kernel.syscalls import checked, libc

_PR_CAPBSET_DROP = 24
_CAP_SYS_RESOURCE = 24

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_ATTRIBUTES = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime")
_CLONE_FS = 0x200
_STATX_ATTR_MOUNT_ROOT = 0x2000


@dataclass(frozen=True)
class Mount:
    """`mount -t type -o options source target`. "" as type or source is none."""

    type: str
    source: str
    target: Path
    options: Sequence[str] = ()
    held: object = field(default=None, compare=False, repr=False)
    """What must stay alive until the mount is done: an open device that goes with its last user."""
    tuning: Sequence[tuple[Path, str]] = ()
    """Files of /sys to write once it is mounted, and what; one that cannot be undoes the mount."""


def mount(m: Mount) -> None:
    """Carry out one mount, propagation and read-only binds included.

    A second step that fails undoes the first.
    """
    parsed = parse_options(m.options)
    if m.type.startswith("fuse."):
        _mount_by_program(m)
    elif parsed.lowers:
        _mount_overlay(m, parsed)
    elif not (parsed.propagation and not m.type and not parsed.flags):
        first = parsed.flags
        later = 0
        if parsed.flags & MS_BIND and not parsed.flags & MS_REMOUNT:
            later = parsed.flags & BIND_ATTRIBUTES
            first &= ~BIND_ATTRIBUTES
        _mount(m.source, m.target, m.type, first, ",".join(parsed.data))
        if later:
            with _undone(m.target):
                # The kernel insists on the flags that the source's mount has locked.
                flags = MS_BIND | MS_REMOUNT | later | _locked(m.target)
                _mount("", m.target, "", flags, "")
    for propagation in parsed.propagation:
        with _undone(m.target):
            _mount("", m.target, "", propagation, "")
    for path, value in m.tuning:
        with _undone(m.target):
            path.write_text(value)


def unmount(path: Path, detach: bool = True) -> None:
    """Unmount the topmost mount at `path`; one that is not there is no error."""
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    if libc.umount2(os.fsencode(path), flags) < 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise OSError(number, f"umount: {os.strerror(number)}", str(path))


def is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def is_mounted(path: Path) -> bool:
    """Whether `path` is the root of a mount. One statx(2); it does not read the mount table."""
    buffer = ctypes.create_string_buffer(256)
    at_fdcwd, nofollow_no_automount = -100, 0x100 | 0x800
    if libc.statx(at_fdcwd, os.fsencode(path), nofollow_no_automount, 0, buffer) < 0:
        number = ctypes.get_errno()
        if number in (errno.ENOENT, errno.ENOTDIR):
            return False
        if number != errno.ENOSYS:
            # ENOTCONN: a FUSE server that died; only the table can tell.
            return _in_table(path)
    attributes = int.from_bytes(buffer.raw[8:16], "little")
    mask = int.from_bytes(buffer.raw[56:64], "little")
    if not mask & _STATX_ATTR_MOUNT_ROOT:  # before Linux 5.8
        return _in_table(path)
    return bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def mounts_below(root: Path) -> list[Path]:
    """Mount points at or below `root`, deepest and newest first: the order to unmount them in."""
    top = os.path.realpath(root)
    inside = [
        Path(entry.target)
        for entry in mount_table()
        if entry.target == top or entry.target.startswith(top.rstrip("/") + "/")
    ]
    return inside[::-1]


def _mount(source: str, target: Path, kind: str, flags: int, data: str) -> None:
    result = libc.mount(
        os.fsencode(source) or b"none",
        os.fsencode(target),
        os.fsencode(kind) or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    checked(result, f"mount {kind or source or 'propagation'}", str(target))


def _mount_overlay(m: Mount, parsed: ParsedOptions) -> None:
    values = [*parsed.lowers, *(item.partition("=")[2] for item in parsed.data)]
    plain = not any(character in value for value in values for character in ":,\\")
    if plain and _fits(parsed.lowers, parsed.data):
        _mount(m.source, m.target, m.type, parsed.flags, _page(parsed.lowers, parsed.data))
        return
    try:
        by_key = [("lowerdir+", lower) for lower in parsed.lowers]
        options = [*by_key, *(_keyed(item) for item in parsed.data)]
        mount_by_context(
            m.type,
            m.source,
            m.target,
            options=options,
            attributes=[word for word in _ATTRIBUTES if parsed.flags & FLAGS[word]],
            read_only=bool(parsed.flags & MS_RDONLY),
        )
    except OSError as error:
        # ENOSYS: before Linux 5.2. EINVAL: overlay before 6.7 does not know `lowerdir+`.
        if not plain or error.errno not in (errno.ENOSYS, errno.EINVAL):
            raise
        _mount_relative(m, parsed)


def _keyed(item: str) -> tuple[str, str | None]:
    key, equals, value = item.partition("=")
    return key, value if equals else None


def _mount_relative(m: Mount, parsed: ParsedOptions) -> None:
    """For older kernels: shorter paths, relative to the directory that all the layers share.

    The working directory is a thread's own after unshare(CLONE_FS), so the process keeps its own.
    """
    top = os.path.commonpath(parsed.lowers)
    names = [os.path.relpath(lower, top) for lower in parsed.lowers]
    with contextlib.ExitStack() as undo:
        if not _fits(names, parsed.data):
            # The kernel resolves links at the mount, and does not need them any more then.
            top = undo.enter_context(tempfile.TemporaryDirectory(prefix="naru-lower-"))
            names = [str(number) for number in range(len(parsed.lowers))]
            for name, lower in zip(names, parsed.lowers, strict=True):
                os.symlink(os.path.abspath(lower), os.path.join(top, name))
        if not _fits(names, parsed.data):
            raise OSError(errno.E2BIG, f"{len(names)} layers are too many for this kernel")
        target = m.target.absolute()

        def work() -> None:
            checked(libc.unshare(_CLONE_FS), "unshare")
            os.chdir(top)
            _mount(m.source, target, m.type, parsed.flags, _page(names, parsed.data))

        _in_own_thread(work)


def _page(lowers: Sequence[str], data: Sequence[str]) -> str:
    return ",".join(["lowerdir=" + ":".join(lowers), *data])


def _fits(lowers: Sequence[str], data: Sequence[str]) -> bool:
    return len(os.fsencode(_page(lowers, data))) < os.sysconf("SC_PAGE_SIZE")


def _mount_by_program(m: Mount) -> None:
    """`fuse.NAME` is served by the program NAME, which returns once the mount is there."""
    program = m.type.removeprefix("fuse.")
    command = [program, "-o", ",".join(m.options), str(m.target)]
    ended: list[subprocess.CompletedProcess[bytes]] = []

    def serve() -> None:
        # As the kernel's overlayfs does: what containers write must not pass over disk quotas, as
        # root may. The thread's bounding set is what the program inherits; the thread ends.
        libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_RESOURCE, 0, 0, 0)
        # A session of its own: the server must not die with the daemon or its terminal.
        ended.append(
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, start_new_session=True, check=False, timeout=60,
            )
        )  # fmt: skip

    try:
        _in_own_thread(serve)
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, f"{program} does not answer", str(m.target)) from None
    done = ended[0]
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise OSError(errno.EIO, f"{program}: {why}", str(m.target))


def _in_own_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def _undone(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            unmount(target)
        raise


def _locked(target: Path) -> int:
    bits = os.statvfs(target).f_flag
    # ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of the MS_ flags.
    return bits & (MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _in_table(path: Path) -> bool:
    # The last part is not resolved: it may be a mount that answers no stat.
    wanted = os.path.join(os.path.realpath(path.parent), path.name)
    return any(entry.target == wanted for entry in mount_table())
