"""The layer store on real drivers: what kill -9 leaves is repaired, and containers' own layers."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.kernel.mounts import is_mounted, mounts_below, unmount
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig
from naru.spec.errors import NoSpace, NotFound, Unsupported
from naru.store.choice import choose
from naru.store.layers import LayerStore
from naru.store.records import Records, put
from naru.store.tarentry import Entry
from naru.store.tarstream import TarReader
from naru.store.tarwriter import TarWriter

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

C = "c" * 64


class Store:
    def __init__(self, root: Path, driver: str) -> None:
        self.root = root / "data"
        self.records = Records.open(root / "records.db")
        self.layers = LayerStore(
            root=self.root,
            records=self.records,
            driver=choose(driver, self.root),
            run_root=root / "run",
        )

    async def close(self) -> None:
        await self.layers.close()
        await self.records.close()


_DRIVERS = ["erofs", "fuse-overlayfs", "overlay", "overlay2", "vfs"]


@pytest.fixture(params=_DRIVERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    try:
        choose(request.param, tmp_path / "probe")
    except Unsupported as error:
        pytest.skip(str(error))
    made = Store(tmp_path, request.param)
    yield made
    await made.close()
    for target in mounts_below(tmp_path):
        unmount(target)


def archive(**files: bytes) -> tuple[str, io.BytesIO]:
    out = io.BytesIO()
    tar = TarWriter(out)
    for name, data in files.items():
        tar.add(Entry(name, size=len(data)), [data])
    tar.close()
    return "sha256:" + hashlib.sha256(out.getvalue()).hexdigest(), io.BytesIO(out.getvalue())


async def image(store: Store) -> str:
    record = await store.layers.register(None, *archive(hello=b"world"))
    return record.chain_id


async def test_a_container_s_life(store: Store) -> None:
    chain = await image(store)
    layers = store.layers
    await layers.create_writable(C, chain)
    path = await layers.mount(C)
    assert await layers.mount(C) == path == layers.target(C)
    assert (path / "hello").read_bytes() == b"world"
    assert (path / "etc/hosts").read_bytes() == b""
    assert os.readlink(path / "etc/mtab") == "/proc/mounts"
    assert await layers.changes(C) == []  # the mount points are nobody's change
    (path / "new").write_bytes(b"x")
    await layers.unmount(C)
    await layers.unmount(C)
    assert not is_mounted(path)
    assert [change.path for change in await layers.changes(C)] == ["/new"]
    out = io.BytesIO()
    await layers.diff(C, out)
    assert [entry.name for entry in TarReader(io.BytesIO(out.getvalue()))] == ["new"]
    await layers.mount(C)
    await layers.remove_writable(C)
    await layers.remove_writable(C)
    assert not path.exists()
    with pytest.raises(NotFound):
        await layers.mount(C)


async def test_what_an_image_has_is_not_replaced_by_mount_points(store: Store) -> None:
    record = await store.layers.register(
        None, *archive(**{"etc/hosts": b"mine", "dev": b"a file", "proc/keep": b""})
    )
    await store.layers.create_writable(C, record.chain_id)
    path = await store.layers.mount(C)
    assert (path / "etc/hosts").read_bytes() == b"mine"
    assert (path / "dev").read_bytes() == b"a file"
    assert os.listdir(path / "proc") == ["keep"]


async def test_a_container_without_an_image(store: Store) -> None:
    await store.layers.create_writable(C, "")
    path = await store.layers.mount(C)
    assert (path / "proc").is_dir()


async def test_an_init_that_fails_leaves_no_mount(store: Store) -> None:
    chain = await image(store)
    await store.layers.create_writable(C, chain)

    def fail(root: Path) -> None:
        raise RuntimeError(str(root))

    with pytest.raises(RuntimeError, match="merged"):
        await store.layers.mount(C, init=fail)
    assert not is_mounted(store.layers.target(C))


async def test_many_containers_at_once(store: Store) -> None:
    chain = await image(store)
    names = [f"{number:064x}" for number in range(20)]

    async def live(name: str) -> None:
        await store.layers.create_writable(name, chain)
        path = await store.layers.mount(name)
        assert (path / "hello").exists()
        await store.layers.unmount(name)
        await store.layers.remove_writable(name)

    await asyncio.gather(*(live(name) for name in names))
    assert not set(names) & set(store.layers.driver.layers())


async def test_mount_points_go_again_where_no_container_has_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stay as long as one is on them, or is being made on them."""
    chain, driver, layers = await image(store), store.layers.driver, store.layers
    create, going_on, full = driver.create, asyncio.Event(), asyncio.Event()

    def made(layer: str, parent: str | None, *, writable: bool, size: int | None = None) -> None:
        if layer == C:
            raise OSError(errno.ENOSPC, "full")
        create(layer, parent, writable=writable, size=size)

    monkeypatch.setattr(driver, "create", made)

    def init_layers() -> list[str]:
        return [r.storage_id for r in store.records.layers.values() if r.chain_id != chain]

    with pytest.raises(NoSpace):
        await layers.create_writable(C, chain)
    [only] = driver.layers()
    assert (only, init_layers()) == (layers.storage_id(chain), [])
    assert await layers.orphans() == []

    async def record() -> None:
        going_on.set()
        await full.wait()

    other = asyncio.create_task(layers.create_writable("d" * 64, chain, record=record))
    await going_on.wait()
    with pytest.raises(NoSpace):
        await layers.create_writable(C, chain)
    assert len(init_layers()) == 1
    full.set()
    await other
    container = ContainerRecord(
        id="d" * 64, name="d", created=1, image_id="", chain_id=chain, driver=driver.name,
        config=ContainerConfig(), host_config=HostConfig(), path="x", args=[],
    )  # fmt: skip
    await store.records.commit(put(store.records.containers, container))
    with pytest.raises(NoSpace):
        await layers.create_writable(C, chain)
    [left] = init_layers()
    assert set(driver.layers()) == {only, left, "d" * 64}


