"""Unpack a layer tar below a directory, and nowhere else.

Every parent directory is resolved by openat2 with RESOLVE_IN_ROOT: links lead where they would lead
in a container whose root the target is, `..` stops there, and magic links are refused. The last
component is never followed. So a member cannot touch anything outside, whatever the names and links
in the archive, and whoever changes the tree meanwhile.

The cost is system calls, so there are few: an open directory is kept per parent, a file of root's
with common permissions takes open, write, utimensat and close.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import BinaryIO, Protocol

from naru.store.attributes import Attributes, Owner
from naru.store.contents import write_contents, write_sparse
from naru.store.directories import Directories
from naru.store.hiding import Hiding, unless_replaced
from naru.store.removal import remove
from naru.store.tarentry import (
    BLOCKDEV,
    CHARDEV,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    ExtractError,
    TarError,
)
from naru.store.tarstream import TarReader
from naru.store.whiteouts import PREFIX, Whiteouts

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {CHARDEV: stat.S_IFCHR, BLOCKDEV: stat.S_IFBLK, FIFO: stat.S_IFIFO}


class Witness(Protocol):
    """Told what becomes of an archive's bytes, before it happens."""

    def file(self, offset: int, size: int, name: str) -> None:
        """The contents of the file `name` begin at `offset` of the archive."""

    def replacing(self) -> None:
        """A file that came of the archive may be about to go, for a later member."""


