"""The records' SQLite file: its schema and migrations, and the rescue of a damaged one."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from naru.spec.errors import InternalError

_log = logging.getLogger(__name__)

# Each entry takes the file from the version of its index to the next. Entries are never changed.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE records ("
        " seq INTEGER PRIMARY KEY AUTOINCREMENT, tab TEXT NOT NULL, key TEXT NOT NULL,"
        " body BLOB NOT NULL, UNIQUE (tab, key))",
        "CREATE TABLE events ("
        " seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX events_by_time ON events (time)",
    ),
)
VERSION = len(_MIGRATIONS)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        # WAL with NORMAL: a commit costs no fsync, survives kill -9, and a power cut takes at
        # most the last commits, never the file's consistency.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # Mostly the `Checkpointer` has been there before; this keeps the log bounded (16 MiB)
        # when commits come too fast for it ever to reach the end.
        database.execute("PRAGMA wal_autocheckpoint = 4000")
    except BaseException:
        database.close()
        raise
    return database


def open_file(path: Path) -> sqlite3.Connection:
    """The file at `path`, made, migrated or salvaged as it needs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = not path.exists()
        try:
            database = _checked(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or made:
                raise
            _log.error("records: %s is damaged (%s); rescuing what can be read", path, error)
            _salvage(path)
            database = _checked(path)
        try:
            _migrate(path, database)
        except BaseException:
            database.close()
            raise
        os.chmod(path, 0o600)
    except (sqlite3.Error, OSError) as error:
        raise InternalError(f"cannot open the records {path}: {error}") from error
    return database


def sync_log(path: Path) -> None:
    """Bring the log's commits to the disk. What left the log is in the file, synced by SQLite."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


class Checkpointer:
    """Moves what is committed from the log into the file, in a thread of its own.

    SQLite would do so in every so many-th commit, which then waits for the disk.
    """

    _EVERY = 250  # transactions

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending = 0
        self._due = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def written(self) -> None:
        """One transaction more is in the log."""
        self._pending += 1
        if self._pending >= self._EVERY:
            self._pending = 0
            self._due.set()

    def close(self) -> None:
        self._ending = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._ending:
                return  # the last connection to close empties the log anyway
            try:
                with contextlib.closing(connect(self._path)) as database:
                    # PASSIVE: it waits for nobody, and nobody for it.
                    database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.Error as error:
                _log.warning("records: the log is not moved into %s: %s", self._path, error)


def _checked(path: Path) -> sqlite3.Connection:
    database = connect(path)
    try:
        verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))
    except BaseException:
        database.close()
        raise
    return database


def _migrate(path: Path, database: sqlite3.Connection) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise InternalError(
            f"{path} was written by a newer Naru (schema {version}, this one knows {VERSION});"
            " start that version, or use another data root"
        )
    for number in range(version, VERSION):
        database.execute("BEGIN IMMEDIATE")
        try:
            for statement in _MIGRATIONS[number]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number + 1}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def _salvage(path: Path) -> None:
    """Put a new file with every readable row in the place of a damaged one, and keep that."""
    rescued = path.with_name(path.name + ".rescued")
    _unlink_all(rescued)
    counts = {"records": 0, "events": 0}
    with contextlib.closing(connect(rescued)) as new:
        _migrate(rescued, new)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
            try:
                version = old.execute("PRAGMA user_version").fetchone()[0]
            except sqlite3.DatabaseError as error:
                _unlink_all(rescued)
                raise InternalError(
                    f"{path} is not readable ({error}). Its containers and images cannot be known"
                    " without it: put back a copy, or move it away to start with nothing"
                ) from error
            if version > VERSION:
                raise InternalError(f"{path} was written by a newer Naru, and is damaged")
            new.execute("BEGIN")
            for seq, tab, key, body in _readable(old, "records", "seq, tab, key, body"):
                new.execute(
                    "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?)", (seq, tab, key, body)
                )
                counts["records"] += 1
            for seq, when, body in _readable(old, "events", "seq, time, body"):
                new.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", (seq, when, body))
                counts["events"] += 1
            new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(kept.with_name(kept.name + suffix))
    rescued.rename(path)
    _log.error(
        "records: rescued %d records and %d events; the damaged file is kept as %s",
        counts["records"],
        counts["events"],
        kept,
    )


def _readable(
    database: sqlite3.Connection, table: str, columns: str
) -> Iterator[tuple[object, ...]]:
    """Rows from both ends of a table, up to the damage from either side."""
    for direction in ("ASC", "DESC"):
        try:
            yield from database.execute(
                f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY seq {direction}"
            )
            return
        except sqlite3.DatabaseError:
            continue


def _unlink_all(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
