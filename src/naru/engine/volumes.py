"""Local volumes: directories below `<data-root>/volumes`, or what their options mount there.

A volume is in use while a container's record names it. A mount of its own (options type, device, o)
is there while a container that runs needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from naru.engine.volume_copy import copy_up
from naru.engine.volume_filters import Filters, check_filters, flag, matches
from naru.engine.volume_homes import Leftover, VolumeHomes, volume_of
from naru.engine.volume_mounts import VolumeMounts, names_volume
from naru.engine.volume_options import check_name, check_options, needs_mount
from naru.spec.errors import Conflict, InternalError, NoSpace, NotFound, no_such_volume
from naru.spec.events import Event
from naru.spec.volumes import VolumeRecord
from naru.store.diff import usage_of
from naru.store.named_locks import NamedLocks
from naru.store.records import Records, delete, put
from naru.store.room import Room, is_full, unmetered

_log = logging.getLogger(__name__)

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_LIST_FILTERS = ("dangling", "name", "driver", "label")
_PRUNE_FILTERS = ("label", "label!", "all")


class Pruned(NamedTuple):
    names: list[str]
    reclaimed: int  # bytes


class VolumeUsage(NamedTuple):
    volume: VolumeRecord
    size: int  # bytes on disk
    references: int  # containers that name it


class Volumes:
    def __init__(self, *, root: Path, records: Records, room: Room | None = None) -> None:
        """`root` is `<data-root>/volumes`; `room` is what must stay free of the data root."""
        self._homes = VolumeHomes(root)
        self._records = records
        self._room = room
        self._locks = NamedLocks()
        self._mounts = VolumeMounts(records)
        self._pruning = False

    async def create(
        self,
        name: str,
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> VolumeRecord:
        """A volume of that name, which may be there already; "" makes an anonymous one."""
        options, labels = dict(options or {}), dict(labels or {})
        if not name:
            name, anonymous = secrets.token_hex(32), True
        if anonymous:
            labels.setdefault(ANONYMOUS_LABEL, "")
        check_name(name)
        if driver not in ("", "local"):
            raise NotFound(
                f"create {name}: error looking up volume plugin {driver}:"
                f' plugin "{driver}" not found'
            )
        check_options(name, options)
        async with self._locks.hold(name):
            if (known := self._records.volumes.get(name)) is not None:
                return known
            record = VolumeRecord(
                name=name,
                driver="local",
                mountpoint=str(self._homes.data(name)),
                created=time.time_ns(),
                labels=labels,
                options=options,
                anonymous=anonymous,
            )
            try:
                await asyncio.to_thread(self._homes.make, name, options)
            except OSError as error:
                raise InternalError(f"create {name}: {error}") from error
            event = _event("create", record)
            try:
                await self._records.commit(put(self._records.volumes, record), events=[event])
            except BaseException:
                await asyncio.to_thread(self._homes.delete, name)
                raise
            return record

    def get(self, name: str) -> VolumeRecord:
        record = self._records.volumes.get(name)
        if record is None:
            raise no_such_volume(name)
        return record

    def search(self, filters: Filters | None = None) -> list[VolumeRecord]:
        filters = filters or {}
        check_filters(filters, _LIST_FILTERS)
        dangling = flag(filters, "dangling") if filters.get("dangling") else None
        used = self._used_names()
        return [
            record
            for record in self._records.volumes.values()
            if matches(record, filters) and dangling in (None, record.name not in used)
        ]

    def users(self, name: str) -> list[str]:
        """Ids of the containers whose record names the volume."""
        return [c.id for c in self._records.containers.values() if names_volume(c, name)]

    async def mount(
        self,
        name: str,
        container_id: str,
        *,
        destination: str = "",
        rw: bool = True,
        propagation: str = "",
    ) -> Path:
        """Make the volume's tree ready for a container -> where it is. Idempotent per container."""
        async with self._locks.hold(name):
            record = self.get(name)
            await self._mounts.hold(record, container_id)
        await self._tell(
            record,
            "mount",
            container=container_id,
            destination=destination,
            **{"read/write": str(rw).lower()},
            propagation=propagation,
        )
        return Path(record.mountpoint)

    async def unmount(self, name: str, container_id: str) -> None:
        """The container needs it no longer. Idempotent, and right after a restart of the daemon."""
        async with self._locks.hold(name):
            self._mounts.forget(name, container_id)
            record = self._records.volumes.get(name)
            if record is None:
                return
            await self._mounts.release(record, but=container_id)
        await self._tell(record, "unmount", container=container_id)

    async def populate(self, name: str, rootfs: Path, destination: str) -> None:
        """Fill an empty volume with what a container's image has at `destination`.

        The volume's directory gets that directory's owner and mode even when that is empty. A
        destination that the image has not, or that is no directory, changes nothing.
        """
        async with self._locks.hold(name):
            record = self.get(name)
            try:
                async with self._mounts.shown(record) as target:
                    meter = unmetered
                    if self._room is not None and not needs_mount(record.options):
                        # `volumes` may be a disk of its own: it is that one which must not fill.
                        meter = Room(target, self._room.floor).meter(f"populating volume {name}")
                    await asyncio.to_thread(copy_up, target, rootfs, destination, meter)
            except OSError as error:
                failed = f"failed to populate volume: error copying {destination} to {name}"
                if is_full(error):
                    raise NoSpace(f"no space left on device: {failed}: {error}") from error
                raise InternalError(f"{failed}: {error}") from error

    async def remove(self, name: str, *, force: bool = False) -> None:
        """`Conflict` while a container names it; `force` forgives a volume that is not there."""
        async with self._locks.hold(name):
            record = self._records.volumes.get(name)
            if record is None:
                if force:
                    return
                raise no_such_volume(name)
            if users := sorted({*self.users(name), *self._mounts.holders(name)}):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await self._remove(record)

    async def prune(
        self, filters: Filters | None = None, *, all_by_default: bool = False
    ) -> Pruned:
        """Remove unused anonymous volumes; named ones too with the filter all=true, or for clients
        that know no other way (`all_by_default`, API < 1.42). Volumes with options are kept.
        """
        filters = filters or {}
        check_filters(filters, _PRUNE_FILTERS)
        everything = flag(filters, "all") if filters.get("all") else all_by_default
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        try:
            names: list[str] = []
            reclaimed = 0
            for record in self._records.volumes.values():
                if record.options or not (everything or ANONYMOUS_LABEL in record.labels):
                    continue
                if not matches(record, filters):
                    continue
                size = (await asyncio.to_thread(usage_of, Path(record.mountpoint))).bytes
                with contextlib.suppress(Conflict, NotFound):
                    await self.remove(record.name)
                    names.append(record.name)
                    reclaimed += size
            event = Event(
                type="volume", action="prune", actor_id="", attributes={"reclaimed": str(reclaimed)}
            )
            await self._records.commit(events=[event])
            return Pruned(names, reclaimed)
        finally:
            self._pruning = False

    async def usage(self) -> list[VolumeUsage]:
        """For `system df`: volumes with options are somebody else's disk space and left out."""
        found = []
        for record in self._records.volumes.values():
            if not record.options:
                used = await asyncio.to_thread(usage_of, Path(record.mountpoint))
                found.append(VolumeUsage(record, used.bytes, len(self.users(record.name))))
        return found

    async def recover(self) -> None:
        """At start: what a killed daemon left of volumes half made or half removed goes."""
        for leftover in await self.leftovers():
            if leftover.reason:
                _log.warning("volumes: %s; it is left as it is", leftover)
            else:
                await self.discard(leftover.name)

    async def leftovers(self) -> list[Leftover]:
        """Directories that are no volume's, and that nobody is making or removing."""
        names = await asyncio.to_thread(self._homes.names)
        unknown = [
            name
            for name in names
            if (volume := volume_of(name)) not in self._locks
            and (name != volume or volume not in self._records.volumes)
        ]
        return await asyncio.to_thread(self._homes.judged, unknown)

    async def discard(self, leftover: str) -> None:
        """Remove a directory that `leftovers` gives no reason to keep."""
        async with self._locks.hold(volume_of(leftover)):
            if leftover not in self._records.volumes:
                await asyncio.to_thread(self._homes.discard, leftover)

    async def missing(self) -> list[str]:
        """Volumes whose directory is not there."""
        paths = {r.name: r.mountpoint for r in self._records.volumes.values()}
        gone = await asyncio.to_thread(
            lambda: [name for name, path in paths.items() if not os.path.lexists(path)]
        )
        return [name for name in gone if name in self._records.volumes]

    # -- inside ---------------------------------------------------------------------------------

    async def _remove(self, record: VolumeRecord) -> None:
        name = record.name
        await self._mounts.end(record)
        # The record first: a directory without one is rubbish that `recover` knows.
        event = _event("destroy", record)
        await self._records.commit(delete(self._records.volumes, name), events=[event])
        if not record.anonymous:
            # For good: no power cut may bring the volume back without its files.
            await self._records.flush()
        try:
            await asyncio.to_thread(self._homes.delete, name)
        except OSError as error:
            _log.warning("volumes: the remains of %s are not removed: %s", name, error)

    def _used_names(self) -> set[str]:
        used = self._mounts.held()
        for container in self._records.containers.values():
            used.update(mount.name for mount in container.mounts if mount.type == "volume")
        return used

    async def _tell(self, record: VolumeRecord, action: str, **attributes: str) -> None:
        await self._records.commit(events=[_event(action, record, **attributes)])


def _event(action: str, record: VolumeRecord, **attributes: str) -> Event:
    given = {"driver": record.driver, **attributes}
    return Event(type="volume", action=action, actor_id=record.name, attributes=given)
