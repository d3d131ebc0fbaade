"""fuse-overlayfs: overlay2's layout, stacked by a program where the kernel's overlayfs is refused.

Every mount has a process of its own that answers for it, so it is slower than the kernel's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from naru.kernel.mounts import Mount
from naru.store.drivers.overlay2 import Overlay2
from naru.store.drivers.probe import backing_filesystem
from naru.store.upper import FuseOverlayMarks, Marks

_PROGRAM = "fuse-overlayfs"


class FuseOverlayfs(Overlay2):
    name: ClassVar[str] = "fuse-overlayfs"
    marks: ClassVar[Marks] = FuseOverlayMarks()

    def status(self) -> Sequence[tuple[str, str]]:
        done = subprocess.run([_PROGRAM, "--version"], capture_output=True, text=True, check=False)
        first = (done.stdout or done.stderr).partition("\n")[0]
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Version", first.rpartition(" ")[2]),
        ]

    def _refusal(self) -> str | None:
        if shutil.which(_PROGRAM) is None:
            return f"the program {_PROGRAM} is not in PATH"
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "/dev/fuse is not there, or not ours to open"
        return None

    def _union(self, target: Path, lowers: Sequence[str], upper: Path | None) -> Mount:
        own = [f"upperdir={upper / 'diff'}", f"workdir={upper / 'work'}"] if upper else ["ro"]
        # Without `dev` and `suid` FUSE takes them away from the container's files.
        options = ["lowerdir=" + ":".join(lowers), *own, "dev", "suid"]
        return Mount(f"fuse.{_PROGRAM}", _PROGRAM, target, options)
