"""The file system in a thin device: made once, in the base device; grown in layers with a size."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from naru.kernel.filesystems import sync_filesystem
from naru.kernel.mounts import Mount, mount, unmount
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.dm_options import Options

# ext4: every inode table and the journal would be zeroed, a little in each snapshot, were they not
# left alone. A snapshot of the journal is copied at the first write, so it is small.
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=16",
             "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-K"),
}  # fmt: skip
_GROW = {"ext4": "resize2fs", "xfs": "xfs_growfs"}
_OPTIONS = {
    "ext4": ("discard", "noinit_itable"),
    "xfs": ("discard", "nouuid"),  # snapshots share their origin's UUID
}


class FileSystem:
    def __init__(self, kind: str, options: Options, scratch: Path) -> None:
        """`scratch` is a directory to mount in while the driver itself works on a layer."""
        mount_options = options.mount_options
        if options.nospace_retries is not None and kind != "xfs":
            raise InvalidParameter(
                f"devicemapper: dm.xfs_nospace_max_retries is for xfs, and the devices hold {kind}"
            )
        self._nospace_retries = options.nospace_retries
        self.kind = kind
        self._scratch = scratch
        own = [name for name in _OPTIONS[kind] if f"no{name}" not in mount_options]
        self.options = (*own, *mount_options)

    @classmethod
    def choose(cls, wanted: str | None) -> str:
        """The kind asked for, or the first whose mkfs is installed."""
        for kind in [wanted] if wanted else list(_MAKE):
            if shutil.which(_MAKE[kind][0]):
                return kind
        missing = _MAKE[wanted][0] if wanted else " nor ".join(made[0] for made in _MAKE.values())
        raise Unsupported(f"driver not supported: devicemapper: no {missing} in PATH")

    def make(self, device: str, arguments: Sequence[str]) -> None:
        _run([*_MAKE[self.kind], *arguments, device])
        with self.mounted(device) as root, contextlib.suppress(FileNotFoundError):
            (root / "lost+found").rmdir()

    def mount_of(self, device: str, target: Path, *, read_only: bool) -> Mount:
        options = [*self.options, *(["ro"] if read_only else [])]
        return Mount(self.kind, device, target, options, tuning=self._tuning(device))

    @contextlib.contextmanager
    def mounted(self, device: str, *, read_only: bool = False) -> Iterator[Path]:
        """For the time of the block; what was written is on disk after it."""
        with tempfile.TemporaryDirectory(dir=self._scratch) as where:
            target = Path(where)
            mount(self.mount_of(device, target, read_only=read_only))
            try:
                yield target
                if not read_only:
                    sync_filesystem(target)
            finally:
                # Lazily: another mount namespace may have been made with a copy of it.
                unmount(target)

    def _tuning(self, device: str) -> list[tuple[Path, str]]:
        if self._nospace_retries is None:
            return []
        errors = Path("/sys/fs/xfs", os.path.basename(device), "error")
        return [(errors / "metadata/ENOSPC/max_retries", str(self._nospace_retries))]

    def grow(self, device: str) -> None:
        """To the size of its device, which has become larger."""
        program = _GROW[self.kind]
        if shutil.which(program) is None:
            raise Unsupported(f"devicemapper: no {program} in PATH: a layer's size needs it")
        with self.mounted(device) as root:
            _run([program, device] if self.kind == "ext4" else [program, "-d", str(root)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        why = (done.stderr or done.stdout).strip()
        raise OSError(f"{' '.join(command)}: {why}")
