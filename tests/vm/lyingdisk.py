"""A disk that says it has written, and has not: dm-flakey with `drop_writes` over a loop device.

While it lies, writes and flushes are acknowledged and thrown away; what the file system above has in
its caches looks well until these are gone. The loop device's file is the platter.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.loopdisk import MAKERS, unmount_patiently
from tests.vm.pools import run, until

_FOR_EVER = 1 << 20  # seconds


class LyingDisk:
    """`root` is where it is mounted. Made by `lying_disk`."""

    def __init__(self, kind: str, name: str, device: str, root: Path) -> None:
        self.root = root
        self._kind = kind
        self._name = name
        self._device = device
        self._sectors = int(run("blockdev", "--getsz", device))

    def lie(self) -> None:
        """From now on nothing reaches the platter."""
        self._load(f"flakey {self._device} 0 0 {_FOR_EVER} 1 drop_writes")

    def be_true(self) -> None:
        """What was dropped stays lost; what is written from now on is kept."""
        self._load(f"linear {self._device} 0")

    def mount(self) -> None:
        """Replays the journal, as a machine's next start does."""
        run("mount", "-t", self._kind, f"/dev/mapper/{self._name}", str(self.root))

    def forget(self) -> None:
        """Unmount it, and throw away what any cache has of it."""
        unmount_patiently(self.root)
        until(lambda: run("dmsetup", "info", "-c", "--noheadings", "-o", "open", self._name) == "0")
        Path("/proc/sys/vm/drop_caches").write_text("3")

    def check(self) -> None:
        """What a machine's start does with an ext4 that has found a fault in itself."""
        done = subprocess.run(
            ["e2fsck", "-f", "-y", f"/dev/mapper/{self._name}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def made(self) -> None:
        run("dmsetup", "create", self._name, "--table", self._table(f"linear {self._device} 0"))
        run("udevadm", "settle")
        run(*MAKERS[self._kind], f"/dev/mapper/{self._name}")

    def removed(self) -> None:
        run("dmsetup", "remove", "--retry", self._name)

    def _load(self, target: str) -> None:
        # Freezing the file system first would bring to the disk what is still in memory.
        run("dmsetup", "suspend", "--nolockfs", self._name)
        run("dmsetup", "load", self._name, "--table", self._table(target))
        run("dmsetup", "resume", self._name)

    def _table(self, target: str) -> str:
        return f"0 {self._sectors} {target}"


@contextmanager
def lying_disk(kind: str, below: Path, *, size: int) -> Iterator[LyingDisk]:
    """Fresh, mounted and true."""
    root, platter = below / "root", below / "platter"
    root.mkdir()
    with platter.open("wb") as out:
        out.truncate(size)
    run("modprobe", "dm-flakey")
    device = run("losetup", "--find", "--show", str(platter))
    try:
        disk = LyingDisk(kind, "lying-disk", device, root)
        disk.made()
        try:
            disk.mount()
            try:
                yield disk
            finally:
                subprocess.run(["dmsetup", "resume", "lying-disk"], check=False)
                if root.is_mount():
                    disk.forget()
        finally:
            disk.removed()
    finally:
        run("losetup", "--detach", device)
