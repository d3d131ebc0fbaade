"""dm.* options that change how devicemapper works: direct-lvm, removal, XFS in a full pool."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import devicemapper as dm
from naru.kernel import mounts
from naru.kernel.mount_table import mount_table
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.devicemapper import DeviceMapper
from tests.harness.daemon import Daemon
from tests.vm.pools import (
    A,
    B,
    devices,
    mount,
    run,
    start,
    tar,
    unmount,
    until,
)

PROFILE = Path("/etc/lvm/profile/docker-thinpool.profile")


@pytest.fixture
def disk(root: Path) -> Iterator[str]:
    """A device for LVM; no volume group of ours is left."""
    image = root / "disk"
    with image.open("wb") as out:
        out.truncate(1 << 30)
    device = run("losetup", "--find", "--show", str(image))
    yield device
    subprocess.run(["vgremove", "-f", "-y", "docker"], capture_output=True, check=False)
    subprocess.run(["pvremove", "-ff", "-y", device], capture_output=True, check=False)
    PROFILE.unlink(missing_ok=True)
    run("losetup", "--detach", device)


def direct(root: Path, device: str, **options: str) -> DeviceMapper:
    given = {"directlvm_device": device, "basesize": "64M", **options}
    return DeviceMapper(
        root / "devicemapper", {f"dm.{name}": value for name, value in given.items()}
    )


def test_direct_lvm_is_set_up_once(root: Path, disk: str) -> None:
    options = {"thinp_percent": "90", "thinp_metapercent": "2", "thinp_autoextend_threshold": "70"}
    driver = direct(root, disk, **options)
    rows = dict(driver.status())
    assert rows["Pool Name"] == "docker-thinpool"
    assert rows["Pool Blocksize"] == "524.3kB"
    assert "Data loop file" not in rows
    said = run("lvs", "--noheadings", "-o", "vg_name,lv_name,lv_profile,zero", "docker").split()
    assert said[:3] == ["docker", "thinpool", "docker-thinpool"]
    assert "thin_pool_autoextend_threshold=70" in PROFILE.read_text()
    assert "thin_pool_autoextend_percent=20" in PROFILE.read_text()
    total = int(run("lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "lv_size",
                    "docker/thinpool"))  # fmt: skip
    assert 0.88 < total / (1 << 30) < 0.91
    driver.create(A, None, writable=False)
    driver.apply(A, tar(f=b"x"))
    driver.close()

    # Not once more, also where the options are left out; and after a reboot it is activated.
    run("lvchange", "-an", "docker/thinpool")
    driver = DeviceMapper(root / "devicemapper", {"dm.basesize": "64M"})
    where = mount(driver, A, root / "m", read_only=True)
    assert os.listdir(where) == ["f"]
    unmount(where)
    with pytest.raises(InvalidParameter, match="changing direct-lvm config is not supported"):
        direct(root, disk, thinp_percent="50", thinp_metapercent="1")
    driver.remove(A)
    driver.close()
    assert until(lambda: not devices())


def test_a_device_of_somebody_else_is_refused(root: Path, disk: str) -> None:
    run("mkfs.ext4", "-q", disk)
    with pytest.raises(Unsupported, match=r"has a filesystem already.*directlvm_device_force"):
        direct(root, disk)
    driver = direct(root, disk, directlvm_device_force="true")
    driver.close()
    assert until(lambda: not devices())
    with pytest.raises(Unsupported, match="already part of a volume group 'docker'"):
        direct(root / "other", disk)


VICTIM = """
import os, signal, sys
from pathlib import Path
from naru.store.drivers import dm_directlvm
from naru.store.drivers.devicemapper import DeviceMapper
from tests.harness.daemon import Daemon
run = dm_directlvm._run
def until_killed(*command):
    if command[0] == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    run(*command)
