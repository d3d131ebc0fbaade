"""The mount points that every container needs, made once per image in a layer of their own.

So they are in no container's changes and in no committed image, as with dockerd's `-init` layers.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from naru.kernel.inroot import make_directories, open_in_root
from naru.store.driver import StorageDriver
from naru.store.mounting import mount_all, unmount_layer

_DIRECTORIES = ("/dev/pts", "/dev/shm", "/proc", "/sys")
_FILES = ("/.dockerenv", "/dev/console", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def make_init_layer(driver: StorageDriver, layer: str, parent: str | None, target: Path) -> None:
    """Blocks. Make that layer over an image's, by way of `target`; nothing stays where it fails."""
    try:
        driver.create(layer, parent, writable=True)
        mount_all(driver.mounts(layer, target))
        try:
            make_mount_points(target)
        finally:
            unmount_layer(driver, layer, target)
        _sync_directory(target.parent)
    except BaseException:
        driver.remove(layer)
        raise


def _sync_directory(home: Path) -> None:
    """Make what was made in and below a directory durable: its journal's entry is the last.

    Files directly in it, which say what the layer lies on, with what they hold.
    """
    if not home.exists():
        return
    files = [Path(each) for each in os.scandir(home) if each.is_file(follow_symlinks=False)]
    for path in (*files, home):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def make_mount_points(rootfs: Path) -> None:
    """Make what is missing; what the image has stays, whatever it is."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in _DIRECTORIES:
            with contextlib.suppress(NotADirectoryError, FileExistsError, FileNotFoundError):
                make_directories(root, path, owner=(0, 0))
        for path in _FILES:
            _make_file(root, path)
        # Where mount(8) in the container looks.
        _make_link(root, "/etc", "mtab", "/proc/mounts")
    finally:
        os.close(root)


def _make_file(root: int, path: str) -> None:
    parent, _, _ = path.rpartition("/")
    # A link that leads nowhere, or a parent that is no directory: the image has its reasons.
    with contextlib.suppress(FileExistsError, NotADirectoryError, FileNotFoundError, OSError):
        make_directories(root, parent, owner=(0, 0))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = open_in_root(root, path, flags, 0o755)
        os.fchmod(fd, 0o755)
        os.close(fd)


def _make_link(root: int, directory: str, name: str, target: str) -> None:
    with contextlib.suppress(FileExistsError, NotADirectoryError, FileNotFoundError):
        parent = open_in_root(root, directory, os.O_PATH | os.O_DIRECTORY)
        try:
            os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)
