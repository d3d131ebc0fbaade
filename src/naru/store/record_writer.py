"""The thread that writes the records' file: whatever has queued up is one transaction.

A full disk spends the reserve; what fails then is told to each that was in the transaction.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from naru.spec.events import Event
from naru.store.recordfile import Checkpointer
from naru.store.reserve import Reserve

_log = logging.getLogger(__name__)

_EVENTS_KEPT = 100_000
_PRUNE_EVERY = 1000


class Row(NamedTuple):
    """A record as it is written, or deleted where there is no body."""

    table: str
    key: str
    body: bytes | None


Outcome = list[Event] | Exception
"""What came of a request: its events with their number and time, or why it is not written."""


class _Request(NamedTuple):
    rows: Sequence[Row]
    events: Sequence[Event]


class RecordWriter:
    def __init__(
        self,
        path: Path,
        database: sqlite3.Connection,
        deliver: Callable[[Sequence[Outcome]], None],
    ) -> None:
        """The connection is the thread's alone from now on, and closed at the end.

        `deliver` is called in the thread, with the outcomes in the order of the requests.
        """
        self._path = path
        self._database = database
        self._deliver = deliver
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._checkpointer = Checkpointer(path)
        self._reserve = Reserve(path.with_name(path.name + "-reserve"))
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def write(self, rows: Sequence[Row], events: Sequence[Event]) -> None:
        self._queue.put(_Request(rows, events))

    def close(self) -> None:
        """Blocks. Finish what is queued, then close the file."""
        self._queue.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._database.close()

    def _run(self) -> None:
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
                self._deliver([error] * len(batch))
            else:
                since_pruned += sum(len(events) for events in done)
                self._deliver(done)
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
        for table, key, body in request.rows:
            if body is None:
                database.execute("DELETE FROM records WHERE tab = ? AND key = ?", (table, key))
            else:
                database.execute(
                    "INSERT INTO records (tab, key, body) VALUES (?, ?, ?)"
                    " ON CONFLICT (tab, key) DO UPDATE SET body = excluded.body",
                    (table, key, body),
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
                "DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", (_EVENTS_KEPT,)
            )
        except sqlite3.Error as error:
            _log.warning("records: old events are not pruned: %s", error)
