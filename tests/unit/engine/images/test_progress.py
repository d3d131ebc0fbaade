"""Progress messages and their watchers; filters of listings."""

from __future__ import annotations

import pytest

from naru.engine.images import progress
from naru.engine.images.progress import Progress
from naru.spec.errors import NotFound


async def test_every_watcher_gets_every_state_and_the_last_figures() -> None:
    work = Progress()
    early = work.watch()
    work.emit(progress.status("one"))
    assert await anext(early) == {"status": "one"}
    for current in range(0, 1001, 10):
        work._last.clear()  # as if each came a tenth of a second after the other
        work.figures("Downloading", "x", current, 1000)
    work.emit(progress.step("Download complete", "x"))
    work.finish()
    seen = [message async for message in early]
    assert [message["status"] for message in seen] == ["Downloading", "Download complete"]
    assert seen[0]["progressDetail"] == {"current": 1000, "total": 1000}
    late = [message["status"] async for message in work.watch()]
    assert late == ["one", "Download complete"]


async def test_the_error_of_the_work_reaches_its_watchers() -> None:
    work = Progress()
    work.emit(progress.status("one"))
    work.finish(NotFound("gone"))
    watcher = work.watch()
    assert await anext(watcher) == {"status": "one"}
    with pytest.raises(NotFound):
        await anext(watcher)


def test_bars() -> None:
    bar = progress.figures("Downloading", "x", 1500, 3000)["progress"]
    assert bar == "[" + "=" * 25 + ">" + " " * 25 + "]    1.5kB/3kB"
