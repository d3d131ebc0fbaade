"""The daemon's durable state: one SQLite file, immutable records in memory, events with them.

A commit (changes and their events) is one transaction, and memory changes only once it is on
disk: what a reader sees survives `kill -9`. Reads are plain dictionary lookups on the event loop.
All writes go through one thread, which takes whatever has queued up as one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
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
from naru.store.recordfile import Checkpointer, connect, open_file, sync_log
from naru.store.reserve import Reserve

R = TypeVar("R", bound=msgspec.Struct)

_log = logging.getLogger(__name__)

EVENTS_KEPT = 100_000
_PRUNE_EVERY = 1000


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


class _Request(NamedTuple):
    changes: Sequence[Change]
    bodies: list[bytes | None]
    events: list[Event]
    future: asyncio.Future[list[Event]]


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
        self._database = database
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers: dict[object, Callable[[Event], None]] = {}
        self._closed = False
        self._seq = 0
        self._load()
        self._checkpointer = Checkpointer(path)
        self._reserve = Reserve(path.with_name(path.name + "-reserve"))
        self._thread = threading.Thread(target=self._write, name="records", daemon=True)
        self._thread.start()

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
        bodies = [
            None if change.record is None else msgspec.json.encode(change.record)
            for change in changes
        ]
        future: asyncio.Future[list[Event]] = loop.create_future()
        self._queue.put(_Request(changes, bodies, list(events), future))
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
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpointer.close)
        self._database.close()

    def _tables(self) -> Iterator[Table[Any]]:
        yield from (value for value in vars(self).values() if isinstance(value, Table))

    def _load(self) -> None:
        for table in self._tables():
            decoder = msgspec.json.Decoder(table.shape)
            rows = self._database.execute(
                "SELECT key, body FROM records WHERE tab = ? ORDER BY seq", (table.name,)
            )
            for key, body in rows:
                try:
                    table._apply(key, decoder.decode(body))
                except msgspec.DecodeError as error:
                    raise InternalError(
                        f"{self._path}: the record {table.name}/{key} is not readable: {error}"
                    ) from error
        row = self._database.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
        ).fetchone()
        self._seq = row[0] if row else 0

    # The writer thread: alone with `_database` once `_load` is done.

    def _write(self) -> None:
        since_pruned = 0
        while (request := self._queue.get()) is not None:
            batch = [request]
            ending = False
            while not self._queue.empty():
                another = self._queue.get()
                if another is None:
                    ending = True
                    break
                batch.append(another)
            try:
                done = self._transaction_with_reserve(batch)
            except (sqlite3.Error, OverflowError) as error:
                _log.error("records: %s: %s", self._path, error)
                self._deliver(batch, error)
            else:
                since_pruned += sum(len(events) for events in done)
                self._deliver(batch, done)
                self._checkpointer.written()
                if since_pruned >= _PRUNE_EVERY:
                    since_pruned = 0
                    self._prune()
            if ending:
                return

    def _transaction_with_reserve(self, batch: Sequence[_Request]) -> list[list[Event]]:
        try:
            done = self._transaction(batch)
        except sqlite3.OperationalError:
            if not self._reserve.spend():
                raise
            _log.warning("records: no room for %s: using up the reserve", self._path)
            return self._transaction(batch)
        self._reserve.fill()
        return done

    def _transaction(self, batch: Sequence[_Request]) -> list[list[Event]]:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            done = [self._write_request(request) for request in batch]
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return done

    def _write_request(self, request: _Request) -> list[Event]:
        database = self._database
        for change, body in zip(request.changes, request.bodies, strict=True):
            if body is None:
                database.execute(
                    "DELETE FROM records WHERE tab = ? AND key = ?", (change.table.name, change.key)
                )
            else:
                database.execute(
                    "INSERT INTO records (tab, key, body) VALUES (?, ?, ?)"
                    " ON CONFLICT (tab, key) DO UPDATE SET body = excluded.body",
                    (change.table.name, change.key, body),
                )
        numbered = []
        for event in request.events:
            timed = msgspec.structs.replace(event, time=event.time or time.time_ns())
            cursor = database.execute(
                "INSERT INTO events (time, body) VALUES (?, ?)",
                (timed.time, msgspec.json.encode(timed)),
            )
            numbered.append(msgspec.structs.replace(timed, seq=cursor.lastrowid or 0))
        return numbered

    def _prune(self) -> None:
        try:
            self._database.execute(
                "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (EVENTS_KEPT,)
            )
        except sqlite3.Error as error:
            _log.warning("records: old events are not pruned: %s", error)

    def _deliver(
        self, batch: Sequence[_Request], outcome: Sequence[list[Event]] | Exception
    ) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._finish, batch, outcome)
        except RuntimeError:
            # The loop is closed: whoever waited is gone, and the file holds the truth.
            _log.debug("records: a commit outlived its event loop")

    # Back on the event loop.

    def _finish(
        self, batch: Sequence[_Request], outcome: Sequence[list[Event]] | Exception
    ) -> None:
        if isinstance(outcome, Exception):
            for request in batch:
                if not request.future.done():
                    error = InternalError(f"cannot write {self._path}: {outcome}")
                    error.__cause__ = outcome
                    request.future.set_exception(error)
            return
        for request, events in zip(batch, outcome, strict=True):
            for change in request.changes:
                change.table._apply(change.key, change.record)
            if not request.future.done():
                request.future.set_result(events)
            for event in events:
                self._publish(event)

    def _publish(self, event: Event) -> None:
        self._seq = event.seq
        for callback in list(self._subscribers.values()):
            try:
                callback(event)
            except Exception:
                _log.exception("records: a subscriber failed at event %d", event.seq)
