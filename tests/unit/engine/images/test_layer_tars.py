"""A layer's tar that is being read while the storage driver is exchanged below it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from naru.engine.images.layer_intake import keep
from naru.engine.images.layer_tars import LayerTars, NoTar
from naru.engine.images.library import Library
from naru.spec.errors import InternalError
from naru.spec.layers import LayerRecord
from naru.store.blobs import BlobStore
from naru.store.driver import StorageDriver
from naru.store.records import Records, put
from naru.store.switchable_layers import SwitchableLayers

PIECES = [bytes([number]) * 100 for number in range(7)]
TAR = b"".join(PIECES)
DIGEST = "sha256:" + hashlib.sha256(TAR).hexdigest()


class Keeper:
    """A storage driver that can write the tar, `step` bytes at a time."""

    def __init__(self, name: str, step: int = 100, tar: bytes = TAR) -> None:
        self.name = name
        self.gone = False
        self._step = step
        self._tar = tar

    def tar_size(self, layer: str) -> int | None:
        return len(self._tar)

    def tar_pieces(self, layer: str) -> Iterator[bytes]:
        for at in range(0, len(self._tar), self._step):
            assert not self.gone
            yield self._tar[at : at + self._step]


class NoKeeper:
    def __init__(self, name: str) -> None:
        self.name = name


class Setup:
    def __init__(self, root: Path) -> None:
        self.records = Records.open(root / "records.db")
        self.first = Keeper("first")
        self.layers = SwitchableLayers(
            root=root, records=self.records, driver=cast(StorageDriver, self.first),
            run_root=root / "run",
        )  # fmt: skip
        blobs = BlobStore(root / "blobs", fsync=False)
        self.library = Library(records=self.records, blobs=blobs, layers=self.layers)
        self.tars = LayerTars(self.library)

    async def record(self, driver: str) -> None:
        await self.records.commit(put(self.records.layers, LayerRecord(
            chain_id=DIGEST, diff_id=DIGEST, parent=None, driver=driver, storage_id="s", size=1,
            created=0,
        )))  # fmt: skip

    async def switch(self, driver: Keeper | NoKeeper) -> None:
        """As a migration does it."""
        async with self.layers.still(seconds=10):
            await self.record(driver.name)
            self.layers.switch(cast(StorageDriver, driver))
        self.first.gone = True


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    await made.record("first")
    yield made
    await made.layers.close()
    await made.records.close()


async def test_another_driver_goes_on_where_the_first_was(setup: Setup) -> None:
    pieces = setup.tars.pieces(DIGEST)
    read = [next(pieces), next(pieces)]
    await setup.switch(Keeper("second", step=64))
    read += await asyncio.to_thread(list, pieces)
    assert b"".join(read) == TAR


async def test_a_blob_goes_on_where_the_driver_was(setup: Setup) -> None:
    pieces = setup.tars.pieces(DIGEST)
    read = [next(pieces), next(pieces)]
    with setup.library.blobs.lease() as lease:
        kept = keep(setup.library.blobs, [TAR], lease).record(setup.library.blobs)
    await setup.records.commit(put(setup.records.blobs, kept))
    await setup.switch(NoKeeper("second"))
    assert b"".join(read + list(pieces)) == TAR


async def test_what_is_nowhere_any_more_is_an_error(setup: Setup) -> None:
    pieces = setup.tars.pieces(DIGEST)
    next(pieces)
    await setup.switch(NoKeeper("second"))
    with pytest.raises(NoTar, match="was not kept"):
        list(pieces)


async def test_another_driver_is_not_believed(setup: Setup) -> None:
    pieces = setup.tars.pieces(DIGEST)
    next(pieces)
    await setup.switch(Keeper("second", tar=TAR[:-1] + b"x"))
    with pytest.raises(InternalError, match="is damaged"):
        list(pieces)


async def test_the_switch_waits_for_nobody_who_reads_slowly(setup: Setup) -> None:
    """Half read and not going on: the driver is not held meanwhile."""
    pieces = [setup.tars.from_driver(DIGEST) for _ in range(3)]
    for each in pieces:
        next(each)
    await setup.switch(Keeper("second"))
    assert all(b"".join(each) == TAR[100:] for each in pieces)


async def test_who_is_inside_does_not_wait_for_the_door(setup: Setup) -> None:
    async with setup.layers.still(seconds=1):
        tars = LayerTars(setup.library, inside=True)
        assert b"".join(tars.pieces(DIGEST)) == TAR
