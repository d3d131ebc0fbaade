"""A file system of a test's own in a sparse file, for what the test directory's cannot do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naru.kernel import mounts

MAKERS = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "xfs": ["mkfs.xfs", "-q"],
    "ext4": ["mkfs.ext4", "-q"],
}


class NoDisk(Exception):
    """This machine cannot have such a file system: why."""


@contextmanager
def loop_disk(
    kind: str,
    *,
    size: int,
    base: str | None = None,
    make: tuple[str, ...] = (),
    options: str = "",
) -> Iterator[Path]:
    """The root of a fresh file system; `NoDisk` where it cannot be had. Nothing stays."""
    command = MAKERS[kind]
    if shutil.which(command[0]) is None:
        raise NoDisk(f"there is no {command[0]}")
    with tempfile.TemporaryDirectory(prefix=f"naru-{kind}-", dir=base) as where:
        image, root = Path(where) / "image", Path(where) / "root"
        root.mkdir()
        with image.open("wb") as out:
            out.truncate(size)
        subprocess.run([*command, *make, str(image)], check=True, capture_output=True)
        mount_image(kind, image, root, options)
        try:
            yield root
        finally:
            unmount_patiently(root)


def mount_image(kind: str, image: Path, root: Path, options: str = "") -> None:
    given = ",".join(filter(None, ["loop", options]))
    mounted = subprocess.run(
        ["mount", "-t", kind, "-o", given, str(image), str(root)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        raise NoDisk(f"{kind} cannot be mounted here: {mounted.stderr.strip()}")


def fill(folder: Path, *, leave: int) -> Path:
    """Fill the disk so far that `leave` bytes stay free -> with what, in `folder`."""
    os.sync()  # ext4 gives back what was removed with its journal's next commit
    ballast = folder / "ballast"
    with ballast.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(folder).free - leave)
    return ballast


def unmount_patiently(root: Path, patience: float = 60) -> None:
    """With all that is mounted below it."""
    for target in mounts.mounts_below(root):
        if target != root:
            mounts.unmount(target)
    # The last of an engine's processes and lazily unmounted layers end in their own time.
    deadline = time.monotonic() + patience
    while True:
        try:
            mounts.unmount(root, detach=False)
            return
        except OSError:
            if time.monotonic() > deadline:
                mounts.unmount(root)  # rather than leave it for good
                raise
        time.sleep(0.05)
