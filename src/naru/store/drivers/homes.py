"""The directories that hold layers: one per layer below the driver's root, gone in one step."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from naru.spec.errors import InvalidParameter
from naru.store.drivers.limits import SizeLimits
from naru.store.removal import remove_tree
from naru.store.sizes import parse_size

_REMOVING = ".removing"


class Homes:
    """`<root>/<layer>` with a size limit where one is asked for."""

    def __init__(self, root: Path, driver: str, default_size: int = 0) -> None:
        self.root = root
        self._default_size = default_size
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._limits = SizeLimits(root)
        if default_size:
            self._limits.check(f"{driver}.size")

    def __getitem__(self, layer: str) -> Path:
        self._limits.ready(layer)
        return self.root / layer

    def make(self, layer: str, *, writable: bool, size: int | None) -> Path:
        home = self.root / layer
        home.mkdir(mode=0o710)
        if limit := size or (self._default_size if writable else 0):
            self._limits.limit(layer, limit)
        return home

    def widened(self, layer: str) -> AbstractContextManager[None]:
        return self._limits.widened(layer)

    def remove(self, layer: str) -> None:
        """Whoever is killed in the middle leaves rubbish that `layers` still lists."""
        self._limits.remove(layer)
        home, doomed = self.root / layer, self.root / (layer + _REMOVING)
        _remove_tree(doomed)
        try:
            home.rename(doomed)
        except FileNotFoundError:
            return
        _remove_tree(doomed)

    def layers(self, *, but: tuple[str, ...] = ()) -> Iterator[str]:
        yield from self._limits.layers()
        for entry in sorted(os.listdir(self.root)):
            if entry not in but and not entry.startswith("."):
                yield entry.removesuffix(_REMOVING)


def make_directory(path: Path, mode: int) -> Path:
    """mkdir with exactly this mode, whatever the umask."""
    path.mkdir(mode=mode)
    os.chmod(path, mode)
    return path


def written(path: Path) -> str | None:
    """What a layer's making wrote into a small file; None without the file.

    One that is empty has lost its content in a power cut, as a container's layer is not synced:
    `FileNotFoundError`.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    if not text:
        raise FileNotFoundError(errno.ENODATA, "its content is lost", str(path))
    return text


def size_option(driver: str, options: Mapping[str, str], *, known: tuple[str, ...] = ()) -> int:
    """`<driver>.size` in bytes, 0 without it; any option but that and `known` is refused."""
    size = 0
    for name, value in options.items():
        if name in (f"{driver}.size", "size"):
            size = parse_size(value, name)
        elif name not in known:
            raise InvalidParameter(f"{driver}: unknown option {name}")
    return size


def _remove_tree(path: Path) -> None:
    try:
        shutil.rmtree(path, onerror=_unless_gone)
    except RecursionError:  # an image may be deeper than Python's stack
        remove_tree(path)


def _unless_gone(_function: object, _path: str, failure: tuple[object, ...]) -> None:
    error = failure[1]
    if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
        raise error
