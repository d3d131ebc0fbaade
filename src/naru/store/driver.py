"""What a storage driver is: it keeps layers and says how to mount them; it never mounts them.

`store/layers` calls a driver from worker threads, one call per layer at a time, and one place
(`kernel/mounts`) carries out the mounts that `mounts()` describes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple, Protocol, runtime_checkable

from naru.kernel.mounts import Mount
from naru.store.room import Room


class ChangeKind:
    """`Kind` of the Engine API's container changes."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class Change(NamedTuple):
    path: str  # absolute, inside the container
    kind: int  # a ChangeKind


class Usage(NamedTuple):
    bytes: int  # disk space of the layer alone, as `du` counts it
    inodes: int


class StorageDriver(Protocol):
    """Layers are named by an id of 64 hex digits; `parent` is the layer below, or None."""

    name: ClassVar[str]

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        """Make an empty layer over `parent`. `size` limits a writable one, in bytes."""

    def remove(self, layer: str) -> None:
        """Delete a layer; one that is gone, or half made, is no error."""

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        """What to mount, in order, so that `target` shows the layer over its parents."""

    def apply(self, layer: str, diff: BinaryIO) -> int:
        """Unpack a layer tar (OCI changeset with `.wh.` files) into a fresh layer.

        -> the sum of the sizes of its files (with holes) and symbolic links, as Docker counts.
        """

    def diff(self, layer: str, out: BinaryIO) -> None:
        """Write what the layer changes against its parent as an OCI changeset tar."""

    def changes(self, layer: str) -> Iterator[Change]:
        """What the layer changes against its parent, parents before children, sorted."""

    def usage(self, layer: str) -> Usage: ...

    def status(self) -> Sequence[tuple[str, str]]:
        """The `DriverStatus` rows of `docker info`."""

    def data(self, layer: str, target: Path) -> dict[str, str]:
        """`GraphDriver.Data` of inspect; `target` is where the layer is or would be mounted."""

    def layers(self) -> Iterator[str]:
        """Every layer on disk, half-made ones too: what a check compares with the records."""


@runtime_checkable
class KeepsMounts(Protocol):
    """A driver with mounts of its own that outlast a call, to save making them again."""

    def close(self) -> None:
        """Take them down, at the daemon's clean end. Containers that run do not notice."""


@runtime_checkable
class KeepsTars(Protocol):
    """A driver that can write the very tar that a read-only layer was unpacked from."""

    def tar_size(self, layer: str) -> int | None:
        """Bytes of that tar; None for a layer of which it is not kept."""

    def tar_pieces(self, layer: str) -> Iterator[bytes]:
        """That tar. Whoever reads it verifies its digest."""


@runtime_checkable
class StoresTars(KeepsTars, Protocol):
    """A driver that has those tars on the disk as they are: nothing is quicker to read."""

    stores_tars: ClassVar[bool]


@runtime_checkable
class Stages(Protocol):
    """A driver that can unpack a layer before the one below it is known, or there."""

    def place(self, layer: str, parent: str | None) -> None:
        """Put a read-only layer, made without a parent and unpacked, over `parent`."""


@runtime_checkable
class Apart(Protocol):
    """A driver all of whose state is on the disk: it can be pickled, and used in another process.

    Each process calls it for another layer, or does no more than read.
    """

    apart: ClassVar[bool]


@runtime_checkable
class Copies(Protocol):
    """A driver whose `create` copies files: it raises `NoSpace` rather than fill the disk."""

    room: Room | None
    """What must stay free of the disk; None lets it have all."""


@runtime_checkable
class MountsSlowly(Protocol):
    """A driver whose `mounts()` may wait for devices, which is not for the event loop."""

    @property
    def mounts_slowly(self) -> bool: ...


@runtime_checkable
class Releases(Protocol):
    """A driver that wants to be told when the mount of a layer has been taken down."""

    def release(self, layer: str) -> None: ...


@runtime_checkable
class SharesFiles(Protocol):
    """A driver that keeps layers in few files of its own, below its root, not in their homes."""

    def shares(self) -> dict[str, int]:
        """Bytes that each layer has of those files. `OSError`: that cannot be told."""


@runtime_checkable
class Widens(Protocol):
    """A driver whose full layer may get mounted read-only, where that is not asked for.

    overlayfs does so when there is no room for its work directory (seen on XFS): a container that
    filled its layer could not even delete files after its next start.
    """

    def widened(self, layer: str) -> AbstractContextManager[None]:
        """The layer's limit, if it has one, is a little more meanwhile."""
