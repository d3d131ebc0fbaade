"""What a volume's options mount at its directory, for as long as a container that runs needs it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from naru.engine.volume_options import needs_mount, option_mount, without_secrets
from naru.kernel import mounts
from naru.spec.containers import ContainerRecord
from naru.spec.errors import InternalError
from naru.spec.volumes import VolumeRecord
from naru.store.records import Records


class VolumeMounts:
    """Called with the volume's lock held. A volume without such options only has holders."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._holders: dict[str, set[str]] = {}  # volume -> containers for which it is mounted

    def held(self) -> set[str]:
        """The volumes that some container holds."""
        return set(self._holders)

    def holders(self, name: str) -> set[str]:
        return self._holders.get(name, set())

    async def hold(self, record: VolumeRecord, container_id: str) -> None:
        """Idempotent per container."""
        if needs_mount(record.options):
            await asyncio.to_thread(_mount, record)
        self._holders.setdefault(record.name, set()).add(container_id)

    def forget(self, name: str, container_id: str) -> None:
        holders = self.holders(name)
        holders.discard(container_id)
        if not holders:
            self._holders.pop(name, None)

    async def release(self, record: VolumeRecord, *, but: str = "") -> None:
        """Unmount what nobody holds, and none that runs has, but for that container.

        Also right after a restart of the daemon, when nobody is known to hold anything.
        """
        if needs_mount(record.options) and not self.holders(record.name):
            running = (c for c in self._records.containers.values() if c.running and c.id != but)
            if not any(names_volume(container, record.name) for container in running):
                await asyncio.to_thread(_unmount, Path(record.mountpoint))

    @asynccontextmanager
    async def shown(self, record: VolumeRecord) -> AsyncIterator[Path]:
        """The volume's tree until the end of the block."""
        if needs_mount(record.options):
            await asyncio.to_thread(_mount, record)
        try:
            yield Path(record.mountpoint)
        finally:
            await self.release(record)

    async def end(self, record: VolumeRecord) -> None:
        """Whoever holds it: `InternalError` where that cannot be done."""
        if needs_mount(record.options):
            target = Path(record.mountpoint)
            await asyncio.to_thread(_unmount, target)
            if mounts.is_mounted(target):
                raise InternalError(f"remove {record.name}: {target} is still mounted")


def names_volume(container: ContainerRecord, volume: str) -> bool:
    return any(mount.type == "volume" and mount.name == volume for mount in container.mounts)


def _mount(record: VolumeRecord) -> None:
    target = Path(record.mountpoint)
    if mounts.is_mounted(target):
        return
    try:
        mounts.mount(option_mount(record.options, target, _resolve))
    except OSError as error:
        text = without_secrets(str(error), record.options)
        raise InternalError(f"failed to mount local volume: {text}") from None


def _unmount(target: Path) -> None:
    """Idempotent; what is busy is detached."""
    while mounts.is_mounted(target):
        try:
            mounts.unmount(target, detach=False)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            mounts.unmount(target)


def _resolve(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None)[0][4][0])
    except OSError as error:
        raise InternalError(
            f"error resolving passed in network volume address: {host}: {error}"
        ) from error
