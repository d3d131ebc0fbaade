"""What the whiteouts among a layer's members hide: what is below the layer, never what is in it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from naru.store.directories import Directories
from naru.store.tarentry import ExtractError
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX, Whiteouts


class Hiding:
    """For one layer; `mine` is to have the paths that it has put there."""

    def __init__(
        self,
        whiteouts: Whiteouts,
        directories: Directories,
        *,
        before: Callable[[int, str], None],
    ) -> None:
        """`before(directory, name)` is told of a name, in an open directory, to be hidden."""
        self._whiteouts = whiteouts
        self._directories = directories
        self._before = before
        self._hidden: set[str] = set()
        self.mine: set[str] = set()

    def member(self, parent: str, name: str) -> None:
        """A `.wh.` member."""
        if name.startswith(METADATA_PREFIX) and name != OPAQUE:
            return  # bookkeeping of aufs
        hidden = name[len(PREFIX) :]
        if hidden in ("", ".", ".."):
            raise ExtractError(f"{parent}/{name!r}: invalid whiteout name")
        directory, _inherits = self._directories.get(parent)
        self._before(directory, hidden)
        if name == OPAQUE:
            self._make_opaque(directory, parent)
            return
        path = f"{parent}/{hidden}" if parent else hidden
        self._hidden.add(path)
        if path not in self.mine:
            self._directories.forget()
            self._whiteouts.hide(directory, hidden)
            return
        # It speaks of the layers below, not of what this layer put in its place.
        with unless_replaced():
            # What a link of this layer leads to is not hidden with it.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=directory, follow_symlinks=False).st_mode):
                self._make_opaque(self._directories.get(path)[0], path)

    def directory(self, path: str) -> None:
        """The layer has made a directory, or given one its attributes."""
        if path in self._hidden:
            self._make_opaque(self._directories.get(path)[0], path)

    def finish(self) -> None:
        """All members are there."""
        for path in self._hidden & self.mine:
            parent, _, name = path.rpartition("/")
            with unless_replaced():
                self._whiteouts.replaced(self._directories.get(parent)[0], name)

    def _make_opaque(self, directory: int, path: str) -> None:
        above = f"{path}/" if path else ""
        self._whiteouts.make_opaque(directory, lambda child: above + child in self.mine)


@contextlib.contextmanager
def unless_replaced() -> Iterator[None]:
    """A later member may have replaced a directory on the way, even by a link to itself."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
