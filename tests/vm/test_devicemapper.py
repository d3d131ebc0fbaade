"""devicemapper beyond the drivers' contract: pools of every kind, sizes, kills, what is left."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from naru.kernel import devicemapper as dm
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.devicemapper import DeviceMapper
from tests.vm.pools import A, B, C, devices, mount, run, start, tar, unmount, until


def fill(path: Path) -> None:
    with path.open("wb") as out:
        while True:
            out.write(bytes(1 << 20))
            out.flush()


def write_layers(driver: DeviceMapper, where: Path) -> None:
    for number in range(64):
        driver.create(f"{number:064x}", None, writable=True)
        mount(driver, f"{number:064x}", where)
        (where / "f").write_bytes(os.urandom(8 << 20))
        unmount(where)


def test_a_device_lives_as_long_as_its_mount_and_the_pool_as_its_devices(root: Path) -> None:
    driver = start(root)
    driver.create(A, None, writable=True)
    assert len(devices()) == 1 or until(lambda: len(devices()) == 1)  # the pool
    where = mount(driver, A, root / "m")
    assert len(devices()) == 2
    driver.close()
    (where / "f").write_bytes(b"written without a daemon")
    assert len(devices()) == 2
    unmount(where)
    assert until(lambda: not devices())
    again = start(root)
    assert (mount(again, A, root / "m") / "f").read_bytes() == b"written without a daemon"
    unmount(root / "m")
    again.remove(A)
    again.close()


def test_status_has_dockers_rows(root: Path) -> None:
    driver = start(root)
    rows = dict(driver.status())
    assert rows["Pool Name"].endswith("-pool")
    assert rows["Pool Blocksize"] == "65.54kB"
    assert rows["Base Device Size"] == "67.11MB"
    assert rows["Backing Filesystem"] == "ext4"
    assert rows["Data Space Total"] == "1.074GB"
    assert rows["Data loop file"] == str(root / "devicemapper/devicemapper/data")
    assert rows["Deferred Deleted Device Count"] == "0"
    assert set(rows) >= {"Data Space Used", "Data Space Available", "Metadata Space Used",
                         "Metadata Space Total", "Metadata Space Available", "Data file",
                         "Thin Pool Minimum Free Space", "Udev Sync Supported"}  # fmt: skip
    driver.close()


def test_a_containers_size_is_its_file_systems(root: Path) -> None:
    driver = start(root)
    driver.create(A, None, writable=False)
    driver.apply(A, tar(f=b"x"))
    driver.create(B, A, writable=True, size=128 << 20)
    driver.create(C, A, writable=True)
    small, large = mount(driver, C, root / "c"), mount(driver, B, root / "b")
    written = {}
    for where in (small, large):
        with pytest.raises(OSError, match="No space") as failure:
            fill(where / "big")
        assert failure.value.errno == errno.ENOSPC
        written[where] = (where / "big").stat().st_size
    assert written[small] < 64 << 20 < written[large] < 128 << 20
    for where in (small, large):
        unmount(where)
    with pytest.raises(InvalidParameter, match="cannot be smaller"):
        driver.create("d" * 64, A, writable=True, size=1 << 20)
    for layer in (C, B, A):
        driver.remove(layer)
    driver.close()


def test_a_removed_layer_gives_its_space_back_to_the_loop_file(root: Path) -> None:
    driver = start(root)
    driver.create(A, None, writable=True)
    before = (root / "devicemapper/devicemapper/data").stat().st_blocks
    where = mount(driver, A, root / "m")
    (where / "f").write_bytes(os.urandom(32 << 20))
    unmount(where)
    full = (root / "devicemapper/devicemapper/data").stat().st_blocks
    driver.remove(A)
    after = (root / "devicemapper/devicemapper/data").stat().st_blocks
    assert full - before >= (32 << 20) // 512
    assert after - before < (8 << 20) // 512
    driver.close()


def test_the_base_grows_and_does_not_shrink(root: Path) -> None:
    driver = start(root)
    driver.close()
    assert until(lambda: not devices())
    with pytest.raises(InvalidParameter, match="cannot be smaller"):
        start(root, basesize="32M")
    driver = start(root, basesize="128M")
    driver.create(A, None, writable=True)
    where = mount(driver, A, root / "m")
    there = os.statvfs(where)
    assert there.f_blocks * there.f_frsize > 80 << 20
    unmount(where)
    driver.remove(A)
    with pytest.raises(InvalidParameter, match=r"dm\.fs"):
        start(root, basesize="128M", fs="xfs")
    driver.close()


def test_xfs(root: Path) -> None:
    driver = start(root, fs="xfs", basesize="320M")
    driver.create(A, None, writable=False)
    driver.apply(A, tar(f=b"x"))
    driver.create(B, A, writable=True, size=640 << 20)
    one = mount(driver, A, root / "one", read_only=True)
    two = mount(driver, B, root / "two")  # the same UUID at the same time
    (two / "g").write_bytes(b"y")
    there = os.statvfs(two)
    assert there.f_blocks * there.f_frsize > 500 << 20
    assert sorted(os.listdir(one)) == ["f"]
    assert [change.path for change in driver.changes(B)] == ["/g"]  # while it is mounted
    for where in (one, two):
        unmount(where)
    for layer in (B, A):
        driver.remove(layer)
    driver.close()


def test_a_layer_in_use_elsewhere_is_deleted_later(root: Path) -> None:
    driver = start(root)
    driver.create(A, None, writable=True)
    where = mount(driver, A, root / "m")
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    unmount(where)
    driver.remove(A)
    assert dict(driver.status())["Deferred Deleted Device Count"] == "1"
    assert set(driver.layers()) == {A}
    holder.stdin.close()
    holder.stdout.close()
    holder.wait()
    assert until(lambda: len(devices()) == 1)
    driver.create(B, None, writable=True)
    assert dict(driver.status())["Deferred Deleted Device Count"] == "0"
    driver.remove(B)
    assert list(driver.layers()) == []
    driver.close()


def test_given_devices_and_a_given_pool(root: Path) -> None:
    files = {name: root / name for name in ("data", "meta")}
    loops = {}
    for name, size in (("data", 512), ("meta", 16)):
        with files[name].open("wb") as out:
            out.truncate(size << 20)
        loops[name] = run("losetup", "--find", "--show", str(files[name]))
    try:
        driver = start(root / "one", datadev=loops["data"], metadatadev=loops["meta"])
        rows = dict(driver.status())
        assert (rows["Data file"], rows["Metadata file"]) == (loops["data"], loops["meta"])
        assert "Data loop file" not in rows
        driver.close()
        assert until(lambda: not devices())

        # Whose devices are not ours: refused, and left alone.
        with pytest.raises(Unsupported, match="already has used data blocks"):
            start(root / "two", datadev=loops["data"], metadatadev=loops["meta"])
        assert until(lambda: not devices())

        run("dd", "if=/dev/zero", f"of={loops['meta']}", "bs=4096", "count=1", "conv=fsync")
        sectors = (512 << 20) // 512
        run("dmsetup", "create", "given", "--table",
            f"0 {sectors} thin-pool {loops['meta']} {loops['data']} 256 0")  # fmt: skip
        driver = start(root / "three", thinpooldev="/dev/mapper/given")
        assert dict(driver.status())["Pool Name"] == "given"
        assert dict(driver.status())["Pool Blocksize"] == "131.1kB"
        driver.create(A, None, writable=False)
        driver.apply(A, tar(f=b"x"))
        driver.remove(A)
        driver.close()
        assert until(lambda: not devices())
        with pytest.raises(Unsupported, match=r"dm\.thinpooldev"):
            start(root / "three", thinpooldev="nosuch")
        run("dmsetup", "remove", "given")
    finally:
        for loop in loops.values():
            run("losetup", "--detach", loop)


def test_a_pool_that_lost_its_devices_is_refused(root: Path) -> None:
    driver = start(root)
    driver.create(A, None, writable=False)
    driver.close()
    assert until(lambda: not devices())
    metadata = root / "devicemapper/devicemapper/metadata"
    metadata.unlink()
    with pytest.raises(Unsupported, match="made anew"):
        start(root)


def test_what_is_full_is_said_before_it_is(root: Path) -> None:
    driver = start(root, min_free_space="95%")
    with pytest.raises(OSError, match="minimum required"):
        write_layers(driver, root / "m")
    for layer in sorted(set(driver.layers())):
        driver.remove(layer)
    driver.close()


VICTIM = """
import io, sys, os
from pathlib import Path
from naru.store.drivers.devicemapper import DeviceMapper
from tests.vm.pools import SMALL, tar
driver = DeviceMapper(Path(sys.argv[1]) / "devicemapper", SMALL)
parent = None
for number in range(1, 200):
    layer = f"{number:064x}"
    driver.create(layer, parent, writable=False)
    driver.apply(layer, tar(**{f"f{number}": os.urandom(200_000)}))
    if number % 5 == 0:
        driver.create("e" * 64, layer, writable=True)
        driver.remove("e" * 64)
    print(layer, flush=True)
    parent = layer
