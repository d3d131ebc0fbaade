"""The trials of a benchmark, on a driver of its own in a scratch directory. All of it blocks.

Each gives seconds. What a trial needs is made before its clock starts, and what others have left in
the page cache to be written is on the disk by then.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from naru.kernel import mounts
from naru.kernel.filesystems import sync_filesystem
from naru.store.driver import KeepsMounts, StorageDriver
from naru.store.mounting import mount_all, shown, unmount_all, unmount_layer
from naru.store.tarentry import DIRECTORY, Entry
from naru.store.tarwriter import TarWriter

DEPTH = 60
_DEEP_FILES = 200
_TYPICAL_LAYERS = 5
_TYPICAL_FILES = 400  # in each of them
_TYPICAL_SIZE = 16 << 10
_PIECE = 1 << 20
_PAGE = 4096
_PAGES = 1000
_SMALL = 1500  # bytes


class Bench:
    """One driver with two images: `large` has one large file, `deep` has many layers."""

    def __init__(self, driver: StorageDriver, root: Path, *, large: int, small: int) -> None:
        self.driver = driver
        self._root = root
        self._large = large
        self._small = small
        self._count = 0
        self._tops: dict[str, str] = {}
        self._backing: list[Path] = []  # files of the driver's that hold the large one
        self.trials: dict[str, Callable[[], float]] = {
            "container": self.container,
            "image layer": self.image_layer,
            "first write": self.first_write,
            "small files": self.small_files,
            "deep lookup": self.deep_lookup,
            "read": self.read,
            "write": self.write,
            "random read": self.random_read,
            "random write": self.random_write,
        }

    def prepare(self) -> None:
        self._tops["large"] = self._layer(None, self._large_tar)
        typical: str | None = None
        for number in range(_TYPICAL_LAYERS):
            typical = self._layer(typical, _typical_tar(number))
        assert typical is not None
        self._tops["typical"] = typical
        below: str | None = None
        for number in range(DEPTH):
            below = self._layer(below, _deep_tar if number == 0 else _thin_tar(number))
        assert below is not None
        self._tops["deep"] = below
        self._backing = [path for path in self._root.rglob("*") if self._is_large(path)]

    def close(self) -> None:
        for target in mounts.mounts_below(self._root):
            unmount_all(target)
        for layer in sorted(set(self.driver.layers())):
            self.driver.remove(layer)
        if isinstance(self.driver, KeepsMounts):
            self.driver.close()

    def space(self) -> int:
        """Bytes that a fresh container takes."""
        layer = self._writable("large")
        used = self.driver.usage(layer).bytes
        self.driver.remove(layer)
        return used

    # -- trials ---------------------------------------------------------------------------------

    def container(self) -> float:
        target = self._root / "container"
        target.mkdir(exist_ok=True)
        self._settle()
        begun = time.perf_counter()
        layer = self._writable("typical")
        mount_all(self.driver.mounts(layer, target))
        unmount_layer(self.driver, layer, target)
        self.driver.remove(layer)
        return time.perf_counter() - begun

    def image_layer(self) -> float:
        self._settle()
        with self._spooled(_thin_tar(0)) as spool:
            begun = time.perf_counter()
            layer = self._name()
            self.driver.create(layer, self._tops["typical"], writable=False)
            self.driver.apply(layer, spool)
            taken = time.perf_counter() - begun
        self.driver.remove(layer)
        return taken

    def first_write(self) -> float:
        with self._container("large") as root:
            self._settle()
            begun = time.perf_counter()
            with (root / "large").open("ab", buffering=0) as file:
                file.write(b"x")
                os.fsync(file.fileno())
            return time.perf_counter() - begun

    def small_files(self) -> float:
        with self._container("deep") as root:
            self._settle()
            data = bytes(_SMALL)
            begun = time.perf_counter()
            for number in range(self._small):
                if number % 100 == 0:
                    folder = root / f"small-{number}"
                    folder.mkdir()
                with open(f"{folder}/{number}", "wb", buffering=0) as file:
                    file.write(data)
            return time.perf_counter() - begun

    def deep_lookup(self) -> float:
        """A fresh mount: the kernel has looked up none of the names yet."""
        with self._container("deep") as root:
            names = [f"{root}/deep/{number}" for number in range(_DEEP_FILES)]
            begun = time.perf_counter()
            for name in names:
                os.stat(name)
            return (time.perf_counter() - begun) / _DEEP_FILES

    def read(self) -> float:
        with self._container("large") as root, (root / "large").open("rb", buffering=0) as file:
            self._forget(file)
            buffer = bytearray(_PIECE)
            begun = time.perf_counter()
            while file.readinto(buffer):
                pass
            return time.perf_counter() - begun

    def write(self) -> float:
        with self._container("deep") as root, (root / "new").open("wb", buffering=0) as file:
            self._settle()
            data = os.urandom(_PIECE)
            begun = time.perf_counter()
            for _ in range(max(1, self._large // _PIECE)):
                file.write(data)
            os.fsync(file.fileno())
            return time.perf_counter() - begun

    def random_read(self) -> float:
        with self._container("large") as root, (root / "large").open("rb", buffering=0) as file:
            self._forget(file)
            places = self._places()
            begun = time.perf_counter()
            for place in places:
                os.pread(file.fileno(), _PAGE, place)
            return time.perf_counter() - begun

    def random_write(self) -> float:
        with self._container("large") as root, (root / "large").open("r+b", buffering=0) as file:
            file.write(b"x")  # the first write is another trial
            self._settle()
            page, places = os.urandom(_PAGE), self._places()
            begun = time.perf_counter()
            for place in places:
                os.pwrite(file.fileno(), page, place)
            os.fsync(file.fileno())
            return time.perf_counter() - begun

    # -- what they need -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _container(self, image: str) -> Iterator[Path]:
        layer = self._writable(image)
        try:
            with shown(self.driver, layer, self._root) as target:
                yield target
        finally:
            self.driver.remove(layer)

    def _writable(self, image: str) -> str:
        layer = self._name()
        self.driver.create(layer, self._tops[image], writable=True)
        return layer

    def _layer(self, parent: str | None, write: Callable[[TarWriter], None]) -> str:
        layer = self._name()
        with self._spooled(write) as spool:
            self.driver.create(layer, parent, writable=False)
            self.driver.apply(layer, spool)
        return layer

    @contextlib.contextmanager
    def _spooled(self, write: Callable[[TarWriter], None]) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile(dir=self._root) as spool:
            tar = TarWriter(cast(BinaryIO, spool))
            write(tar)
            tar.close()
            spool.seek(0)
            yield cast(BinaryIO, spool)

    def _name(self) -> str:
        self._count += 1
        return f"{self._count:064x}"

    def _large_tar(self, tar: TarWriter) -> None:
        pieces, rest = divmod(self._large, _PIECE)
        piece = os.urandom(_PIECE)
        tar.add(Entry("large", mode=0o644, size=self._large), [*[piece] * pieces, piece[:rest]])

    def _settle(self) -> None:
        sync_filesystem(self._root)

    def _forget(self, file: IO[bytes]) -> None:
        """Out of the page cache, so that it comes from the disk."""
        self._settle()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for path in self._backing:
            with path.open("rb", buffering=0) as backing:
                os.posix_fadvise(backing.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _is_large(self, path: Path) -> bool:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_size >= self._large

    def _places(self) -> list[int]:
        pages = max(1, self._large // _PAGE)
        chosen = random.Random(1)
        return [chosen.randrange(pages) * _PAGE for _ in range(_PAGES)]


def _deep_tar(tar: TarWriter) -> None:
    tar.add(Entry("deep", DIRECTORY, mode=0o755))
    for number in range(_DEEP_FILES):
        tar.add(Entry(f"deep/{number}", mode=0o644, size=4), [b"deep"])


def _typical_tar(number: int) -> Callable[[TarWriter], None]:
    def write(tar: TarWriter) -> None:
        data = bytes(range(256)) * (_TYPICAL_SIZE // 256)
        for folder in range(_TYPICAL_FILES // 50):
            where = f"usr/{number}/{folder}"
            tar.add(Entry(where, DIRECTORY, mode=0o755))
            for name in range(50):
                tar.add(Entry(f"{where}/{name}", mode=0o644, size=len(data)), [data])

    return write


def _thin_tar(number: int) -> Callable[[TarWriter], None]:
    def write(tar: TarWriter) -> None:
        # In the same directory: each layer has a part in the lookup.
        tar.add(Entry("deep", DIRECTORY, mode=0o755))
        tar.add(Entry(f"deep/of-layer-{number}", mode=0o644, size=4), [b"thin"])

    return write
