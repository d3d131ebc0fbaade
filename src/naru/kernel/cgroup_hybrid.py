"""Makes a hybrid machine's v2 mount free of controllers, which crun insists on.

On a hybrid machine the resources are limited through v1 hierarchies; a controller that nobody has
mounted there (often hugetlb alone) stays with the v2 mount, and crun refuses to work. So each
such controller is mounted as a v1 hierarchy of its own, beside the others.

Several daemons may want this at once, and containers outlive them. So a marker file in /run says
which mounts Naru made, every daemon that relies on one holds a shared lock on its marker, and the
last one to leave undoes it, unless there are still groups in it.

Where such a mount is not allowed, there is another way: runtimes run in a mount namespace in which
the v2 mount is hidden. What the daemon mounts must reach that namespace: `share` sees to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from naru.kernel import cgroups
from naru.kernel.syscalls import checked, libc

MARKERS = Path("/run/naru-cgroups")

_MS_BIND, _MS_SHARED = 0x1000, 0x100000


class HybridMounts:
    """`prepare()` at the daemon's start, `release()` at its clean stop. Both may take a while."""

    def __init__(self, markers: Path = MARKERS, root: Path = cgroups.ROOT) -> None:
        self._markers = markers
        self._root = root
        self._held: dict[str, int] = {}  # controller -> the locked marker

    def prepare(self) -> list[str]:
        """-> the controllers that could not be moved: then the v2 mount must be hidden."""
        hierarchies = cgroups.detect()
        if hierarchies.mode is not cgroups.Mode.HYBRID:
            return []
        stuck = []
        with self._alone():
            for controller in sorted(hierarchies.v2_controllers):
                try:
                    self._mount(controller)
                except OSError:
                    stuck.append(controller)
            for marker in self._markers.iterdir():
                if marker.name != _LOCK and marker.name in cgroups.detect().v1:
                    self._held[marker.name] = _shared(marker)
        return stuck

    def release(self) -> None:
        """Undo what nobody uses any more."""
        if not self._held:
            return
        with self._alone():
            for controller, held in self._held.items():
                with contextlib.suppress(OSError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._unmount(controller)
                os.close(held)
        self._held.clear()

    def _mount(self, controller: str) -> None:
        target = self._root / controller
        target.mkdir(exist_ok=True)
        marker = self._markers / controller
        marker.touch()
        try:
            # The option makes attaches take 0.1 ms instead of 6 to 12, on all hierarchies
            # (cgroup_threadgroup_rwsem favours writers); kernels before 6.0 do not know it.
            try:
                _mount_v1(target, f"{controller},favordynmods")
            except OSError:
                _mount_v1(target, controller)
        except OSError:
            marker.unlink()
            with contextlib.suppress(OSError):
                target.rmdir()
            raise

    def _unmount(self, controller: str) -> None:
        target = self._root / controller
        if any(entry.is_dir() for entry in target.iterdir()):
            return  # a container, ours or another engine's, lives there
        checked(libc.umount2(os.fsencode(target), 0), "umount", str(target))
        target.rmdir()
        (self._markers / controller).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._markers.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self._markers / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


_LOCK = "lock"


def _shared(marker: Path) -> int:
    fd = os.open(marker, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _mount_v1(target: Path, options: str) -> None:
    result = libc.mount(
        b"cgroup", os.fsencode(target), b"cgroup", ctypes.c_ulong(0), options.encode()
    )
    checked(result, f"mount -t cgroup -o {options}", str(target))


def share(directory: Path) -> bool:
    """Make mounts below `directory` propagate to other namespaces -> whether it had to be bind
    mounted onto itself for that (which `umount` undoes)."""
    path = os.fsencode(directory)
    if _is_shared(directory):
        return False
    checked(libc.mount(path, path, None, ctypes.c_ulong(_MS_BIND), None), "bind", str(directory))
    checked(libc.mount(None, path, None, ctypes.c_ulong(_MS_SHARED), None), "share", str(directory))
    return True


def _is_shared(directory: Path) -> bool:
    """Whether the mount that holds `directory` is shared: the deepest, and the latest of those."""
    deepest, shared = -1, False
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        target = Path(fields[4].encode().decode("unicode_escape"))
        depth = len(target.parts)
        if depth >= deepest and (target == directory or target in directory.parents):
            options = fields[6 : fields.index("-")]
            deepest, shared = depth, any(option.startswith("shared:") for option in options)
    return shared
