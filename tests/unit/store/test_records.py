"""The records: a commit is all or nothing, on disk before in memory; a damaged file is rescued."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from naru.spec.errors import InternalError
from naru.spec.events import Event
from naru.spec.volumes import VolumeRecord
from naru.store import recordfile
from naru.store.records import Records, delete, put
from naru.store.reserve import SIZE


def volume(name: str, created: int = 1) -> VolumeRecord:
    return VolumeRecord(name=name, driver="local", mountpoint=f"/v/{name}", created=created)


def happened(actor: str, time: int = 0) -> Event:
    return Event(type="volume", action="create", actor_id=actor, time=time)


async def test_what_is_committed_is_there_after_reopening(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    await records.commit(put(records.volumes, volume("a")), put(records.volumes, volume("b")))
    await records.commit(put(records.volumes, volume("a", created=2)), events=[happened("a")])
    await records.commit(delete(records.volumes, "b"))
    await records.close()
    again = Records.open(tmp_path / "records.db")
    assert again.volumes.values() == [volume("a", created=2)]
    assert [event.actor_id for event in again.events()] == ["a"]
    assert again.last_seq == 1
    await again.close()


async def test_records_keep_the_order_of_their_creation(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    for name in ("z", "a", "m"):
        await records.commit(put(records.volumes, volume(name)))
    await records.commit(put(records.volumes, volume("z", created=9)))
    assert [v.name for v in records.volumes.values()] == ["z", "a", "m"]
    await records.close()
    again = Records.open(tmp_path / "records.db")
    assert [v.name for v in again.volumes.values()] == ["z", "a", "m"]
    assert len(again.volumes) == 3
    assert "z" in again.volumes
    await again.close()


async def test_events_get_numbers_and_times_in_order(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    seen: list[Event] = []
    end = records.subscribe(seen.append)
    first = await records.commit(events=[happened("a"), happened("b", time=77)])
    assert [event.seq for event in first] == [1, 2]
    assert first[0].time > 0
    assert first[1].time == 77
    assert seen == first
    end()
    await records.commit(events=[happened("c")])
    assert seen == first
    assert [event.seq for event in records.events(after=1)] == [2, 3]
    assert [event.actor_id for event in records.events(since=70, until=80)] == ["b"]
    assert [event.actor_id for event in records.events(limit=1)] == ["a"]
    await records.close()


async def test_many_commits_at_once_all_arrive(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    await asyncio.gather(
        *(records.commit(put(records.volumes, volume(f"v{n}")), events=[happened(f"v{n}")])
          for n in range(300))
    )  # fmt: skip
    assert len(records.volumes) == 300
    assert [event.seq for event in records.events()] == list(range(1, 301))
    await records.close()


async def test_a_failed_commit_changes_neither_memory_nor_file(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    await records.commit(put(records.volumes, volume("a")))
    # As a full disk would: SQLite may not grow the file any more.
    pages = records._writer._database.execute("PRAGMA page_count").fetchone()[0]
    records._writer._database.execute(f"PRAGMA max_page_count = {pages}")
    big = VolumeRecord(name="big", driver="local", mountpoint="x" * 1_000_000, created=1)
    with pytest.raises(InternalError, match="full"):
        await records.commit(put(records.volumes, big), delete(records.volumes, "a"))
    assert [v.name for v in records.volumes.values()] == ["a"]
    records._writer._database.execute("PRAGMA max_page_count = 1000000")
    await records.commit(put(records.volumes, volume("b")))  # and it goes on when there is space
    await records.close()
    again = Records.open(tmp_path / "records.db")
    assert [v.name for v in again.volumes.values()] == ["a", "b"]
    await again.close()


async def test_on_a_full_disk_the_reserve_is_used_up_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records.open(tmp_path / "records.db")
    reserve = tmp_path / "records.db-reserve"
    transaction = records._writer._transaction

    def full_with_reserve(batch: Any) -> Any:
        if reserve.exists():
            raise sqlite3.OperationalError("database or disk is full")
        return transaction(batch)

    assert reserve.stat().st_blocks * 512 >= SIZE
    monkeypatch.setattr(records._writer, "_transaction", full_with_reserve)
    monkeypatch.setattr(records._writer._reserve, "fill", lambda: None)
    await records.commit(put(records.volumes, volume("a")))
    assert not reserve.exists()
    monkeypatch.undo()
    await records.commit(put(records.volumes, volume("b")))
    assert reserve.exists()
    await records.close()


async def test_a_cancelled_caller_does_not_undo_its_commit(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    task = asyncio.create_task(records.commit(put(records.volumes, volume("a"))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await records.commit(put(records.volumes, volume("b")))
    assert [v.name for v in records.volumes.values()] == ["a", "b"]
    await records.close()


async def test_a_subscriber_that_fails_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records.open(tmp_path / "records.db")
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError("boom")

    records.subscribe(broken)
    records.subscribe(seen.append)
    with caplog.at_level(logging.CRITICAL):
        await records.commit(events=[happened("a")])
    assert len(seen) == 1
    await records.close()


async def test_a_closed_file_refuses(tmp_path: Path) -> None:
    records = Records.open(tmp_path / "records.db")
    await records.close()
    await records.close()
    with pytest.raises(InternalError, match="closed"):
        await records.commit(put(records.volumes, volume("a")))


def test_kill_minus_nine_after_a_commit_loses_nothing(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal
from pathlib import Path
from typing import Any
from naru.spec.volumes import VolumeRecord
from naru.store.records import Records, put
async def main():
    records = Records.open(Path({str(tmp_path / "records.db")!r}))
    for n in range(20):
        await records.commit(put(records.volumes, VolumeRecord(
            name=str(n), driver="local", mountpoint="", created=n)))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == -9

    async def read() -> int:
        records = Records.open(tmp_path / "records.db")
        count = len(records.volumes)
        await records.close()
        return count

    assert asyncio.run(read()) == 20


async def _filled(path: Path, count: int) -> None:
    records = Records.open(path)
    await asyncio.gather(
        *(records.commit(put(records.volumes, volume(f"v{n:04}")), events=[happened("x" * 200)])
          for n in range(count))
    )  # fmt: skip
    await records.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


async def test_a_damaged_file_is_rescued_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "records.db"
    await _filled(path, 400)
    data = bytearray(path.read_bytes())
    middle = (len(data) // 4096 // 2) * 4096
    data[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with caplog.at_level(logging.CRITICAL):
        records = Records.open(path)
    assert len(records.volumes) > 100
    await records.commit(put(records.volumes, volume("new")))
    await records.close()
    assert len(list(tmp_path.glob("records.db.damaged-*"))) == 1


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"this was never a database " * 1000)
    with pytest.raises(InternalError, match=r"records\.db is not readable"):
        Records.open(path)
    assert path.read_bytes().startswith(b"this was never")


async def test_a_newer_schema_is_refused_by_its_version(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    await _filled(path, 1)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {recordfile.VERSION + 1}")
    database.close()
    with pytest.raises(InternalError, match="newer Naru"):
        Records.open(path)


async def test_a_record_that_cannot_be_read_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    await _filled(path, 1)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET body = '{}'")
    database.close()
    with pytest.raises(InternalError, match="volumes/v0000"):
        Records.open(path)