async def test_a_view_shows_a_layer_read_only(store: Store) -> None:
    chain = await image(store)
    path = await store.layers.view(chain)
    assert (path / "hello").read_bytes() == b"world"
    with pytest.raises(OSError, match="Read-only"):
        (path / "hello").write_bytes(b"x")
    await store.layers.end_view(chain)
    assert not path.exists()


async def test_a_look_shows_what_a_container_has_changed(store: Store) -> None:
    record = await store.layers.register(None, *archive(hello=b"world", gone=b"", kept=b"same"))
    layers = store.layers
    await layers.create_writable(C, record.chain_id)
    path = await layers.mount(C)
    (path / "hello").write_bytes(b"changed")
    (path / "gone").unlink()
    (path / "etc" / "new").write_bytes(b"x")
    async with layers.look(C) as shown:
        assert shown == path  # the one that there is
    await layers.unmount(C)
    for _ in range(2):
        async with layers.look(C) as shown, layers.look(C) as other:
            assert len({shown, other, path}) == 3
            assert {each.name for each in shown.iterdir()} >= {"hello", "kept", "etc"}
            assert not (shown / "gone").exists()
            assert (shown / "hello").read_bytes() == b"changed"
            assert (other / "etc" / "new").read_bytes() == b"x"
            with pytest.raises(OSError, match="Read-only"):
                (shown / "hello").write_bytes(b"x")
            # A container that starts meanwhile has a mount of its own.
            assert await layers.mount(C) == path
            (path / "hello").write_bytes(b"changed")
            await layers.unmount(C)
        assert not shown.exists()
    await layers.remove_writable(C)
    with pytest.raises(NotFound):
        async with layers.look(C):
            pass


_KILLED = """
import asyncio, io, sys
from pathlib import Path
from naru.store.choice import choose
from naru.store.layers import LayerStore
from naru.store.records import Records, put
from naru.store.tarentry import Entry
from naru.store.tarwriter import TarWriter

class Slow(io.RawIOBase):
    '''An archive that never ends, and tells when a megabyte of it was read.'''
    def __init__(self):
        out = io.BytesIO()
        TarWriter(out).add(Entry("f", size=1000), [b"x" * 1000])
        self.piece, self.count = out.getvalue(), 0
    def read(self, size=-1):
        self.count += 1
        if self.count == 1000:
            print("reading", flush=True)
        return self.piece

async def main(root, driver):
    records = Records.open(root / "records.db")
    layers = LayerStore(root=root / "data", records=records, driver=choose(driver, root / "data"),
                        run_root=root / "run")
    await layers.create_writable("d" * 64, "")
    await layers.mount("d" * 64)
    await layers.register(None, "sha256:" + "0" * 64, Slow())

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def _be_killed(root: Path, driver: str) -> None:
    command = [sys.executable, "-c", _KILLED, str(root), driver]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"reading\n"
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("driver", ["overlay2", "overlay", "vfs"])
async def test_what_kill_minus_nine_leaves_is_removed_at_the_next_start(
    tmp_path: Path, driver: str
) -> None:
    await asyncio.to_thread(_be_killed, tmp_path, driver)
    store = Store(tmp_path, driver)
    try:
        left = set(store.layers.driver.layers())
        kept = {record.storage_id for record in store.records.layers.values()}
        removed = await store.layers.recover()
        assert "d" * 64 in removed
        assert set(removed) == left - kept
        assert set(store.layers.driver.layers()) == kept
        assert mounts_below(tmp_path) == []
    finally:
        await store.close()
        for target in mounts_below(tmp_path):
            unmount(target)
