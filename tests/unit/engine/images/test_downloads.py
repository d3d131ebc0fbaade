"""One download for all who want a blob: what one client may not, another may."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

from naru.engine.images.downloads import Downloads
from naru.engine.tasks import Tasks
from naru.registry.repository import Repository
from naru.spec.errors import NaruError, Unauthorized
from naru.spec.oci import Descriptor
from naru.store.blobs import BlobStore

DATA = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


class Source:
    """A repository that gives the bytes up to `most`, once `gate` is open."""

    def __init__(self, *, most: int = len(DATA), gate: asyncio.Event | None = None) -> None:
        self._most = most
        self._gate = gate
        self.asked: list[int] = []

    async def blob(
        self, digest: str, size: int, *, offset: int = 0, urls: Sequence[str] = ()
    ) -> AsyncIterator[bytes]:
        self.asked.append(offset)
        if offset < self._most:
            yield DATA[offset : self._most]
        if self._gate is not None:
            await self._gate.wait()
        if self._most < len(DATA):
            raise Unauthorized("authentication required")


async def outcome(downloads: Downloads, sources: list[Source], gate: asyncio.Event) -> list[object]:
    descriptor = Descriptor(digest=DIGEST, size=len(DATA))
    running = [downloads.fetch(cast(Repository, source), descriptor) for source in sources]
    assert len({id(each) for each in running}) == 1
    gate.set()
    found: list[object] = []
    for each in running:
        try:
            found.append(await each.finished())
        except NaruError as error:
            found.append(str(error))
    return found


async def test_failed_credentials_of_one_do_not_fail_the_other(tmp_path: Path) -> None:
    blobs, gate = BlobStore(tmp_path / "blobs", fsync=False), asyncio.Event()
    downloads = Downloads(blobs=blobs, tasks=Tasks())
    denied, allowed = Source(most=1000, gate=gate), Source()
    assert await outcome(downloads, [denied, allowed], gate) == [None, None]
    assert (denied.asked, allowed.asked) == ([0], [1000])
    assert blobs.verify(DIGEST)


async def test_what_nobody_may_fails_for_all(tmp_path: Path) -> None:
    blobs, gate = BlobStore(tmp_path / "blobs", fsync=False), asyncio.Event()
    downloads = Downloads(blobs=blobs, tasks=Tasks())
    sources = [Source(most=1000, gate=gate), Source(most=2000)]
    assert await outcome(downloads, sources, gate) == ["authentication required"] * 2
    assert not blobs.has(DIGEST)
    again = Source()
    assert await outcome(downloads, [again], gate) == [None]
    assert again.asked == [2000]  # taken up where the others left it
