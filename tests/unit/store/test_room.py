"""The free-space floor, and rounds of slow work that several share."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from naru.spec.disk import DEFAULT_FREE_SPACE, FreeSpace
from naru.spec.errors import NoSpace
from naru.store.blobs import BlobStore
from naru.store.room import Room, is_full
from naru.store.rounds import Rounds

ALL = FreeSpace(percent=99.9999)


def test_the_lesser_counts() -> None:
    assert DEFAULT_FREE_SPACE.of(10 << 30) == (10 << 30) // 100
    assert DEFAULT_FREE_SPACE.of(1 << 40) == 256 << 20
    assert FreeSpace().of(1 << 40) == 0
    assert FreeSpace(size=5).of(1 << 40) == 5


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    room = Room(tmp_path, FreeSpace(size=1))
    room.check("pull")
    with pytest.raises(NoSpace, match=r"no space left on device: pull: .* pull needs"):
        room.check("pull", 1 << 60)
    room.floor = FreeSpace(size=0)
    room.check("pull", 1 << 60)  # no floor, no check


def test_blobs_stop_at_the_floor(tmp_path: Path) -> None:
    room = Room(tmp_path, FreeSpace(size=1))
    blobs = BlobStore(tmp_path / "blobs", room=room)
    blobs.put(b"fits")
    room.floor = ALL
    with pytest.raises(NoSpace), blobs.ingest() as ingest:
        ingest.write(b"does not")
    download = blobs.download("sha256:" + "0" * 64, 100)
    with pytest.raises(NoSpace) as error:
        download.write(b"does not")
    download.fail(error.value)
    download.close()
    assert list((tmp_path / "blobs/partial").iterdir()) == []


def test_what_says_full() -> None:
    assert is_full(OSError(errno.ENOSPC, "full"))
    assert is_full(OSError(errno.EDQUOT, "quota"))
    assert is_full(NoSpace("floor"))
    assert not is_full(OSError(errno.EIO, "broken"))
    assert not is_full(ValueError())


async def test_rounds_begin_after_the_call() -> None:
    begun: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def work() -> None:
        end = asyncio.Event()
        begun.put_nowait(end)
        await end.wait()

    rounds = Rounds(work)
    first = [asyncio.create_task(rounds.round()) for _ in range(3)]
    end = await begun.get()
    later = [asyncio.create_task(rounds.round()) for _ in range(3)]
    await asyncio.sleep(0)
    end.set()
    await asyncio.gather(*first)
    assert not any(task.done() for task in later)
    (await begun.get()).set()
    await asyncio.gather(*later)
    assert begun.empty()


async def test_a_round_fails_for_all_of_it_and_not_for_the_next() -> None:
    failures = [OSError(errno.EIO, "broken"), None]

    async def work() -> None:
        if (error := failures.pop(0)) is not None:
            raise error

    rounds = Rounds(work)
    together = await asyncio.gather(rounds.round(), rounds.round(), return_exceptions=True)
    assert [type(each) for each in together] == [OSError, OSError]
    await rounds.round()
