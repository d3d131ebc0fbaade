"""Layers that are here already when they come again: known by the digest that they are named."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from naru.engine.images.layer_intake import KeptLayer, KnownLayer, LayerIntake
from naru.engine.images.library import Library
from naru.spec.errors import InvalidParameter
from naru.spec.layers import LayerRecord
from naru.store.blobs import BlobStore
from naru.store.driver import StorageDriver
from naru.store.layers import LayerStore
from naru.store.records import Records, delete, put


def digest(tar: bytes) -> str:
    return "sha256:" + hashlib.sha256(tar).hexdigest()


class Keeper:
    """A storage driver that keeps the tars of some layers; `asked` says of which it was asked."""

    name = "keeper"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tars = {"one": 1, "two": 2}

    def tar_size(self, layer: str) -> int | None:
        self.asked.append(layer)
        return self.tars.get(layer)

    def tar_pieces(self, layer: str) -> None:
        raise AssertionError("nobody reads it here")

    def remove(self, layer: str) -> None: ...


class Setup:
    def __init__(self, root: Path) -> None:
        self.records = Records.open(root / "records.db")
        self.driver = Keeper()
        self.layers = LayerStore(
            root=root, records=self.records, driver=cast(StorageDriver, self.driver),
            run_root=root / "run",
        )  # fmt: skip
        blobs = BlobStore(root / "blobs", fsync=False)
        self.library = Library(records=self.records, blobs=blobs, layers=self.layers)

    async def record(self, *names: str) -> None:
        await self.records.commit(*(put(self.records.layers, LayerRecord(
            chain_id=digest(name.encode()), diff_id=digest(name.encode()), parent=None,
            driver="keeper", storage_id=name, size=1, created=0,
        )) for name in names))  # fmt: skip


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    await made.record("one", "two", "lost")
    yield made
    await made.layers.close()
    await made.records.close()


async def test_the_driver_is_asked_of_what_is_named_alone(setup: Setup) -> None:
    with setup.library.blobs.lease() as lease:
        async with LayerIntake(setup.library, lease) as intake:
            assert setup.driver.asked == []
            assert intake.take(io.BytesIO(b"two"), digest(b"two")) == KnownLayer(digest(b"two"))
            assert intake.take(io.BytesIO(b"new"), digest(b"new")).diff_id == digest(b"new")
            assert isinstance(intake.take(io.BytesIO(b"unnamed")), KeptLayer)
    assert setup.driver.asked == ["two"]


async def test_a_layer_without_its_tar_is_taken_in_again(setup: Setup) -> None:
    with setup.library.blobs.lease() as lease:
        async with LayerIntake(setup.library, lease) as intake:
            assert isinstance(intake.take(io.BytesIO(b"lost"), digest(b"lost")), KeptLayer)


async def test_what_is_named_wrongly_is_refused(setup: Setup) -> None:
    with setup.library.blobs.lease() as lease:
        async with LayerIntake(setup.library, lease) as intake:
            with pytest.raises(InvalidParameter):
                intake.take(io.BytesIO(b"other"), digest(b"two"))


async def test_what_may_be_known_stays_until_the_end(setup: Setup) -> None:
    with setup.library.blobs.lease() as lease:
        async with LayerIntake(setup.library, lease):
            assert await setup.layers.release_unused() == []
            assert len(setup.records.layers) == 3
    await setup.layers.release_unused()
    assert len(setup.records.layers) == 0


async def test_a_layer_that_has_gone_is_not_known(setup: Setup) -> None:
    with setup.library.blobs.lease() as lease:
        async with LayerIntake(setup.library, lease) as intake:
            await setup.records.commit(delete(setup.records.layers, digest(b"two")))
            assert isinstance(intake.take(io.BytesIO(b"two"), digest(b"two")), KeptLayer)
