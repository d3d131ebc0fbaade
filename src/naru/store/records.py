"""The daemon's durable state: one SQLite file, immutable records in memory, events with them.

A commit (changes and their events) is one transaction, and memory changes only once it is on
disk: what a reader sees survives `kill -9`. Reads are plain dictionary lookups on the event loop.
All writes go through one thread (`record_writer`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from naru.spec.containers import ContainerRecord
from naru.spec.errors import InternalError
from naru.spec.events import Event
from naru.spec.images import BlobRecord, ImageRecord, TagRecord
from naru.spec.layers import LayerRecord
from naru.spec.networks import NetworkRecord
from naru.spec.storage import CarriedRecord, MigrationRecord
from naru.spec.volumes import VolumeRecord
from naru.store.record_writer import Outcome, RecordWriter, Row
from naru.store.recordfile import connect, open_file, sync_log

R = TypeVar("R", bound=msgspec.Struct)

_log = logging.getLogger(__name__)


class Table(Generic[R]):
    """Records of one kind by their key, in the order in which they were created."""

    def __init__(self, name: str, shape: type[R], key: str) -> None:
        self.name = name
        self.shape = shape
        self._key = key
        self._rows: dict[str, R] = {}

    def get(self, key: str) -> R | None:
        return self._rows.get(key)

    def values(self) -> list[R]:
        return list(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def key_of(self, record: R) -> str:
        return str(getattr(record, self._key))

    def _apply(self, key: str, record: R | None) -> None:
        if record is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = record


class Change(NamedTuple):
    """One record written, or deleted where `record` is None. Made by `put` and `delete`."""

    table: Table[Any]
    key: str
    record: Any | None


def put(table: Table[R], record: R) -> Change:
    return Change(table, table.key_of(record), record)


def delete(table: Table[R], key: str) -> Change:
    return Change(table, key, None)


class Records:
    """Open with `Records.open(path)`; commit from the event loop; `close()` at the end."""

    put = staticmethod(put)
    delete = staticmethod(delete)

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.containers = Table("containers", ContainerRecord, "id")
        self.networks = Table("networks", NetworkRecord, "id")
        self.volumes = Table("volumes", VolumeRecord, "name")
        self.images = Table("images", ImageRecord, "id")
        self.tags = Table("tags", TagRecord, "name")
        self.layers = Table("layers", LayerRecord, "chain_id")
        self.blobs = Table("blobs", BlobRecord, "id")
        self.migrations = Table("migrations", MigrationRecord, "id")
        self.carried = Table("carried", CarriedRecord, "name")
        self._path = path
        self._under_way: deque[tuple[Sequence[Change], asyncio.Future[list[Event]]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers: dict[object, Callable[[Event], None]] = {}
        self._closed = False
        self._seq = 0
        self._load(database)
        self._writer = RecordWriter(path, database, self._deliver)

    @classmethod
    def open(cls, path: Path) -> Records:
        """Read the file, or make it. A damaged one is salvaged into a new one (the old is kept).

        `InternalError` when it cannot be read at all or was written by a newer Naru.
        """
        database = open_file(path)
        try:
            return cls(path, database)
        except BaseException:
            database.close()
            raise

    async def commit(self, *changes: Change, events: Sequence[Event] = ()) -> list[Event]:
        """Write all of it or nothing -> the events with their number and time.

        `InternalError` (the disk is full, say) leaves memory and file as they were. A caller that
        is cancelled meanwhile cannot take it back.
        """
        if self._closed:
            raise InternalError("the records are closed")
        loop = asyncio.get_running_loop()
        self._loop = loop
        rows = [
            Row(table.name, key, None if record is None else msgspec.json.encode(record))
            for table, key, record in changes
        ]
        future: asyncio.Future[list[Event]] = loop.create_future()
        self._under_way.append((changes, future))
        self._writer.write(rows, list(events))
        return await future

    def events(
        self,
        since: int = 0,
        until: int | None = None,
        *,
        after: int = 0,
        limit: int = -1,
    ) -> Iterator[Event]:
        """Past events, oldest first: times in ns, `after` a sequence number.

        Reads the file through a connection of its own, so call it from any thread; on the event
        loop only for a small `limit`.
        """
        database = connect(self._path)
        try:
            rows = database.execute(
                "SELECT seq, body FROM events WHERE seq > ? AND time >= ? AND time <= ?"
                " ORDER BY seq LIMIT ?",
                (after, since, 2**63 - 1 if until is None else until, limit),
            )
            for seq, body in rows:
                event = msgspec.json.decode(body, type=Event)
                yield msgspec.structs.replace(event, seq=seq)
        finally:
            database.close()

    @property
    def last_seq(self) -> int:
        """The number of the last event that subscribers have been given (or could have been)."""
        return self._seq

    @property
    def listeners(self) -> int:
        """How many are subscribed to events now."""
        return len(self._subscribers)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` on the event loop for every event from now on -> the way to end it."""
        token = object()
        self._subscribers[token] = callback
        return lambda: self._subscribers.pop(token, None) and None

    async def flush(self) -> None:
        """Wait until all that was committed is on the disk: it survives a power cut, too."""
        await asyncio.to_thread(sync_log, self._path)

    async def close(self) -> None:
        """Finish what is queued, then close the file."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)

    def _tables(self) -> Iterator[Table[Any]]:
        yield from (value for value in vars(self).values() if isinstance(value, Table))

    def _load(self, database: sqlite3.Connection) -> None:
        for table in self._tables():
            decoder = msgspec.json.Decoder(table.shape)
            rows = database.execute(
                "SELECT key, body FROM records WHERE tab = ? ORDER BY seq", (table.name,)
            )
            for key, body in rows:
                try:
                    table._apply(key, decoder.decode(body))
                except msgspec.DecodeError as error:
                    raise InternalError(
                        f"{self._path}: the record {table.name}/{key} is not readable: {error}"
                    ) from error
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        self._seq = row[0] if row else 0

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        """In the writer's thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._finish, outcomes)
        except RuntimeError:
            # The loop is closed: whoever waited is gone, and the file holds the truth.
            _log.debug("records: a commit outlived its event loop")

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        """Those of the oldest commits under way."""
        for outcome in outcomes:
            changes, future = self._under_way.popleft()
            if isinstance(outcome, Exception):
                if not future.done():
                    error = InternalError(f"cannot write {self._path}: {outcome}")
                    error.__cause__ = outcome
                    future.set_exception(error)
                continue
            for change in changes:
                change.table._apply(change.key, change.record)
            if not future.done():
                future.set_result(outcome)
            for event in outcome:
                self._publish(event)

    def _publish(self, event: Event) -> None:
        self._seq = event.seq
        for callback in list(self._subscribers.values()):
            try:
                callback(event)
            except Exception:
                _log.exception("records: a subscriber failed at event %d", event.seq)
