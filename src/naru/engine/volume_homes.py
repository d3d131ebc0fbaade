"""The directories of volumes on the disk, `<root>/<volume>/_data`.

It knows no records. Everything blocks, and is for worker threads.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from naru.kernel import mounts
from naru.kernel.quota import ProjectQuota
from naru.spec.errors import InvalidParameter
from naru.store.removal import remove_tree
from naru.store.sizes import parse_size

_REMOVING = ".removing"


class Leftover(NamedTuple):
    """A directory without a record; `reason`: why it is not simply removed, "" where it is."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


class VolumeHomes:
    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o701, parents=True, exist_ok=True)

    def data(self, name: str) -> Path:
        return self._root / name / "_data"

    def make(self, name: str, options: Mapping[str, str]) -> None:
        """Make it whole, with a limit where `options` has a size, or not at all."""
        home = self._root / name
        home.mkdir(mode=0o701)
        try:
            if "size" in options and (size := parse_size(options["size"], f"create {name}")):
                quota = ProjectQuota.on(home)
                if quota is None:
                    raise InvalidParameter(
                        f"create {name}: quota size requested but no quota support"
                    )
                quota.limit(home, size)
            (home / "_data").mkdir()
            os.chmod(home / "_data", 0o755)
        except BaseException:
            self.delete(name)
            raise

    def delete(self, name: str) -> None:
        """Idempotent. Whoever is killed in the middle leaves rubbish that `names` lists."""
        home, doomed = self._root / name, self._root / f"{name}{_REMOVING}-{secrets.token_hex(4)}"
        try:
            home.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed)

    def names(self) -> list[str]:
        """Of all directories, those of half removed volumes among them: see `volume_of`."""
        return sorted(os.listdir(self._root))

    def judged(self, names: Sequence[str]) -> list[Leftover]:
        """What to think of directories that are no volume's."""
        found = []
        for name in names:
            path = self._root / name
            if not path.is_dir() or path.is_symlink():
                continue
            if mounts.mounts_below(path):
                found.append(Leftover(name, "has no record, but something is mounted in it"))
            elif _REMOVING + "-" in name or not any((path / "_data").glob("*")):
                found.append(Leftover(name, ""))
            else:
                # Somebody's data: never ours to delete on a guess.
                found.append(Leftover(name, "has no record, and files in it"))
        return found

    def discard(self, name: str) -> None:
        """Remove a directory that `judged` gives no reason to keep."""
        remove_tree(self._root / name)


def volume_of(name: str) -> str:
    """The volume that a directory is, or once was, of."""
    return name.partition(_REMOVING + "-")[0]