class Extractor:
    """Unpacks archives into the directory `root`.

    `written` is the sum of the sizes of files (with holes) and symbolic links, as Docker counts.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        whiteouts: Whiteouts | None = None,
        owner: Owner | None = None,
        umask: int | None = None,
        witness: Witness | None = None,
        adapt: Callable[[Entry], None] | None = None,
    ) -> None:
        """`whiteouts`: None unpacks `.wh.` files as they are. `umask`: the process's, if known.
        `adapt` may change a member, its name too, before it is unpacked.
        """
        self._directories = Directories(root, made=self._implied)
        self._attributes = Attributes(owner=owner, umask=umask)
        self._hiding: Hiding | None = None
        if whiteouts is not None:
            self._hiding = Hiding(whiteouts, self._directories, before=self._before_hiding)
        self._witness = witness
        self._adapt = adapt
        self._times: dict[str, int] = {}  # of directories, set when their content is complete
        self.written = 0
        self.implied: set[str] = set()
        """Directories that no member speaks of, only of their content."""
        self.root_named = False
        """Whether a member gave the root its attributes."""

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self._directories.close()

    def extract(self, archive: BinaryIO) -> int:
        """Unpack all members -> `written`."""
        reader = TarReader(archive)
        for entry in reader:
            if self._adapt is not None:
                self._adapt(entry)
            try:
                self._member(reader, entry)
            except (OSError, OverflowError) as error:
                raise _told(error, entry.name) from None
        if self._hiding is not None:
            self._hiding.finish()
        self._finish_directories()
        return self.written

    def _member(self, reader: TarReader, entry: Entry) -> None:
        if self._directories.stale:
            self._directories.close_stale()
        path = _clean(entry.name)
        if not path:
            if entry.kind == DIRECTORY:
                self._root_attributes(entry)
            return
        parent, _, name = path.rpartition("/")
        if self._hiding is not None and name.startswith(PREFIX):
            self._hiding.member(parent, name)
            return
        directory, inherits_gid = self._directories.get(parent)
        if entry.kind == REGULAR:
            self._file(reader, entry, directory, name, path, inherits_gid)
        elif entry.kind == DIRECTORY:
            self._make_directory(entry, directory, name, path, inherits_gid)
        elif entry.kind == SYMLINK:
            self._replacing(
                lambda: os.symlink(entry.linkname, name, dir_fd=directory), directory, name, entry
            )
            self._attributes.of_name(entry, directory, name, inherits_gid)
            self.written += len(os.fsencode(entry.linkname))
        elif entry.kind == HARDLINK:
            self._hard_link(entry, directory, name, path)
        elif entry.kind in _SPECIAL:
            mode = _SPECIAL[entry.kind] | (entry.mode & 0o777)
            device = os.makedev(entry.devmajor, entry.devminor)
            self._replacing(
                lambda: os.mknod(name, mode, device, dir_fd=directory), directory, name, entry
            )
            self._attributes.of_name(entry, directory, name, inherits_gid)
        else:
            raise TarError(f"{entry.name!r}: unhandled tar header type {ord(entry.kind)}")
        if self._hiding is not None:
            self._hiding.mine.add(path)

    # -- directories ----------------------------------------------------------------------------

    def _implied(self, path: str) -> None:
        self.implied.add(path)
        if self._hiding is not None:
            self._hiding.mine.add(path)

    def _make_directory(
        self, entry: Entry, directory: int, name: str, path: str, inherits: bool
    ) -> None:
        fresh = True
        try:
            os.mkdir(name, entry.mode & 0o777, dir_fd=directory)
        except FileExistsError:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            fresh = not stat.S_ISDIR(found.st_mode)
            if fresh:
                self._replace(directory, name, entry)
                os.mkdir(name, entry.mode & 0o777, dir_fd=directory)
            else:
                self._directories.changed(path)
        self._attributes.of_name(entry, directory, name, inherits or not fresh)
        if self._hiding is not None:
            self._hiding.directory(path)
        self._times[path] = entry.mtime
        self.implied.discard(path)

    def _root_attributes(self, entry: Entry) -> None:
        root = self._directories.root
        self.root_named = True
        self._attributes.of_root(entry, root)
        self._directories.changed("")
        self._times[""] = entry.mtime

    def _finish_directories(self) -> None:
        for path, mtime in reversed(self._times.items()):
            parent, _, name = path.rpartition("/")
            with unless_replaced():
                directory, _inherits = (
                    self._directories.get(parent) if path else (self._directories.root, False)
                )
                os.utime(name or ".", ns=(mtime, mtime), dir_fd=directory, follow_symlinks=False)
        self._times.clear()

    # -- files ----------------------------------------------------------------------------------

    def _file(
        self, reader: TarReader, entry: Entry, directory: int, name: str, path: str, inherits: bool
    ) -> None:
        fd = self._created(directory, name, entry)
        try:
            if entry.sparse is not None:
                write_sparse(reader, entry, fd)
            elif entry.stored:
                if self._witness is not None:
                    self._witness.file(reader.offset, entry.stored, path)
                write_contents(reader, fd)
            self.written += entry.size
            self._attributes.of_file(entry, fd, inherits)
        finally:
            os.close(fd)

    def _created(self, directory: int, name: str, entry: Entry) -> int:
        try:
            return os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory)
        except FileExistsError:
            self._replace(directory, name, entry)
            return os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory)

    def _hard_link(self, entry: Entry, directory: int, name: str, path: str) -> None:
        target = _clean(entry.linkname)
        if target == path:
            return
        parent, _, last = target.rpartition("/")
        source, ours = self._directories.find(parent)
        try:
            self._replacing(
                lambda: os.link(
                    last, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False
                ),
                directory,
                name,
                entry,
            )
        finally:
            if ours:
                os.close(source)

    def _replacing(self, make: Callable[[], None], directory: int, name: str, entry: Entry) -> None:
        try:
            make()
        except FileExistsError:
            self._replace(directory, name, entry)
            make()

    def _replace(self, directory: int, name: str, entry: Entry) -> None:
        """Make room for a member whose name is taken: the last one wins."""
        path = _clean(entry.name)
        for gone in [each for each in self._times if f"{each}/".startswith(f"{path}/")]:
            del self._times[gone]
        self._before_removing()
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                self._directories.forget()
        remove(directory, name)

    def _before_hiding(self, directory: int, name: str) -> None:
        """A name is going to be hidden, which this archive may have by another path."""
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=directory, follow_symlinks=False)
            self._before_removing()

    def _before_removing(self) -> None:
        if self._witness is not None:
            self._witness.replacing()


def _clean(name: str) -> str:
    """The member's path without `.`, `..` and double slashes, relative to the root; "" for it."""
    if "/" not in name and name not in (".", ".."):
        return name
    if name[:1] != "/" and "//" not in name and "/." not in name and name[:1] != ".":
        return name.rstrip("/")
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _told(error: OSError | OverflowError, name: str) -> Exception:
    """What goes wrong with a member is said of it, but for a full disk."""
    if not isinstance(error, OSError):
        return ExtractError(f"{name!r}: {error}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    return ExtractError(f"{name!r}: {os.strerror(error.errno) if error.errno else error}")


def extract(
    archive: BinaryIO,
    root: str | os.PathLike[str],
    *,
    whiteouts: Whiteouts | None = None,
    owner: Owner | None = None,
) -> int:
    """Unpack `archive` into `root` -> the sum of the sizes of files and links."""
    with Extractor(root, whiteouts=whiteouts, owner=owner) as extractor:
        return extractor.extract(archive)
