"""Project quotas of XFS and ext4, which limit a container's layer and nothing else."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import mounts
from naru.kernel.quota import ProjectQuota
from naru.store.choice import choose
from naru.store.driver import StorageDriver
from naru.store.tarentry import REGULAR, Entry
from naru.store.tarwriter import TarWriter
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import loop_disk

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
MIB = 1 << 20
FULL = {
    False: {errno.ENOSPC, errno.EDQUOT},
    # FUSE writes back later, and the kernel makes EIO of an EDQUOT that comes then.
    True: {errno.ENOSPC, errno.EDQUOT, errno.EIO},
}
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "xfs": ((), "pquota"),
    "ext4": (("-O", "quota,project"), "prjquota"),
}


@pytest.fixture(scope="module", params=list(KINDS))
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The root of a file system with project quotas."""
    make, options = KINDS[request.param]
    base = os.environ.get("NARU_TEST_STORAGE")
    with loop_disk(request.param, size=2 << 30, base=base, make=make, options=options) as root:
        yield root


@pytest.fixture
def place(disk: Path) -> Iterator[Path]:
    where = Path(tempfile.mkdtemp(dir=disk))
    yield where
    for target in mounts.mounts_below(where):
        mounts.unmount(target)
    shutil.rmtree(where)


@pytest.fixture(params=["overlay2", "overlay", "fuse-overlayfs"])
def driver(request: pytest.FixtureRequest, place: Path) -> StorageDriver:
    made = choose(request.param, place / "data", ["size=24M"])
    made.create(A, None, writable=False)
    out = io.BytesIO()
    writer = TarWriter(out)
    writer.add(Entry("base", REGULAR, size=30 * MIB), [bytes(30 * MIB)])
    writer.close()
    made.apply(A, io.BytesIO(out.getvalue()))  # what is read-only has no limit
    return made


def mounted(driver: StorageDriver, layer: str, where: Path) -> Path:
    where.mkdir(exist_ok=True)
    for mount in driver.mounts(layer, where):
        mounts.mount(mount)
    return where


def fill(driver: StorageDriver, place: Path, layer: str, under: str = "", most: int = 80) -> int:
    """Write a file till the disk is full -> how many bytes of it are in the mounted layer itself.

    (FUSE tells what was written to its cache.)
    """
    name = f"{under}big"
    where = place / layer[0] / name

    def write() -> None:
        with open(where, "wb", buffering=0) as out:
            for _ in range(most):
                out.write(b"x" * MIB)
            os.fsync(out.fileno())  # FUSE tells of it only now

    with pytest.raises(OSError, match=r".") as caught:
        write()
    assert caught.value.errno in FULL[driver.name.startswith("fuse")]
    top = place / "data" / driver.name / layer / ("upper" if driver.name == "overlay" else "diff")
    return (top / name).stat().st_blocks * 512


def test_a_limit_holds_its_layer_and_no_other(driver: StorageDriver, place: Path) -> None:
    assert ProjectQuota.on(place) is not None
    driver.create(B, A, writable=True)
    driver.create(C, A, writable=True, size=48 * MIB)
    driver.create(D, A, writable=True)
    by_default, _, other = (mounted(driver, each, place / each[0]) for each in (B, C, D))
    assert 20 * MIB < fill(driver, place, B) <= 24 * MIB
    assert 44 * MIB < fill(driver, place, C) <= 48 * MIB
    (other / "small").write_bytes(bytes(8 * MIB))
    assert (place / "beside").write_bytes(bytes(50 * MIB))
    # What is deleted makes room, and a directory is held as well as its parents.
    (by_default / "big").unlink()
    (by_default / "deep/er").mkdir(parents=True)
    assert 20 * MIB < fill(driver, place, B, "deep/er/") <= 24 * MIB
    for layer in (B, C, D, A):
        while mounts.is_mounted(place / layer[0]):
            mounts.unmount(place / layer[0], detach=False)
        driver.remove(layer)
    assert list(driver.layers()) == []


def test_no_loop_file_is_made_where_there_is_a_quota(driver: StorageDriver, place: Path) -> None:
    driver.create(B, A, writable=True, size=48 * MIB)
    assert not (place / "data" / driver.name / ".sized").exists()


def test_layers_have_limits_of_their_own_after_a_restart(
    driver: StorageDriver, place: Path
) -> None:
    driver.create(B, A, writable=True)
    mounted(driver, B, place / "b")
    assert 20 * MIB < fill(driver, place, B) <= 24 * MIB
    again = choose(driver.name, place / "data", ["size=40M"])
    again.create(C, A, writable=True)
    mounted(again, C, place / "c")
    assert 36 * MIB < fill(again, place, C) <= 40 * MIB
    (place / "b/big").unlink()
    assert 20 * MIB < fill(again, place, B) <= 24 * MIB


def test_containers_of_an_engine(place: Path) -> None:
    daemon = Daemon(
        place, options=("--storage-driver", "overlay2", "--storage-opt", "overlay2.size=32M")
    )
    write = "dd if=/dev/zero of=/big bs=1M count=100 2>&1; sync; stat -c %s /big"
    try:
        daemon.start()
        daemon.make_busybox()
        driver = json.loads(daemon.docker("info", "--format", "{{json .}}").stdout)
        assert driver["Driver"] == "overlay2"
        for options, most in (
            ([], 32),
            (["--storage-opt", "size=64M"], 64),
            (["--privileged"], 32),
        ):
            done = daemon.docker("run", "--rm", *options, "busybox", "sh", "-c", write)
            assert "No space left" in done.stdout or "quota exceeded" in done.stdout
            assert (most - 4) * MIB < int(done.stdout.split()[-1]) <= most * MIB
        # One container is full, another has room, and so has a volume in the full one.
        daemon.docker(
            "run", "-d", "--name", "full", "-v", "kept:/volume", "busybox", "sleep", "600"
        )
        daemon.docker("exec", "full", "sh", "-c", write)
        daemon.docker("exec", "full", "dd", "if=/dev/zero", "of=/volume/f", "bs=1M", "count=50")
        beside = daemon.docker("run", "--rm", "busybox", "sh", "-c",
                               "dd if=/dev/zero of=/f bs=1M count=20 2>/dev/null && echo fits")  # fmt: skip
        assert beside.stdout == "fits\n"
        refused = daemon.docker("cp", str(daemon.log), "full:/", check=False)
        assert refused.returncode != 0 or daemon.log.stat().st_size < 64 << 10
        # The limit is still there for the next daemon and the next start.
        daemon.kill()
        daemon.start()
        daemon.docker("restart", "-t", "0", "full")
        more = daemon.docker("exec", "full", "sh", "-c", write.replace("big", "more"), check=False)
        assert "No space left" in more.stdout or "quota exceeded" in more.stdout
        daemon.docker("rm", "-f", "full")
    finally:
        daemon.stop()
