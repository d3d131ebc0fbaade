"""What the drivers have in common whose layers are whole trees, each made from its parent's.

`<id>/diff` is the whole tree, `<id>/parent` names the layer it was made from: what a layer changes
is found by comparing the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from naru.kernel.mounts import Mount
from naru.store.diff import TreeDiff
from naru.store.driver import Change
from naru.store.drivers.homes import Homes
from naru.store.extract import extract
from naru.store.whiteouts import DeleteWhiteouts


class WholeTrees:
    """A driver but for `create`, `usage` and `status`; its `create` writes `<id>/parent`."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes

    def remove(self, layer: str) -> None:
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        options = ["bind", "rprivate", *(["ro"] if read_only else [])]
        return [Mount("", str(self._homes[layer] / "diff"), target, options)]

    def apply(self, layer: str, diff: BinaryIO) -> int:
        return extract(diff, self._homes[layer] / "diff", whiteouts=DeleteWhiteouts())

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._compared(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._compared(layer).changes()

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {}

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def _compared(self, layer: str) -> TreeDiff:
        home = self._homes[layer]
        try:
            parent = (home / "parent").read_text()
        except FileNotFoundError:
            return TreeDiff(home / "diff", None)
        below = self._homes[parent] / "diff"
        return TreeDiff(home / "diff", below, made=self._made(home), taken=self._taken(home))

    def _made(self, home: Path) -> int | None:
        """Up to when nothing had been written to the layer, in ns; None: nobody knows."""
        return None

    def _taken(self, home: Path) -> int | None:
        """When the layer became a snapshot of its parent, or a little before; None: it is none."""
        return None
