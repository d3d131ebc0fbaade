"""What a container's root must have before its process can start. Runs in a worker thread."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from naru.kernel import mounts
from naru.kernel.inroot import make_directories
from naru.kernel.mounts import Mount
from naru.spec.containers import MountPoint
from naru.spec.errors import InternalError, InvalidParameter


def make_working_directory(rootfs: Path, path: str) -> None:
    """`WorkingDir` is made when the image has it not, as dockerd does; not through other files."""
    if path in ("", "/"):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        make_directories(root, path, owner=(0, 0))
    except NotADirectoryError as error:
        raise InvalidParameter(f"Cannot mkdir: {path} is not a directory") from error
    except OSError as error:
        raise InternalError(f"Cannot mkdir: {path}: {error.strerror}") from error
    finally:
        os.close(root)


def make_bind_sources(points: Iterable[MountPoint]) -> None:
    """A legacy bind of a path that is not there binds a new directory."""
    for point in points:
        source = Path(point.source)
        if not source.exists():
            try:
                source.mkdir(mode=0o755, parents=True, exist_ok=True)
            except OSError as error:
                raise InternalError(
                    f"error while creating mount source path '{source}': mkdir {error.filename}: "
                    f"{(error.strerror or '').lower()}"
                ) from error


def files_among(points: Iterable[MountPoint]) -> frozenset[str]:
    """Where the mounted source is a file, a socket or a device: all but a directory."""
    return frozenset(point.destination for point in points if not os.path.isdir(point.source))


def mount_shm(target: Path, size: int) -> None:
    """A /dev/shm on the host, for containers to share. Idempotent."""
    if mounts.is_mounted(target):
        return
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = ("nosuid", "noexec", "nodev", "mode=1777", f"size={size}")
    mounts.mount(Mount(type="tmpfs", source="shm", target=target, options=options))


def unmount_shm(target: Path) -> None:
    """Idempotent."""
    if target.exists() and mounts.is_mounted(target):
        mounts.unmount(target)
