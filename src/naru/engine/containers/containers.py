"""All containers: looked up by id, prefix or name, and changed by whole new records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from naru.engine.containers.live import Live, Lives
from naru.spec.containers import ContainerRecord
from naru.spec.errors import Conflict, InvalidParameter, no_such_container
from naru.spec.events import Event
from naru.store.records import Records, delete, put

_HEX = re.compile(r"[0-9a-f]{1,64}")


class Containers:
    def __init__(self, *, records: Records, lives: Lives) -> None:
        self._records = records
        self._lives = lives
        self._reserved: dict[str, str] = {}  # name -> id, for creates and renames under way
        self._leaving: set[str] = set()  # ids of removed ones that still have something on disk

    def find(self, ref: str) -> ContainerRecord:
        """The container of a full id, a name (with or without "/") or an unambiguous id prefix."""
        table = self._records.containers
        if (record := table.get(ref)) is not None:
            return record
        name = ref.removeprefix("/")
        if (record := self.named(name)) is not None:
            return record
        if _HEX.fullmatch(ref):
            matches = [record for record in table.values() if record.id.startswith(ref)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise InvalidParameter(f"Multiple IDs found with provided prefix: {ref}")
        raise no_such_container(ref)

    def get(self, container_id: str) -> ContainerRecord | None:
        """The present record of a full id; None once it is removed."""
        return self._records.containers.get(container_id)

    def named(self, name: str) -> ContainerRecord | None:
        for record in self._records.containers.values():
            if record.name == name:
                return record
        return None

    def all(self) -> list[ContainerRecord]:
        """Every container, oldest first."""
        return self._records.containers.values()

    def live(self, record: ContainerRecord) -> Live:
        return self._lives.of(record.id)

    async def save(self, record: ContainerRecord, *events: Event) -> ContainerRecord:
        """Make `record` the container's present; the events become true with it.

        In which storage driver its layer is, is not for the caller to say: that may have been
        switched since `record` was read.
        """
        present = self._records.containers.get(record.id)
        if present is not None and present.driver != record.driver:
            record = msgspec.structs.replace(record, driver=present.driver)
        await self._records.commit(put(self._records.containers, record), events=events)
        return record

    async def tell(self, *events: Event) -> None:
        """Record events that change no record."""
        await self._records.commit(events=events)

    async def delete(self, record: ContainerRecord, *events: Event) -> None:
        await self._records.commit(delete(self._records.containers, record.id), events=events)
        self._lives.forget(record.id)

    @contextmanager
    def reserved_name(self, name: str, container_id: str) -> Iterator[None]:
        """Hold a name until its record is saved; raise `Conflict` when somebody has it."""
        holder = self._reserved.get(name)
        if holder is None and (record := self.named(name)) is not None:
            holder = record.id
        if holder is not None and holder != container_id:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )
        self._reserved[name] = container_id
        try:
            yield
        finally:
            self._reserved.pop(name, None)

    @contextmanager
    def leaving(self, container_id: str) -> Iterator[None]:
        """What a container without a record has on disk is being removed: it is no leftover."""
        self._leaving.add(container_id)
        try:
            yield
        finally:
            self._leaving.discard(container_id)

    def unrecorded(self) -> set[str]:
        """Ids of containers that are being made or removed: on disk, and in no record."""
        return {*self._reserved.values(), *self._leaving}

    def name_is_free(self, name: str) -> bool:
        return name not in self._reserved and self.named(name) is None
