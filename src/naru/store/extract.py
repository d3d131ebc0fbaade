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
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from naru.kernel.writeback import Writeback
from naru.store.beside import Beside
from naru.store.directories import Directories
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
    TarError,
)
from naru.store.tarstream import TarReader
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX, Whiteouts

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {CHARDEV: stat.S_IFCHR, BLOCKDEV: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.")
"""overlayfs's own marks mean something else on the disk of an overlay than in an archive."""

Owner = Callable[[int, int], tuple[int, int]]
"""Maps the (uid, gid) of an archive to those on disk, for user namespaces."""


class Witness(Protocol):
    """Told what becomes of an archive's bytes, before it happens."""

    def file(self, offset: int, size: int, name: str) -> None:
        """The contents of the file `name` begin at `offset` of the archive."""

    def replacing(self) -> None:
        """A file that came of the archive may be about to go, for a later member."""


class ExtractError(ValueError):
    """A member cannot be unpacked; the text names it."""


class Extractor:
    """Unpacks archives into the directory `root`; the sum of what it wrote is in `written`."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        whiteouts: Whiteouts | None = None,
        owner: Owner | None = None,
        umask: int | None = None,
        witness: Witness | None = None,
    ) -> None:
        """`whiteouts`: None unpacks `.wh.` files as they are. `umask`: the process's, if known."""
        self._mine: set[str] = set()  # what this archive put there, where whiteouts must know
        self._hidden: set[str] = set()
        self._directories = Directories(root, made=self._implied)
        self._whiteouts = whiteouts
        self._owner = owner
        self._is_root = os.geteuid() == 0
        self._umask = _process_umask() if umask is None else umask
        self._track = whiteouts is not None
        self._witness = witness
        self._times: dict[str, int] = {}  # of directories, set when their content is complete
        self._beside = Beside(self._write_beside, self._directories.forget)
        self.written = 0
        self.implied: set[str] = set()
        """Directories that no member speaks of, only of their content."""
        self.root_named = False
        """Whether a member gave the root its attributes."""

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.close()
        self._directories.close()

    def extract(self, archive: BinaryIO) -> int:
        """Unpack all members -> bytes of file content written."""
        reader = TarReader(archive)
        for entry in reader:
            try:
                self._member(reader, entry)
            except (OSError, OverflowError) as error:
                raise _told(error, entry.name) from None
        self._beside.settle()
        self._show_replaced()
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
        if self._whiteouts is not None and name.startswith(PREFIX):
            self._whiteout(self._whiteouts, parent, name)
            return
        if self._went_beside(reader, entry, path, parent):
            return
        self._beside.before(entry.kind, path, parent)
        directory, inherits_gid = self._directories.get(parent)
        if entry.kind == REGULAR:
            self._file(reader, entry, directory, name, path, inherits_gid)
        elif entry.kind == DIRECTORY:
            self._make_directory(entry, directory, name, path, inherits_gid)
        elif entry.kind == SYMLINK:
            self._replacing(
                lambda: os.symlink(entry.linkname, name, dir_fd=directory), directory, name, entry
            )
            self._attributes(entry, directory, name, inherits_gid)
        elif entry.kind == HARDLINK:
            self._hard_link(entry, directory, name, path)
        elif entry.kind in _SPECIAL:
            mode = _SPECIAL[entry.kind] | (entry.mode & 0o777)
            device = os.makedev(entry.devmajor, entry.devminor)
            self._replacing(
                lambda: os.mknod(name, mode, device, dir_fd=directory), directory, name, entry
            )
            self._attributes(entry, directory, name, inherits_gid)
        else:
            raise TarError(f"{entry.name!r}: unhandled tar header type {ord(entry.kind)}")
        if self._track:
            self._mine.add(path)

    # -- directories ----------------------------------------------------------------------------

    def _implied(self, path: str) -> None:
        self.implied.add(path)
        self._beside.made(path)
        if self._track:
            self._mine.add(path)

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
                self._beside.shut(path)
                self._directories.changed(path)
        self._attributes(entry, directory, name, inherits or not fresh)
        if self._whiteouts is not None and path in self._hidden:
            opened, _inherits = self._directories.get(path)
            self._whiteouts.make_opaque(opened, lambda child: f"{path}/{child}" in self._mine)
        self._times[path] = entry.mtime
        self.implied.discard(path)
        if fresh:
            self._beside.made(path)

    def _root_attributes(self, entry: Entry) -> None:
        root = self._directories.root
        self.root_named = True
        self._beside.shut("")
        if self._is_root:
            os.fchown(root, *self._owner_of(entry))
        os.fchmod(root, entry.mode)
        self._xattrs(entry, root)
        self._directories.changed("")
        self._times[""] = entry.mtime

    def _finish_directories(self) -> None:
        for path, mtime in reversed(self._times.items()):
            parent, _, name = path.rpartition("/")
            with _unless_replaced():
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
                self._sparse(reader, entry, fd)
            elif entry.stored:
                if self._witness is not None:
                    self._witness.file(reader.offset, entry.stored, path)
                _copy(reader, fd)
            self.written += entry.stored
            self._file_attributes(fd, entry, inherits)
        finally:
            os.close(fd)

    def _created(self, directory: int, name: str, entry: Entry) -> int:
        try:
            return os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory)
        except FileExistsError:
            self._replace(directory, name, entry)
            return os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory)

    def _file_attributes(self, fd: int, entry: Entry, inherits: bool) -> None:
        mode, mtime = entry.mode, entry.mtime
        if self._is_root and (inherits or entry.uid or entry.gid or self._owner):
            os.fchown(fd, *self._owner_of(entry))
        if mode & ~0o777 or mode & self._umask:
            os.fchmod(fd, mode)  # after chown, which clears setuid
        if entry.xattrs:
            self._xattrs(entry, fd)
        os.utime(fd, ns=(mtime, mtime))

    def _went_beside(self, reader: TarReader, entry: Entry, path: str, parent: str) -> bool:
        """Whether another process sees to it: a small file that nothing else depends on."""
        if entry.kind != REGULAR or entry.sparse is not None:
            return False
        if not self._beside.takes(path, parent):
            return False
        if path in self._times or (self._track and path in self._mine):
            return False
        offset = reader.offset
        data = reader.at_once()
        if data is None:
            return False
        if self._witness is not None and data:
            self._witness.file(offset, len(data), path)
        self.written += len(data)
        self._beside.give(path, entry, data)
        if self._track:
            self._mine.add(path)
        return True

    def _write_beside(self, path: str, entry: Entry, data: memoryview) -> None:
        """In the other process."""
        try:
            if self._directories.stale:
                self._directories.close_stale()
            parent, _, name = path.rpartition("/")
            directory, inherits = self._directories.get(parent)
            fd = self._created(directory, name, entry)
            try:
                _write_all(fd, data)
                self._file_attributes(fd, entry, inherits)
            finally:
                os.close(fd)
        except (OSError, OverflowError) as error:
            raise _told(error, path) from None

    def _sparse(self, reader: TarReader, entry: Entry, fd: int) -> None:
        regions = iter(entry.sparse or ())
        at = left = 0
        for piece in reader.data():
            while piece:
                while not left:
                    at, left = next(regions)
                count = os.pwrite(fd, piece[:left], at)
                at, left, piece = at + count, left - count, piece[count:]
        os.ftruncate(fd, entry.size)

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
        self._beside.reset()
        path = _clean(entry.name)
        for gone in [each for each in self._times if f"{each}/".startswith(f"{path}/")]:
            del self._times[gone]
        if self._witness is not None:
            self._witness.replacing()
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                self._directories.forget()
        remove(directory, name)

    # -- attributes -----------------------------------------------------------------------------

    def _owner_of(self, entry: Entry) -> tuple[int, int]:
        return self._owner(entry.uid, entry.gid) if self._owner else (entry.uid, entry.gid)

    def _attributes(self, entry: Entry, directory: int, name: str, other_owner: bool) -> None:
        """Owner, mode, xattrs and time of what is not a regular file and was made just now."""
        mode, owner = entry.mode, self._owner_of(entry)
        if self._is_root and (other_owner or owner != (0, 0)):
            os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
        if entry.kind != SYMLINK and (mode & ~0o777 or mode & self._umask or other_owner):
            # chmod would follow a link that somebody puts there at the right moment
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                if stat.S_ISLNK(os.fstat(fd).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                os.chmod(f"/proc/self/fd/{fd}", mode)
            finally:
                os.close(fd)
        if entry.xattrs:
            self._xattrs(entry, f"/proc/self/fd/{directory}/{name}")
        if entry.kind != DIRECTORY:
            times = (entry.mtime, entry.mtime)
            os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def _xattrs(self, entry: Entry, target: int | str) -> None:
        for key, value in (entry.xattrs or {}).items():
            if key.startswith(_SKIPPED_XATTRS):
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                # As Docker does: user.* is not for every file type, and not every file system
                # knows every namespace. What guards the host or the container must not be lost.
                if key == "security.capability" and self._is_root:
                    raise
                if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                    raise

    # -- whiteouts ------------------------------------------------------------------------------

    def _whiteout(self, whiteouts: Whiteouts, parent: str, name: str) -> None:
        self._beside.reset()
        if name == OPAQUE:
            directory, _inherits = self._directories.get(parent)
            below = parent + "/" if parent else ""
            whiteouts.make_opaque(directory, lambda entry: below + entry in self._mine)
            return
        if name.startswith(METADATA_PREFIX):
            return  # bookkeeping of aufs
        hidden = name[len(PREFIX) :]
        if hidden in ("", ".", ".."):
            raise ExtractError(f"{parent}/{name!r}: invalid whiteout name")
        path = f"{parent}/{hidden}" if parent else hidden
        directory, _inherits = self._directories.get(parent)
        self._hidden.add(path)
        if path not in self._mine:
            self._directories.forget()
            if self._witness is not None:
                self._witness.replacing()
            whiteouts.hide(directory, hidden)
            return
        # It speaks of the layers below, not of what this layer put in its place.
        with _unless_replaced():
            # What a link of this layer leads to is not hidden with it.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=directory, follow_symlinks=False).st_mode):
                opened, _inherits = self._directories.get(path)
                whiteouts.make_opaque(opened, lambda child: f"{path}/{child}" in self._mine)

    def _show_replaced(self) -> None:
        if self._whiteouts is None:
            return
        for path in self._hidden & self._mine:
            parent, _, name = path.rpartition("/")
            with _unless_replaced():
                self._whiteouts.replaced(self._directories.get(parent)[0], name)


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


@contextlib.contextmanager
def _unless_replaced() -> Iterator[None]:
    """A later member may have replaced a directory on the way, even by a link to itself."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def _told(error: OSError | OverflowError, name: str) -> Exception:
    """What goes wrong with a member is said of it, but for a full disk."""
    if not isinstance(error, OSError):
        return ExtractError(f"{name!r}: {error}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    return ExtractError(f"{name!r}: {os.strerror(error.errno) if error.errno else error}")


def _copy(reader: TarReader, fd: int) -> None:
    if (whole := reader.at_once()) is not None:
        if (count := os.write(fd, whole)) < len(whole):
            _write_all(fd, whole[count:])
        return
    written, writeback = 0, Writeback(fd)
    for piece in reader.data():
        _write_all(fd, piece)
        written += len(piece)
        writeback.wrote(written)


def _write_all(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _process_umask() -> int:
    """The umask, read without setting it, which would race with other threads."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o777


def extract(
    archive: BinaryIO,
    root: str | os.PathLike[str],
    *,
    whiteouts: Whiteouts | None = None,
    owner: Owner | None = None,
) -> int:
    """Unpack `archive` into `root` -> bytes of file content written."""
    with Extractor(root, whiteouts=whiteouts, owner=owner) as extractor:
        return extractor.extract(archive)
