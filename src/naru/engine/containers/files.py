"""`docker cp`: files in and out of containers, running or not, never out of the container's root.

A running container is seen as its process sees it, mounts included. Of a stopped one the layer is
mounted for the time being, and a path below one of its volumes is looked up in the volume.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import posixpath
import stat
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from naru.engine.containers import file_jobs, path_stat, users
from naru.engine.containers.collaborators import Layers
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.engine.pipes import BrokenStream, Inbound, from_worker
from naru.engine.tasks import Tasks
from naru.kernel.inroot import open_in_root
from naru.kernel.pipes import Piped
from naru.kernel.workers import Workers
from naru.spec.containers import ContainerRecord
from naru.spec.errors import Forbidden, InternalError, InvalidParameter, NoSpace, NotFound
from naru.store.apart import fed
from naru.store.room import is_full

_MOST_LINKS: Final = 40
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _Place(NamedTuple):
    """A directory of the host that stands for `at` in the container."""

    root: Path
    at: str
    writable: bool


class Files:
    def __init__(
        self, *, containers: Containers, layers: Layers, workers: Workers, tasks: Tasks
    ) -> None:
        self._containers = containers
        self._layers = layers
        self._workers = workers
        self._tasks = tasks
        self._writing: Counter[str] = Counter()  # copies to a container that does not run

    async def stat(self, ref: str, path: str) -> dict[str, Any]:
        """The members of `X-Docker-Container-Path-Stat`."""
        record = self._containers.find(ref)
        async with self._seen(record) as root:
            return await asyncio.to_thread(self._stat, record, root, path)

    async def read(
        self, ref: str, path: str
    ) -> tuple[dict[str, Any], AsyncIterator[bytes | Piped]]:
        """-> (as `stat`, the tar of a file or tree, named by the path's last component)."""
        record = self._containers.find(ref)
        described = await self.stat(ref, path)
        pieces = self._read(record, path)
        return described, pieces

    async def write(
        self,
        ref: str,
        path: str,
        archive: AsyncIterator[bytes],
        *,
        keep_kinds: bool,
        as_user: bool,
    ) -> None:
        """Unpack a tar, compressed or not, into an existing directory.

        `keep_kinds`: a directory is not replaced by a file, nor the other way round. `as_user`:
        what is written belongs to the container's user.
        """
        record = self._containers.find(ref)
        async with self._opened_up(record) as root:
            unpack = functools.partial(
                self._write, record, root, path, keep_kinds=keep_kinds, as_user=as_user
            )
            try:
                await Inbound(archive).run(unpack)
            except BrokenStream as error:
                raise InvalidParameter(str(error)) from error
            except OSError as error:
                if is_full(error):
                    raise NoSpace(f"no space left on device: {error}") from error
                raise InternalError(f"cannot copy to {path}: {error}") from error
        await self._containers.tell(occurrence(record, "extract-to-dir", path=path))

    async def _read(self, record: ContainerRecord, path: str) -> AsyncIterator[bytes | Piped]:
        async with self._seen(record) as root:
            place, name = self._place(record, root, path), _last(path)
            with _opened(record, place, path) as fd:
                pack = file_jobs.pack
                async for piece in from_worker(self._workers, [fd], pack, name, not record.running):
                    yield piece
        await self._containers.tell(occurrence(record, "archive-path", path=path))

    @asynccontextmanager
    async def _seen(self, record: ContainerRecord) -> AsyncIterator[Path]:
        """The container's root, to read, for as long as it is needed."""
        if record.running:
            yield Path(f"/proc/{record.state.pid}/root")
            return
        async with self._layers.look(record.id) as root:
            yield root

    @asynccontextmanager
    async def _opened_up(self, record: ContainerRecord) -> AsyncIterator[Path]:
        """The same, to write to."""
        if record.running:
            yield Path(f"/proc/{record.state.pid}/root")
            return
        async with self._containers.live(record).lock:
            root = await self._layers.mount(record.id)
            self._writing[record.id] += 1
        try:
            yield root
        finally:
            # Not waited for: it syncs the file system that the layer is on.
            self._tasks.spawn(self._let_go(record), name=f"unmount of {record.name} after a copy")

    async def _let_go(self, record: ContainerRecord) -> None:
        async with self._containers.live(record).lock:
            self._writing -= Counter([record.id])
            present = self._containers.get(record.id)
            if not self._writing[record.id] and (present is None or not present.running):
                await self._layers.unmount(record.id)

    def _place(self, record: ContainerRecord, root: Path, path: str) -> _Place:
        writable = not record.host_config.readonly_rootfs
        absolute = _absolute(path)
        found = _Place(root, "/", writable)
        for mount in record.mounts:
            at = posixpath.normpath(mount.destination)
            inside = absolute == at or absolute.startswith(at.rstrip("/") + "/")
            if inside and mount.type in ("bind", "volume") and len(at) > len(found.at):
                # Of a running container the process' own root shows the volume already.
                found = _Place(root if record.running else Path(mount.source), at, mount.rw)
        return found._replace(at="/") if record.running else found

    def _stat(self, record: ContainerRecord, root: Path, path: str) -> dict[str, Any]:
        place = self._place(record, root, path)
        with _opened(record, place, path) as fd:
            status = os.fstat(fd)
        target = ""
        if stat.S_ISLNK(status.st_mode):
            target = _final_target(place, path)
        return path_stat.encode(_last(path), status, target)

    def _write(
        self,
        record: ContainerRecord,
        root: Path,
        path: str,
        archive: BinaryIO,
        *,
        keep_kinds: bool,
        as_user: bool,
    ) -> None:
        place = self._place(record, root, path)
        # The directory itself, not a symlink to it.
        with _opened(record, place, path.rstrip("/") + "/.") as fd:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise InvalidParameter("extraction point is not a directory")
            if not place.writable:
                inside_volume = any(
                    posixpath.normpath(mount.destination) == place.at for mount in record.mounts
                )
                what = "mounted volume" if inside_volume else "container rootfs"
                raise Forbidden(f"{what} is marked read-only")
            owner = None
            if as_user and record.config.user:
                accounts = users.read_accounts(root)
                user = users.resolve(record.config.user, (), accounts)
                owner = (user.uid, user.gid)
            unpack = file_jobs.unpack
            fed(self._workers, archive, threading.Event(), unpack, keep_kinds, owner, fds=[fd])


def _absolute(path: str) -> str:
    # normpath keeps two leading slashes, which POSIX lets mean something else.
    return posixpath.normpath("/" + path.lstrip("/"))


def _last(path: str) -> str:
    """Go's filepath.Base: the component that an archive's members begin with."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def _relative(place: _Place, path: str) -> str:
    """`path` below the place's root, its trailing "/" or "/." kept: it asks to follow a link."""
    absolute = _absolute(path)
    below = absolute[len(place.at.rstrip("/")) :].lstrip("/")
    follow = path.endswith(("/", "/.")) or not below
    return f"{below}/." if follow and below else below or "."


@contextlib.contextmanager
def _opened(record: ContainerRecord, place: _Place, path: str) -> Iterator[int]:
    """An O_PATH descriptor of what `path` names; a symlink in the end is not followed."""
    try:
        root = os.open(place.root, os.O_PATH | os.O_CLOEXEC)
        try:
            relative = _relative(place, path)
            if relative == "." and not stat.S_ISDIR(os.fstat(root).st_mode):
                fd = os.dup(root)  # a volume that is a single file
            else:
                fd = open_in_root(root, relative, os.O_PATH | os.O_NOFOLLOW)
        finally:
            os.close(root)
    except OSError as error:
        if error.errno == errno.ENOTDIR and path.endswith("/."):
            raise InvalidParameter("extraction point is not a directory") from error
        if error.errno in _NOT_THERE:
            raise NotFound(f"Could not find the file {path} in container {record.id}") from error
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _final_target(place: _Place, path: str) -> str:
    """Where a symlink leads in the end, as a path in the container; it need not exist."""
    at = _absolute(path)
    root = os.open(place.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_MOST_LINKS):
            try:
                fd = open_in_root(root, _relative(place, at), os.O_PATH | os.O_NOFOLLOW)
            except OSError:
                break
            try:
                if not stat.S_ISLNK(os.fstat(fd).st_mode):
                    break
                target = os.readlink("", dir_fd=fd)
            finally:
                os.close(fd)
            at = posixpath.normpath(posixpath.join(posixpath.dirname(at), target))
    finally:
        os.close(root)
    return at
