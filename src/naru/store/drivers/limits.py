"""Size limits of layers, on any file system.

Where the file system has project quotas they count. Elsewhere a limited layer's directory is the
mount point of an ext4 file system in a sparse file of its own, `.sized/<layer>.img`, so that what
is written past the limit gets ENOSPC there and nowhere else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from naru.kernel.loop import attached
from naru.kernel.mounts import Mount, is_mounted, mount, unmount
from naru.kernel.quota import ProjectQuota
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.probe import filesystem_type

_IMAGES = ".sized"
_SUFFIX = ".img"
_MIB = 1 << 20
_LEAST = 4 * _MIB


class SizeLimits:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._images = root / _IMAGES
        self._quota = ProjectQuota.on(root)
        # Looked at once: without images nothing has to be asked for at every access.
        self._has_images = self._images.exists()

    def check(self, what: str) -> None:
        """Raise `Unsupported` where no limit could be kept."""
        if self._quota is None and shutil.which("mkfs.ext4") is None:
            raise Unsupported(
                f"{what}: the file system of {self._root} ({filesystem_type(self._root)}) has no"
                " project quota (xfs: mount with pquota; ext4: feature project and mount option"
                " prjquota), and mkfs.ext4 for a limited file system in a file is not in PATH"
            )

    def limit(self, layer: str, size: int) -> None:
        """Hold everything that will be made in the (empty) directory of `layer` to `size` bytes."""
        self.check("storage-opt size")
        if self._quota is not None:
            self._quota.limit(self._root / layer, size)
            return
        if size < _LEAST:
            raise InvalidParameter(f"storage-opt size: {size} bytes are too few for a file system")
        self._images.mkdir(mode=0o700, exist_ok=True)
        self._has_images = True
        image = self._image(layer)
        with image.open("wb") as out:
            # So that `size` bytes of data fit next to inodes and journal.
            out.truncate(size + size // 40 + 6 * _MIB)
        command = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4",
                   "-E", "lazy_itable_init=1,lazy_journal_init=1", str(image)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"mkfs.ext4 {image}: {done.stderr.strip()}")
        self.ready(layer)
        (self._root / layer / "lost+found").rmdir()

    def widened(self, layer: str) -> AbstractContextManager[None]:
        """A project's limit is a little more meanwhile; one by a file system stays."""
        if self._quota is None:
            return nullcontext()
        return self._quota.widened(self._root / layer, _MIB)

    def ready(self, layer: str) -> None:
        """Mount the layer's own file system, if it has one and a reboot has taken the mount."""
        if not self._has_images:
            return
        home, image = self._root / layer, self._image(layer)
        if image.exists() and not is_mounted(home):
            with attached(image) as device:
                mount(Mount("ext4", device, home, ["nodiscard"]))

    def remove(self, layer: str) -> None:
        """Take the layer's own file system away; its directory stays, empty."""
        if not self._has_images:
            return
        home, image = self._root / layer, self._image(layer)
        if image.exists():
            while is_mounted(home):
                unmount(home)
            image.unlink()

    def layers(self) -> Iterator[str]:
        """Layers that have a file system of their own, those without a directory too."""
        if self._has_images:
            for entry in sorted(os.listdir(self._images)):
                yield entry.removesuffix(_SUFFIX)

    def _image(self, layer: str) -> Path:
        return self._images / f"{layer}{_SUFFIX}"
