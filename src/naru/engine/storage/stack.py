"""A stack of layers as it is drawn: who adds, changes and hides what, and whose file is seen. Pure.

Layers are numbered from the top: 0 is what a container writes to, or an image's topmost layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import msgspec

from naru.store.driver import ChangeKind

UNIONS = frozenset(("aufs", "erofs", "fuse-overlayfs", "overlay", "overlay2"))
"""Drivers whose layers are directories on top of each other: a first write copies a file up."""


class Touch(msgspec.Struct, frozen=True, rename="pascal"):
    """What one layer says of one path."""

    path: str
    kind: int  # a ChangeKind
    directory: bool = False
    size: int = 0  # bytes, of a file that is seen from this layer
    again: bool = False  # another name of a file that was counted before


class Layer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", dict=True):
    role: str  # "container", "mount points" or "image"
    number: int = 0  # of an image's layers: 1 is the lowest
    storage_id: str = msgspec.field(name="StorageID")
    diff_id: str = msgspec.field(default="", name="DiffID")
    created_by: str = ""
    size: int = 0  # bytes of what it holds itself
    touches: tuple[Touch, ...] = msgspec.field(default=(), name="Changes")

    @property
    def title(self) -> str:
        return f"layer {self.number}" if self.role == "image" else self.role

    @cached_property
    def by_path(self) -> dict[str, Touch]:
        return {touch.path: touch for touch in self.touches}

    def count(self, kind: int) -> int:
        return sum(1 for touch in self.touches if touch.kind == kind and not touch.directory)


class Stack(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    kind: str  # "container", "image" or "layer"
    name: str
    id: str = msgspec.field(name="ID")
    driver: str
    merged: str = ""  # where it is mounted now
    layers: tuple[Layer, ...]

    @property
    def union(self) -> bool:
        return self.driver in UNIONS


class Step(msgspec.Struct, frozen=True, rename="pascal"):
    """One layer's part in what is seen at a path."""

    layer: int
    kind: int | None  # None: it says nothing
    seen: bool


class Trace(msgspec.Struct, frozen=True, rename="pascal"):
    path: str
    origin: int | None  # the layer it is seen from; None: it is not there
    directory: bool
    size: int
    steps: tuple[Step, ...]


class Owner(msgspec.Struct, frozen=True, rename="pascal"):
    """What is seen of one layer from above."""

    files: int = 0
    bytes: int = 0


def owners(stack: Stack) -> list[Owner]:
    """For each layer, the files that are seen from it: not changed, hidden or replaced above."""
    found = []
    taken: set[str] = set()
    hidden: set[str] = set()
    for layer in stack.layers:
        files = size = 0
        for touch in layer.touches:
            if touch.kind == ChangeKind.DELETED or touch.path in taken:
                continue
            if any(above in hidden for above in above_of(touch.path)) or touch.path in hidden:
                continue
            taken.add(touch.path)
            if not touch.directory:
                files, size = files + 1, size + (0 if touch.again else touch.size)
        hidden.update(
            touch.path
            for touch in layer.touches
            if touch.kind == ChangeKind.DELETED or not touch.directory
        )
        found.append(Owner(files, size))
    return found


def trace(stack: Stack, path: str, *, exists: bool, directory: bool, size: int) -> Trace:
    """From which layer `path` is seen; what the caller found there decides whether it is."""
    steps: list[Step] = []
    origin: int | None = None
    ended = not exists
    for number, layer in enumerate(stack.layers):
        kind = ChangeKind.MODIFIED if path == "/" else _said(layer, path)
        seen = not ended and kind is not None and kind != ChangeKind.DELETED
        if seen:
            origin, ended = number, True
        steps.append(Step(number, kind, seen))
    return Trace(path, origin, directory, size, tuple(steps))


def below(stack: Stack, number: int, path: str) -> int | None:
    """The next layer under `number` that has `path`: what was copied up, changed or hidden."""
    for at in range(number + 1, len(stack.layers)):
        kind = _said(stack.layers[at], path)
        if kind == ChangeKind.DELETED:
            return None
        if kind is not None:
            return at
    return None


def above_of(path: str) -> Iterator[str]:
    """The directories that a path lies in, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def telling(stack: Stack, most: int) -> list[str]:
    """The few paths that show best what the layers do to each other, sorted.

    First what the topmost layer with changes does to those below, then from each layer its biggest
    file that is seen.
    """
    chosen: list[str] = []

    def take(candidates: Iterable[str], share: int) -> None:
        fresh = [path for path in candidates if path not in chosen]
        chosen.extend(fresh[: max(0, min(share, most - len(chosen)))])

    for number, layer in enumerate(stack.layers):
        files = [touch for touch in layer.touches if not touch.directory]
        for kind, share in ((ChangeKind.MODIFIED, 3), (ChangeKind.DELETED, 2)):
            told = (t.path for t in files if t.kind == kind)
            own = layer.role == "container"
            take(
                (path for path in told if below(stack, number, path) is not None),
                share if own else 1,
            )
        if len(chosen) >= most // 2:
            break
    for layer in stack.layers:
        if layer.role != "mount points":
            biggest = sorted(layer.touches, key=lambda touch: -touch.size)
            take((t.path for t in biggest if t.size and not t.again), 1)
    return sorted(chosen)


def _said(layer: Layer, path: str) -> int | None:
    """What a layer says of a path: by itself, or by what it did to a directory above."""
    index = layer.by_path
    if (touch := index.get(path)) is not None:
        return touch.kind
    for above in above_of(path):
        touch = index.get(above)
        if touch is not None and (touch.kind == ChangeKind.DELETED or not touch.directory):
            return ChangeKind.DELETED
    return None
