"""overlay2: a layer is a directory of what it changes; the kernel's overlayfs stacks them.

Below the driver's root a layer has, as in Docker: `<id>/diff` (its own files), `<id>/link` (its
short name), `<id>/lower` (short names of the layers below it, topmost first), `<id>/work`,
`<id>/merged`; `l/<short>` links to the layer's `diff`, so that long lists fit the option page.
What a layer's tar had besides its files' contents is in `<id>/tar-skeleton`: see `skeleton`.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount
from naru.spec.errors import Unsupported
from naru.store.diff import usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.homes import Homes, make_directory, size_option, written
from naru.store.drivers.probe import (
    backing_filesystem,
    in_user_namespace,
    overlay_options,
    overlay_refusal,
    supports_dtype,
)
from naru.store.drivers.unplaced import placed, take_after, unpack
from naru.store.skeleton import tar_pieces, tar_size
from naru.store.treecopy import copy_root_attributes
from naru.store.upper import Marks, OverlayMarks, UpperDiff
from naru.store.whiteouts import OverlayWhiteouts

_LINKS = "l"


class Overlay2:
    name: ClassVar[str] = "overlay2"
    apart: ClassVar[bool] = True
    marks: ClassVar[Marks] = OverlayMarks()

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        """Raise `Unsupported` where the kernel or the backing file system cannot do it."""
        # The known option lifts a check for kernels before 4.0, on which Naru does not run.
        known = (f"{self.name}.override_kernel_check",)
        self._homes = Homes(root, self.name, size_option(self.name, options, known=known))
        self._root = root
        self._userxattr = in_user_namespace()
        if refusal := self._refusal():
            raise Unsupported(f"driver not supported: {self.name}: {refusal}")
        (root / _LINKS).mkdir(mode=0o700, exist_ok=True)
        self._options = overlay_options(userxattr=self._userxattr)

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        lower = self._chain(parent) if parent else []
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "diff", 0o755)
        if parent:
            copy_root_attributes(self._homes[parent] / "diff", home / "diff")
        short = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=")
        # The name first: a link that no layer owns up to could not be found again.
        (home / "link").write_text(short)
        os.symlink(f"../{layer}/diff", self._root / _LINKS / short)
        make_directory(home / "work", 0o700)
        make_directory(home / "merged", 0o700)
        if lower:
            self._write_lower(home, lower)

    def remove(self, layer: str) -> None:
        for link in self._links(layer):
            link.unlink(missing_ok=True)
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        home = self._homes[layer]
        lowers = [str(self._root / link) for link in self._lower(layer)]
        if not lowers:  # overlay wants something below
            options = ["bind", "rprivate", *(["ro"] if read_only else [])]
            return [Mount("", str(home / "diff"), target, options)]
        if read_only:
            return [self._union(target, [str(home / "diff"), *lowers], None)]
        return [self._union(target, lowers, home)]

    def widened(self, layer: str) -> AbstractContextManager[None]:
        return self._homes.widened(layer)

    def apply(self, layer: str, diff: BinaryIO) -> int:
        home = self._homes[layer]
        upper = self._upper(layer) if (home / "lower").exists() else None
        return unpack(home, diff, OverlayWhiteouts(userxattr=self._userxattr), upper)

    def place(self, layer: str, parent: str | None) -> None:
        home = self._homes[layer]
        if parent is not None:
            self._write_lower(home, self._chain(parent))
            take_after(home, self._homes[parent], self._upper(layer))
        placed(home)

    def tar_size(self, layer: str) -> int | None:
        return tar_size(self._homes[layer])

    def tar_pieces(self, layer: str) -> Iterator[bytes]:
        home = self._homes[layer]
        return tar_pieces(home, home / "diff")

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._upper(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._upper(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._homes[layer] / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Supports d_type", str(supports_dtype(self._root)).lower()),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", str(self._userxattr).lower()),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        home = self._homes[layer]
        lowers = [os.path.realpath(self._root / link) for link in self._lower(layer)]
        found = {
            "ID": layer,
            "UpperDir": str(home / "diff"),
            "WorkDir": str(home / "work"),
            "MergedDir": str(target),
        }
        if lowers:
            found["LowerDir"] = ":".join(lowers)
        return found

    def layers(self) -> Iterator[str]:
        return self._homes.layers(but=(_LINKS,))

    def _refusal(self) -> str | None:
        return overlay_refusal(self._root, userxattr=self._userxattr)

    def _union(self, target: Path, lowers: Sequence[str], upper: Path | None) -> Mount:
        own = [f"upperdir={upper / 'diff'}", f"workdir={upper / 'work'}"] if upper else []
        below = [f"lowerdir+={lower}" for lower in lowers]
        return Mount("overlay", "overlay", target, [*below, *own, *self._options])

    def _upper(self, layer: str) -> UpperDiff:
        lowers = [(self._root / link).resolve() for link in self._lower(layer)]
        return UpperDiff(self._homes[layer] / "diff", lowers, self.marks)

    def _write_lower(self, home: Path, lower: Sequence[str]) -> None:
        (home / "lower").write_text(":".join(f"{_LINKS}/{link}" for link in lower))

    def _lower(self, layer: str) -> list[str]:
        text = written(self._homes[layer] / "lower")
        return text.split(":") if text else []

    def _links(self, layer: str) -> list[Path]:
        links = self._root / _LINKS
        try:
            if (short := written(self._homes[layer] / "link")) is None:
                return []
        except NotADirectoryError:
            return []
        except FileNotFoundError:  # nobody but the link itself knows its name
            wanted = f"../{layer}/diff"
            return [link for link in links.iterdir() if os.readlink(link) == wanted]
        return [links / short]

    def _chain(self, parent: str) -> list[str]:
        """Short names of `parent` and of all below it."""
        own = (self._homes[parent] / "link").read_text()
        return [own, *(link.removeprefix(f"{_LINKS}/") for link in self._lower(parent))]
