"""Every byte below the data root, by what it is there for: the sum is what `du` says.

It looks at the disk, not at what the records claim. What is mounted below the data root (layers'
trees, volumes of other file systems) is left out, as with `du --one-file-system`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from naru.kernel import mounts
from naru.store.choice import NAMES
from naru.store.driver import SharesFiles, StorageDriver
from naru.store.footprint import Footprint
from naru.store.records import Records
from naru.store.rounds import Rounds

BLOBS, PARTIAL = "blobs", "partial blobs"
LAYERS, INIT, UNKNOWN_LAYERS, DRIVER = "layers", "init layers", "unknown layers", "driver"
MIGRATION = "migration"
"""What the other driver of a pending migration has: the one that it goes to, or comes from."""
WRITABLE, LOGS, FILES = "containers", "logs", "container files"
VOLUMES, RECORDS, CACHE, FOREIGN, OTHER = (
    "volumes", "records", "build cache", "other drivers", "other",
)  # fmt: skip
KINDS = (BLOBS, PARTIAL, LAYERS, INIT, UNKNOWN_LAYERS, DRIVER, WRITABLE, LOGS, FILES, VOLUMES,
         CACHE, RECORDS, MIGRATION, FOREIGN, OTHER)  # fmt: skip
IMAGE_KINDS = (BLOBS, PARTIAL, LAYERS, INIT, UNKNOWN_LAYERS, DRIVER)
"""What there is because of images, or is nobody's: `LayersSize` of the Engine API."""

_log = logging.getLogger(__name__)
_STORAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass
class Measured:
    sizes: Counter[str] = field(default_factory=Counter)  # bytes, by kind
    counts: Counter[str] = field(default_factory=Counter)  # objects, by kind
    layers: Counter[str] = field(default_factory=Counter)  # bytes, by storage id
    writable: Counter[str] = field(default_factory=Counter)  # by container id, as the next two
    logs: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    volumes: Counter[str] = field(default_factory=Counter)  # by name

    @property
    def total(self) -> int:
        return self.sizes.total()

    def container(self, container_id: str) -> int:
        """All that a container takes, its log included."""
        parts = (self.writable, self.logs, self.files)
        return sum(part[container_id] for part in parts)

    def add(self, kind: str, size: int, count: int = 1) -> int:
        self.sizes[kind] += size
        self.counts[kind] += count
        return size


class Ledger:
    def __init__(
        self, *, root: Path, records: Records, driver: Callable[[], StorageDriver]
    ) -> None:
        """`root` is the data root, `driver` the storage driver in use."""
        self.root = root
        self._records = records
        self._driver = driver
        self._rounds = Rounds(self._measure)
        self._measured = Measured()

    @property
    def driver(self) -> str:
        return self._driver().name

    async def measure(self) -> Measured:
        """Walk the data root once for all who ask at the same time."""
        await self._rounds.round()
        return self._measured

    async def _measure(self) -> None:
        roles = self._roles()
        moving = {
            name
            for each in self._records.migrations.values()
            for name in (each.source, each.target)
        }
        self._measured = await asyncio.to_thread(_Walk(self.root, self._driver(), moving, roles))

    def _roles(self) -> dict[str, str]:
        """The kind of each layer on disk, lower ones first: files are counted where they began."""
        roles = {
            layer.storage_id: LAYERS if layer.diff_id else INIT
            for layer in self._records.layers.values()
        }
        return roles | {container.id: WRITABLE for container in self._records.containers.values()}


class _Walk:
    def __init__(
        self, root: Path, driver: StorageDriver, moving: Collection[str], roles: dict[str, str]
    ) -> None:
        """`driver` is the one in use, `moving` are those of a pending migration."""
        self._root = root
        self._driver = driver
        self._moving = moving
        self._roles = roles
        self._order = {layer: number for number, layer in enumerate(roles)}
        # Directly below the root an administrator may have mounted a disk: that one counts.
        below = (path for path in mounts.mounts_below(root) if path != root)
        self._found = Footprint([str(path) for path in below if path.parent != root])
        self._result = Measured()

    def __call__(self) -> Measured:
        self._result.add(OTHER, self._found.entry(self._root))
        for entry in _entries(self._root):
            name = entry.name
            if name == "blobs":
                self._blobs(entry)
            elif name == "containers":
                self._containers(entry)
            elif name == "volumes":
                self._volumes(entry)
            elif name == self._driver.name:
                self._result.add(DRIVER, self._found.entry(entry))
                self._layers(entry, deeper=True)
                self._shares()
            elif name.startswith("records.db"):
                self._result.add(RECORDS, self._found.tree(entry))
            elif name in self._moving:
                self._result.add(MIGRATION, self._found.tree(entry))
            elif name in NAMES:
                self._result.add(FOREIGN, self._found.tree(entry))
            else:
                self._result.add(OTHER, self._found.tree(entry))
        return self._result

    def _blobs(self, home: os.DirEntry[str]) -> None:
        self._result.add(BLOBS, self._found.entry(home), 0)
        for folder in _entries(home):
            kind = PARTIAL if folder.name == "partial" else BLOBS
            self._result.add(kind, self._found.entry(folder), 0)
            for blob in _entries(folder):
                self._result.add(kind, self._found.tree(blob))

    def _containers(self, home: os.DirEntry[str]) -> None:
        self._result.add(FILES, self._found.entry(home), 0)
        for container in _entries(home):
            files = self._found.entry(container)
            for file in _entries(container):
                size = self._found.tree(file)
                if file.name.startswith(f"{container.name}-json.log"):
                    self._result.logs[container.name] += self._result.add(LOGS, size)
                else:
                    files += size
            self._result.files[container.name] += self._result.add(FILES, files)

    def _volumes(self, home: os.DirEntry[str]) -> None:
        self._result.add(VOLUMES, self._found.entry(home), 0)
        for volume in _entries(home):
            size = self._result.add(VOLUMES, self._found.tree(volume))
            self._result.volumes[volume.name] += size

    def _layers(self, home: os.DirEntry[str], *, deeper: bool) -> None:
        """Layers are right below the driver's root, or one directory further down."""
        last = len(self._order)
        for entry in sorted(_entries(home), key=lambda each: self._order.get(each.name, last)):
            layer = entry.name.partition(".")[0]
            if _STORAGE_ID.fullmatch(layer):
                self._layer(layer, self._found.tree(entry))
            elif deeper and entry.is_dir(follow_symlinks=False):
                self._result.add(DRIVER, self._found.entry(entry))
                self._layers(entry, deeper=False)
            else:
                self._result.add(DRIVER, self._found.tree(entry))

    def _layer(self, layer: str, size: int, count: int = 1) -> None:
        kind = self._roles.get(layer, UNKNOWN_LAYERS)
        self._result.add(kind, size, count)
        kept = self._result.writable if kind == WRITABLE else self._result.layers
        kept[layer] += size

    def _shares(self) -> None:
        """Of the driver's own files, which have been counted, each layer's part is the layer's."""
        if not isinstance(self._driver, SharesFiles):
            return
        try:
            shares = self._driver.shares()
        except OSError as error:
            _log.warning("disk: %s does not tell its layers' sizes: %s", self._driver.name, error)
            return
        for layer, share in shares.items():
            # What has been written since the files were counted is not in the sum.
            size = min(share, self._result.sizes[DRIVER])
            self._result.add(DRIVER, -size, 0)
            self._layer(layer, size, 0)


def _entries(directory: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            yield from sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