dm_directlvm._run = until_killed
DeviceMapper(Path(sys.argv[1]) / "devicemapper", {"dm.directlvm_device": sys.argv[2]})
"""


@pytest.mark.parametrize("step", ["vgcreate", "lvcreate", "lvconvert", "lvchange"])
def test_a_killed_set_up_is_done_anew(root: Path, disk: str, step: str) -> None:
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, str(root), disk, step], capture_output=True, check=False
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr.decode()
    with pytest.raises(Unsupported, match="interrupted"):
        DeviceMapper(root / "devicemapper", {})
    driver = direct(root, disk)
    driver.create(A, None, writable=True)
    driver.remove(A)
    driver.close()
    assert until(lambda: not devices())


def test_without_deferred_removal_the_driver_removes(root: Path) -> None:
    driver = start(root, use_deferred_removal="false")
    rows = dict(driver.status())
    assert rows["Deferred Removal Enabled"] == rows["Deferred Deletion Enabled"] == "false"
    assert len(devices()) == 1  # the pool: the base went at once
    driver.create(A, None, writable=False)
    driver.apply(A, tar(f=b"x"))
    assert len(devices()) == 1
    driver.create(B, A, writable=True)
    where = mount(driver, B, root / "m")
    unmount(where)
    assert len(devices()) == 2  # nobody has said yet that it is over
    driver.release(B)
    assert len(devices()) == 1

    where = mount(driver, B, root / "m")
    with pytest.raises(OSError, match="busy"):
        driver.remove(B)
    driver.close()
    assert len(devices()) == 2  # a container that goes on when the daemon ends
    unmount(where)
    again = start(root, use_deferred_removal="false")
    assert len(devices()) == 1
    for layer in (B, A):
        again.remove(layer)
    again.close()
    assert not devices()


def retries(where: Path) -> int:
    device = next(m.source for m in mount_table() if m.target == os.path.realpath(where))
    errors = Path("/sys/fs/xfs", os.path.basename(device), "error/metadata/ENOSPC/max_retries")
    return int(errors.read_text())


def test_xfs_gives_up_after_so_many_tries(root: Path) -> None:
    driver = start(root, fs="xfs", basesize="320M", xfs_nospace_max_retries="3")
    driver.create(A, None, writable=True)
    where = mount(driver, A, root / "m")
    assert retries(where) == 3
    unmount(where)
    driver.remove(A)
    driver.close()
    assert until(lambda: not devices())
    with pytest.raises(InvalidParameter, match=r"dm\.xfs_nospace_max_retries is for xfs"):
        start(root / "other", fs="ext4", xfs_nospace_max_retries="3")


def test_a_mount_that_cannot_be_tuned_is_undone(root: Path) -> None:
    where = root / "m"
    where.mkdir()
    with pytest.raises(FileNotFoundError):
        mounts.mount(mounts.Mount("tmpfs", "tmpfs", where, tuning=[(root / "no/file", "1")]))
    assert not mounts.is_mounted(where)


def test_the_contents_of_a_layer_pass_through_direct_lvm(root: Path, disk: str) -> None:
    driver = direct(root, disk)
    driver.create(A, None, writable=False)
    driver.apply(A, tar(one=b"1" * 10_000))
    out = io.BytesIO()
    driver.diff(A, out)
    assert b"1" * 10_000 in out.getvalue()
    assert dm.info("docker-thinpool") is not None
    driver.remove(A)
    driver.close()
    assert until(lambda: not devices())


def test_an_ended_containers_device_goes_without_deferred_removal() -> None:
    options = ("use_deferred_removal=false", "basesize=256M", "loopdatasize=4G",
               "loopmetadatasize=64M")  # fmt: skip
    given = [part for option in options for part in ("--storage-opt", f"dm.{option}")]
    daemon = Daemon(options=("--storage-driver", "devicemapper", *given))
    try:
        daemon.start()
        daemon.make_busybox()
        [pool] = devices()
        assert pool.split()[0].endswith("-pool")
        daemon.docker("run", "-d", "--name", "one", "busybox", "sleep", "600")
        assert len(devices()) == 2
        daemon.docker("kill", "one")
        daemon.docker("wait", "one")
        assert until(lambda: devices() == [pool])
        daemon.docker("rm", "one")
        daemon.terminate()
        assert until(lambda: not devices())
    finally:
        daemon.stop()