"""


@pytest.mark.parametrize("survivors", [0, 1, 4, 9, 11])
def test_kill_at_any_moment_loses_no_finished_layer(root: Path, survivors: int) -> None:
    victim = subprocess.Popen([sys.executable, "-c", VICTIM, str(root)], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    done = [victim.stdout.readline().decode().strip() for _ in range(survivors)]
    time.sleep(0.013 * survivors)  # anywhere in the next one's making
    victim.send_signal(signal.SIGKILL)
    done += victim.stdout.read().decode().split()
    victim.wait()
    victim.stdout.close()
    driver = start(root)
    half_made = sorted(set(driver.layers()) - set(done))
    for layer in half_made:
        driver.remove(layer)
    assert sorted(driver.layers()) == done
    if done:
        where = mount(driver, done[-1], root / "m", read_only=True)
        assert len(os.listdir(where)) == len(done)
        unmount(where)
    known = {int(driver.data(layer, root)["DeviceId"]) for layer in done}
    for layer in reversed(done):
        driver.remove(layer)
    assert thin_devices(driver) - {1} == set(), known
    driver.close()


def thin_devices(driver: DeviceMapper) -> set[int]:
    """Every device in the pool, by the pool's own metadata."""
    name = dict(driver.status())["Pool Name"]
    dm.message(name, "reserve_metadata_snap")
    try:
        metadata = dict(driver.status())["Metadata file"]
        dump = run("thin_dump", "--metadata-snap", "--skip-mappings", metadata)
    finally:
        dm.message(name, "release_metadata_snap")
    return {int(found) for found in re.findall(r'dev_id="(\d+)"', dump)}
