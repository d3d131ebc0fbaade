"""What devicemapper takes on the disk: `system df` is `du`, and a removal gives the space back."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from naru.kernel import devicemapper as dm
from naru.store.drivers.devicemapper import DeviceMapper
from naru.store.drivers.dm_metadata import PoolMetadata
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.system.disk.place import du, root_tar, usage
from tests.vm.pools import A, B, C, devices, mount, run, start, tar, unmount, until

FEW_BLOCKS = 64 * 4096
"""Directories below mounts, records, and the nodes of the pool's metadata that the asking changes."""
LITTLE = 8 << 20
"""What a file system in a device writes beside files: its journal, its tables."""
OPTIONS = ("dm.basesize=256M", "dm.loopdatasize=4G", "dm.loopmetadatasize=64M")


def assert_df_is_du(daemon: Daemon) -> dict[str, int]:
    """-> bytes by kind."""
    os.sync()  # to the loop files, too, which take blocks when they are written
    found = usage(daemon)
    assert abs(found["Total"] - du(daemon.data_root)) <= FEW_BLOCKS
    kinds = {kind["Kind"]: kind["Size"] for kind in found["Kinds"]}
    assert sum(kinds.values()) == found["Total"]
    return kinds


def pull_big(daemon: Daemon, size: int) -> None:
    registry = Registry(daemon.root / "registry", daemon.netns)
    try:
        daemon.docker("import", "-", f"{registry.address}/big", input=root_tar(size))
        daemon.docker("push", f"{registry.address}/big")
        daemon.docker("rmi", f"{registry.address}/big")
        daemon.docker("pull", f"{registry.address}/big")
    finally:
        registry.close()


def test_df_is_du_and_removals_give_space_back(root: Path) -> None:
    options = [word for option in OPTIONS for word in ("--storage-opt", option)]
    daemon = Daemon(options=("--storage-driver", "devicemapper", *options))
    daemon.data_root = root / "naru"
    data = daemon.data_root / "devicemapper/devicemapper/data"
    try:
        daemon.start()
        base = assert_df_is_du(daemon)
        empty, metadata = on_disk(data), on_disk(data.with_name("metadata"))
        daemon.make_busybox()
        pull_big(daemon, 24 << 20)
        with_images = assert_df_is_du(daemon)
        images = on_disk(data)
        assert images - empty >= 24 << 20
        assert with_images["layers"] >= images - empty - LITTLE
        # The rest is the device that all begin with, and the pool's own metadata.
        grown = on_disk(data.with_name("metadata")) - metadata
        assert with_images["driver"] <= base["driver"] + grown + FEW_BLOCKS

        write = "head -c 40000000 /dev/urandom > /own; sync; echo done; exec sleep 600"
        daemon.docker("run", "-d", "--name", "writer", "busybox", "sh", "-c", write)
        assert until(lambda: daemon.docker("logs", "writer").stdout == "done\n", seconds=60)
        written = assert_df_is_du(daemon)
        assert sum(written.values()) - sum(with_images.values()) >= 40_000_000
        assert 40_000_000 <= written["containers"] < 40_000_000 + LITTLE
        assert abs(written["layers"] - with_images["layers"]) < LITTLE

        daemon.docker("rm", "-f", "writer")
        assert_df_is_du(daemon)
        assert abs(on_disk(data) - images) <= LITTLE
        daemon.docker("image", "prune", "-af")
        left = assert_df_is_du(daemon)
        assert abs(on_disk(data) - empty) <= LITTLE
        assert left["blobs"] + left["layers"] + left["init layers"] + left["containers"] <= 3 * 4096
    finally:
        daemon.stop()


def test_what_is_on_devices_is_not_below_the_data_root(root: Path) -> None:
    options, loops = ["--storage-opt", "dm.basesize=256M"], []
    try:
        for name, size in (("data", 2 << 30), ("metadata", 32 << 20)):
            with (root / name).open("wb") as out:
                out.truncate(size)
            loops.append(run("losetup", "--find", "--show", str(root / name)))
            options += ["--storage-opt", f"dm.{name}dev={loops[-1]}"]
        daemon = Daemon(options=("--storage-driver", "devicemapper", *options))
        daemon.data_root = root / "naru"
        try:
            daemon.start()
            daemon.docker("import", "-", "big", input=root_tar(24 << 20))
            found = assert_df_is_du(daemon)
            assert found["layers"] + found["driver"] < 1 << 20
            assert on_disk(root / "data") >= 24 << 20
        finally:
            daemon.stop()
        assert until(lambda: not devices())
    finally:
        for loop in loops:
            run("losetup", "--detach", loop)


def test_each_layer_has_what_it_has_written(root: Path) -> None:
    driver = start(root)
    assert driver.shares() == {}
    driver.create(A, None, writable=False)
    driver.apply(A, tar(f=os.urandom(16 << 20)))
    for layer in (B, C):
        driver.create(layer, A, writable=True)
    where = mount(driver, B, root / "m")
    with (where / "f").open("r+b") as shared:  # blocks that the layer below has, too
        shared.write(os.urandom(12 << 20))
        os.fsync(shared.fileno())
    while_mounted = driver.shares()
    unmount(where)
    os.sync()
    found = driver.shares()
    for shares in (while_mounted, found):
        assert 16 << 20 <= shares[A] < (16 << 20) + LITTLE
        assert 12 << 20 <= shares[B] < (12 << 20) + LITTLE
        assert shares[C] == 0
    assert sum(found.values()) <= on_disk(root / "devicemapper/devicemapper/data")
    dm.message(dict(driver.status())["Pool Name"], "reserve_metadata_snap")  # a kill left it
    assert driver.shares() == found
    mappings = by_thin_dump(driver)
    assert len(mappings) == 4
    assert mappings == by_reading(root, driver)
    driver.close()
    assert until(lambda: not devices())
    driver = start(root)
    assert driver.shares() == found
    for layer in (C, B, A):
        driver.remove(layer)
    assert driver.shares() == {}
    driver.close()


def by_thin_dump(driver: DeviceMapper) -> dict[int, set[int]]:
    """Data blocks by device, as the tools of the kernel's authors read them."""
    with snapshot_of_metadata(driver):
        dump = run("thin_dump", "--metadata-snap", dict(driver.status())["Metadata file"])
    found: dict[int, set[int]] = {}
    for device in dump.split("<device ")[1:]:
        number = re.match(r'dev_id="(\d+)"', device)
        assert number is not None
        blocks = {int(block) for block in re.findall(r'data_block="(\d+)"', device)}
        for begin, length in re.findall(r'data_begin="(\d+)" length="(\d+)"', device):
            blocks.update(range(int(begin), int(begin) + int(length)))
        found[int(number[1])] = blocks
    return found


def by_reading(root: Path, driver: DeviceMapper) -> dict[int, set[int]]:
    with (
        snapshot_of_metadata(driver) as superblock,
        (root / "devicemapper/devicemapper/metadata").open("rb") as file,
    ):
        roots = PoolMetadata(file.fileno(), superblock).devices()
        return {
            number: set(PoolMetadata(file.fileno(), superblock).data_blocks(device))
            for number, device in roots.items()
        }


@contextlib.contextmanager
def snapshot_of_metadata(driver: DeviceMapper) -> Iterator[int]:
    """-> the number of its superblock."""
    name = dict(driver.status())["Pool Name"]
    dm.message(name, "reserve_metadata_snap")
    try:
        yield int(dm.status(name)[0].arguments.split()[3])
    finally:
        dm.message(name, "release_metadata_snap")


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512
