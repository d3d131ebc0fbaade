"""The layer store with a driver of directories and no mounts: what is shared, verified, kept."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from naru.kernel.mounts import Mount
from naru.spec.errors import InternalError, InvalidParameter, NotFound
from naru.spec.images import ImageRecord
from naru.spec.layers import chain_id, chains
from naru.store.driver import Change, Usage
from naru.store.layers import LayerStore
from naru.store.records import Records, delete, put


class Directories:
    """A driver whose layers hold the bytes of their tar."""

    name = "directories"

    def __init__(self, root: Path) -> None:
        self.root = root / self.name
        self.root.mkdir(parents=True)
        self.applied = 0
        self.fail_with: Exception | None = None

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        if parent and not (self.root / parent).exists():
            raise FileNotFoundError(parent)
        (self.root / layer).mkdir()

    def remove(self, layer: str) -> None:
        if (self.root / layer).exists():
            for path in (self.root / layer).iterdir():
                path.unlink()
            (self.root / layer).rmdir()

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        return []

    def apply(self, layer: str, diff: BinaryIO) -> int:
        self.applied += 1
        if self.fail_with:
            raise self.fail_with
        data = b"".join(iter(lambda: diff.read(100), b""))
        (self.root / layer / "tar").write_bytes(data)
        return len(data)

    def diff(self, layer: str, out: BinaryIO) -> None:
        out.write((self.root / layer / "tar").read_bytes())

    def changes(self, layer: str) -> Iterator[Change]:
        return iter(())

    def usage(self, layer: str) -> Usage:
        return Usage(0, 0)

    def status(self) -> Sequence[tuple[str, str]]:
        return []

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {"MergedDir": str(target)}

    def layers(self) -> Iterator[str]:
        return (path.name for path in self.root.iterdir())


class Setup:
    def __init__(self, root: Path) -> None:
        self.records = Records.open(root / "records.db")
        self.driver = Directories(root)
        self.layers = LayerStore(
            root=root, records=self.records, driver=self.driver, run_root=root / "run"
        )

    def on_disk(self) -> int:
        return len(list(self.driver.layers()))


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    yield made
    await made.layers.close()
    await made.records.close()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def test_a_layer_is_recorded_with_its_chain(setup: Setup) -> None:
    one = await setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    two = await setup.layers.register(one.chain_id, digest(b"two"), io.BytesIO(b"two"))
    assert one.chain_id == digest(b"one")
    assert two.chain_id == chain_id(one.chain_id, digest(b"two"))
    assert [one.chain_id, two.chain_id] == list(chains([digest(b"one"), digest(b"two")]))
    assert two.size == 3
    assert setup.layers.get(two.chain_id) == two
    out = io.BytesIO()
    await setup.layers.diff_layer(two.chain_id, out)
    assert out.getvalue() == b"two"


async def test_a_layer_is_unpacked_once(setup: Setup) -> None:
    found = await asyncio.gather(
        *(setup.layers.register(None, digest(b"one"), io.BytesIO(b"one")) for _ in range(5))
    )
    assert len(set(found)) == 1
    await setup.layers.register(None, digest(b"one"), io.BytesIO(b"never read"))
    assert setup.driver.applied == 1


async def test_a_wrong_digest_leaves_nothing(setup: Setup) -> None:
    with pytest.raises(InvalidParameter, match="verification failed"):
        await setup.layers.register(None, digest(b"one"), io.BytesIO(b"other"))
    assert setup.on_disk() == 0
    assert len(setup.records.layers) == 0


async def test_another_caller_goes_on_where_the_first_one_failed(setup: Setup) -> None:
    bad = setup.layers.register(None, digest(b"one"), io.BytesIO(b"other"))
    good = setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    results = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(results[0], InvalidParameter)
    assert setup.layers.get(digest(b"one")) == results[1]


async def test_a_disk_error_leaves_nothing(setup: Setup) -> None:
    setup.driver.fail_with = OSError(28, "No space left on device")
    with pytest.raises(InternalError, match="No space left"):
        await setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    assert setup.on_disk() == 0


async def test_a_missing_parent_is_named(setup: Setup) -> None:
    with pytest.raises(NotFound, match="sha256:beef"):
        await setup.layers.register("sha256:beef", digest(b"one"), io.BytesIO(b"one"))


async def test_only_unneeded_layers_go(setup: Setup) -> None:
    one = await setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    two = await setup.layers.register(one.chain_id, digest(b"two"), io.BytesIO(b"two"))
    other = await setup.layers.register(None, digest(b"other"), io.BytesIO(b"other"))
    assert await setup.layers.release_unused() == []  # whoever registered still holds them
    image = ImageRecord(id="sha256:image", chain_id=two.chain_id)
    await setup.records.commit(put(setup.records.images, image))
    for layer in (one, two, other):
        setup.layers.release(layer.chain_id)
    assert await setup.layers.release_unused() == [other]
    assert setup.on_disk() == 2
    await setup.records.commit(delete(setup.records.images, image.id))
    assert {r.chain_id for r in await setup.layers.release_unused()} == {one.chain_id, two.chain_id}
    assert setup.on_disk() == 0


async def test_a_layer_that_its_last_holder_is_about_to_remove_is_not_unused(setup: Setup) -> None:
    one = await setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    assert await setup.layers.release_unused() == []  # left to who holds it
    setup.layers.release(one.chain_id)
    assert await setup.layers.unused() == []
    assert setup.on_disk() == 0


async def test_recovery_removes_what_no_record_knows(setup: Setup) -> None:
    kept = await setup.layers.register(None, digest(b"one"), io.BytesIO(b"one"))
    setup.driver.create("f" * 64, None, writable=True)
    assert await setup.layers.recover() == ["f" * 64]
    assert list(setup.driver.layers()) == [kept.storage_id]


async def test_closing_ends_a_registration_under_way(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    reading = threading.Event()

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            reading.set()
            return b"x" * 100

    task = asyncio.create_task(
        setup.layers.register(None, digest(b"never"), Endless())  # type: ignore[arg-type]
    )
    await asyncio.to_thread(reading.wait, 10)
    await setup.layers.close()
    with pytest.raises((InternalError, asyncio.CancelledError)):
        await task
    assert setup.on_disk() == 0
    await setup.records.close()
