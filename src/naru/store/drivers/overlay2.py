"""overlay2: a layer is a directory of what it changes; the kernel's overlayfs stacks them.

Below the driver's root a layer has, as in Docker: `<id>/diff` (its own files), `<id>/link` (its
short name), `<id>/lower` (short names of the layers below it, topmost first), `<id>/work`,
`<id>/merged`; `l/<short>` links to the layer's `diff`, so that long lists fit the option page.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount
from naru.kernel.quota import ProjectQuota
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.diff import usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.probe import (
    backing_filesystem,
    in_user_namespace,
    overlay_refusal,
    supports_dtype,
)
from naru.store.extract import extract
from naru.store.sizes import parse_size
from naru.store.upper import UpperDiff
from naru.store.whiteouts import OverlayWhiteouts

_LINKS = "l"
_REMOVING = ".removing"
_PARAMETERS = Path("/sys/module/overlay/parameters")


class Overlay2:
    name: ClassVar[str] = "overlay2"

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        """Raise `Unsupported` where the kernel or the backing file system cannot do it."""
        self._root = root
        self._default_size = _default_size(options)
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._userxattr = in_user_namespace()
        if refusal := overlay_refusal(root, userxattr=self._userxattr):
            raise Unsupported(f"driver not supported: overlay2: {refusal}")
        (root / _LINKS).mkdir(mode=0o700, exist_ok=True)
        self._quota = ProjectQuota.on(root)
        if self._default_size and self._quota is None:
            raise Unsupported(_no_quota("overlay2.size", root))
        self._mount_options = [
            # Each would put marks on the upper layer that make it depend on the exact layers
            # below (index), or that `diff` would have to follow (metacopy, redirect_dir).
            *(f"{name}=off" for name in ("index", "metacopy", "redirect_dir") if _knows(name)),
            *(["userxattr"] if self._userxattr else []),
        ]

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        lower = self._chain(parent) if parent else []
        home = self._root / layer
        home.mkdir(mode=0o710)
        size = size or (self._default_size if writable else 0)
        if size:
            if self._quota is None:
                raise Unsupported(_no_quota("storage-opt size", self._root))
            # Before the directories in it are made: they inherit the project.
            self._quota.limit(home, size)
        (home / "diff").mkdir(mode=0o755)
        os.chmod(home / "diff", 0o755)
        if parent:
            # The root directory of the merged tree is that of the topmost layer.
            self._copy_root_attributes(self._root / parent / "diff", home / "diff")
        short = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=")
        os.symlink(f"../{layer}/diff", self._root / _LINKS / short)
        (home / "link").write_text(short)
        (home / "work").mkdir(mode=0o700)
        (home / "merged").mkdir(mode=0o700)
        if lower:
            (home / "lower").write_text(":".join(f"{_LINKS}/{link}" for link in lower))

    def remove(self, layer: str) -> None:
        home, doomed = self._root / layer, self._root / (layer + _REMOVING)
        _remove_tree(doomed)
        try:
            short = (home / "link").read_text()
        except (FileNotFoundError, NotADirectoryError):
            short = ""
        if short:
            (self._root / _LINKS / short).unlink(missing_ok=True)
        try:
            # The layer is gone in one step; whoever is killed below leaves only rubbish.
            home.rename(doomed)
        except FileNotFoundError:
            return
        _remove_tree(doomed)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        home = self._root / layer
        lowers = [str(self._root / link) for link in self._lower(layer)]
        if not lowers:  # overlay wants something below
            options = ["bind", "rprivate", *(["ro"] if read_only else [])]
            return [Mount("", str(home / "diff"), target, options)]
        if read_only:
            lowers = [str(home / "diff"), *lowers]
            own = []
        else:
            own = [f"upperdir={home / 'diff'}", f"workdir={home / 'work'}"]
        below = [f"lowerdir+={lower}" for lower in lowers]
        return [Mount("overlay", "overlay", target, [*below, *own, *self._mount_options])]

    def apply(self, layer: str, diff: BinaryIO) -> int:
        whiteouts = OverlayWhiteouts(userxattr=self._userxattr)
        return extract(diff, self._root / layer / "diff", whiteouts=whiteouts)

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._upper(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._upper(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._root / layer / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Supports d_type", str(supports_dtype(self._root)).lower()),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", str(self._userxattr).lower()),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        home = self._root / layer
        lowers = [os.path.realpath(self._root / link) for link in self._lower(layer)]
        found = {"ID": layer, "UpperDir": str(home / "diff"), "WorkDir": str(home / "work")}
        found["MergedDir"] = str(target)
        if lowers:
            found["LowerDir"] = ":".join(lowers)
        return found

    def layers(self) -> Iterator[str]:
        for entry in sorted(os.listdir(self._root)):
            if entry != _LINKS:
                yield entry.removesuffix(_REMOVING)

    def _upper(self, layer: str) -> UpperDiff:
        lowers = [self._root / link for link in self._lower(layer)]
        return UpperDiff(self._root / layer / "diff", [lower.resolve() for lower in lowers])

    def _lower(self, layer: str) -> list[str]:
        try:
            text = (self._root / layer / "lower").read_text()
        except FileNotFoundError:
            return []
        return text.split(":")

    def _chain(self, parent: str) -> list[str]:
        """Short names of `parent` and of all below it."""
        own = (self._root / parent / "link").read_text()
        return [own, *(link.removeprefix(f"{_LINKS}/") for link in self._lower(parent))]

    @staticmethod
    def _copy_root_attributes(source: Path, target: Path) -> None:
        status = os.stat(source)
        os.chown(target, status.st_uid, status.st_gid)
        os.chmod(target, status.st_mode & 0o7777)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _knows(parameter: str) -> bool:
    """Whether this kernel's overlayfs has the option: it refuses a mount with one it has not."""
    return (_PARAMETERS / parameter).exists()


def _default_size(options: Mapping[str, str]) -> int:
    size = 0
    for name, value in options.items():
        match name:
            case "overlay2.size":
                size = parse_size(value, name)
            case "overlay2.override_kernel_check":
                pass  # it lifts a check for kernels before 4.0, which Naru does not run on
            case _:
                raise InvalidParameter(f"overlay2: unknown option {name}")
    return size


def _no_quota(what: str, root: Path) -> str:
    return (
        f"{what}: the file system of {root} ({backing_filesystem(root)}) has no project quota"
        " (xfs: mount with pquota; ext4: feature project and mount option prjquota)"
    )


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, onerror=_unless_gone)


def _unless_gone(_function: object, _path: str, failure: tuple[object, ...]) -> None:
    error = failure[1]
    if isinstance(error, Exception) and not isinstance(error, FileNotFoundError):
        raise error
