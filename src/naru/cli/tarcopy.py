"""Trees in and out of tar streams for `cp`: nothing is held in memory, nothing leaves its root."""

from __future__ import annotations

import os
import stat
import tarfile

from naru.cli.failures import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 131072
_END = b"\0" * 1024


class StreamFile:
    """An iterator of bytes as the file that tarfile reads; counts what passed."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self.count = 0

    def read(self, size: int) -> bytes:
        parts = [self._rest]
        have = len(self._rest)
        while have < size:
            piece = next(self._chunks, b"")
            if not piece:
                break
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._rest = data[size:]
        self.count += min(size, len(data))
        return data[:size]


def pack(source: str, name: str, *, owners: bool) -> Iterator[bytes]:
    """A tar of `source` (a file or a whole tree) whose root is called `name`."""
    links: dict[tuple[int, int], str] = {}
    yield from _entry(source, name, links, owners)
    if os.path.isdir(source) and not os.path.islink(source):
        for folder, folders, files in os.walk(source):
            inside = os.path.relpath(folder, source)
            base = name if inside == "." else f"{name}/{inside}"
            for item in sorted(folders + files):
                yield from _entry(os.path.join(folder, item), f"{base}/{item}", links, owners)
    yield _END


def _entry(
    path: str, name: str, links: dict[tuple[int, int], str], owners: bool
) -> Iterator[bytes]:
    about = os.lstat(path)
    if stat.S_ISSOCK(about.st_mode):
        return  # tar knows no sockets
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(about.st_mode)
    info.mtime = about.st_mtime
    if owners:
        info.uid, info.gid = about.st_uid, about.st_gid
    kind = stat.S_IFMT(about.st_mode)
    key = (about.st_dev, about.st_ino)
    if kind == stat.S_IFDIR:
        info.type = tarfile.DIRTYPE
    elif kind == stat.S_IFLNK:
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif about.st_nlink > 1 and key in links:
        info.type, info.linkname = tarfile.LNKTYPE, links[key]
    elif kind == stat.S_IFREG:
        info.size = about.st_size
        links[key] = name
    elif kind == stat.S_IFIFO:
        info.type = tarfile.FIFOTYPE
    else:
        info.type = tarfile.CHRTYPE if kind == stat.S_IFCHR else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(about.st_rdev), os.minor(about.st_rdev)
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if info.isreg() and info.size:
        with open(path, "rb", buffering=0) as file:
            left = info.size
            while left:
                data = file.read(min(left, _PIECE))
                if not data:
                    raise CliError(f"{path}: file changed as it was read")
                left -= len(data)
                yield data
        yield b"\0" * (-info.size % 512)


def unpack(stream: StreamFile, target: str, *, rename: tuple[str, str], owners: bool) -> None:
    """Writes a tar below `target`, its root `rename[0]` called `rename[1]` (empty: contents only).

    Names that climb, and names whose parents are links, are refused: the stream comes from a
    container.
    """
    old, new = rename
    folders: list[tuple[str, tarfile.TarInfo]] = []
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=1) as tar:  # type: ignore[call-overload]
        for info in tar:
            name = _renamed(info.name, old, new)
            path = _inside(target, name)
            if path != target:
                _write(tar, info, path, target, (old, new), owners)
            if info.isdir():
                folders.append((path, info))
    while stream.read(_PIECE):
        pass  # drain the padding
    for path, info in reversed(folders):
        os.chmod(path, info.mode & 0o7777)
        os.utime(path, (info.mtime, info.mtime))


def _renamed(name: str, old: str, new: str) -> str:
    first, slash, rest = name.strip("/").partition("/")
    if first == old or old in ("", ".", "/"):
        first = new if old not in ("", ".", "/") or first in (".", "") else f"{new}/{first}"
    return f"{first}{slash}{rest}".strip("/")


def _inside(target: str, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise CliError(f"refusing to write outside the destination: {name}")
    path = target
    for part in parts[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise CliError(f"refusing to write through a link: {path}")
        if not os.path.isdir(path):
            os.mkdir(path)
    return os.path.join(path, parts[-1]) if parts else target


def _write(
    tar: tarfile.TarFile,
    info: tarfile.TarInfo,
    path: str,
    target: str,
    rename: tuple[str, str],
    owners: bool,
) -> None:
    if info.isdir():
        if not os.path.isdir(path) or os.path.islink(path):
            if os.path.lexists(path):
                raise CliError(f'cannot overwrite non-directory "{path}" with directory')
            os.mkdir(path, 0o700)
    else:
        if os.path.isdir(path) and not os.path.islink(path):
            raise CliError(f'cannot overwrite directory "{path}" with non-directory')
        if os.path.lexists(path):
            os.unlink(path)
        if info.isreg():
            _file(tar, info, path)
        elif info.issym():
            os.symlink(info.linkname, path)
        elif info.islnk():
            os.link(_inside(target, _renamed(info.linkname, *rename)), path, follow_symlinks=False)
        elif info.isfifo():
            os.mkfifo(path)
        elif info.isdev():
            kind = stat.S_IFCHR if info.ischr() else stat.S_IFBLK
            os.mknod(path, kind | info.mode, os.makedev(info.devmajor, info.devminor))
    if owners and os.geteuid() == 0:
        os.lchown(path, info.uid, info.gid)
    if not info.issym() and not info.isdir():
        os.chmod(path, info.mode & 0o7777)
        os.utime(path, (info.mtime, info.mtime))


def _file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> None:
    source = tar.extractfile(info)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        while source is not None and (data := source.read(_PIECE)):
            file.write(data)
