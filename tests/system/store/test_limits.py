"""A layer's size limit, on a file system without quotas too."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel.mounts import is_mounted, mount, mounts_below, unmount
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.choice import choose
from naru.store.driver import StorageDriver

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="no mkfs.ext4"),
]

A, B = "a" * 64, "b" * 64
MIB = 1 << 20


@pytest.fixture(params=["erofs", "overlay", "overlay2", "vfs"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageDriver]:
    try:
        try:
            made = choose(request.param, tmp_path)
        except Unsupported as error:
            pytest.skip(str(error))
        yield made
    finally:
        for target in mounts_below(tmp_path):
            unmount(target)


def _write(path: Path, mib: int) -> None:
    with path.open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(MIB))
            out.flush()
            os.fsync(out.fileno())


def test_a_limit_holds_in_its_layer_only(driver: StorageDriver, tmp_path: Path) -> None:
    driver.create(A, None, writable=False)
    driver.apply(A, io.BytesIO(bytes(1024)))
    driver.create(B, A, writable=True, size=16 * MIB)
    merged = tmp_path / driver.name / B / "merged"
    for each in driver.mounts(B, merged):
        mount(each)
    _write(merged / "fits", 15)
    with pytest.raises(OSError, match=r"space|quota") as refused:
        _write(merged / "more", 10)
    assert refused.value.errno in (errno.ENOSPC, errno.EDQUOT)
    _write(tmp_path / "free", 20)
    assert [change.path for change in driver.changes(B)] == ["/fits", "/more"]
    unmount(merged)
    driver.remove(B)
    driver.remove(A)
    assert list(driver.layers()) == []
    assert mounts_below(tmp_path) == []


def test_a_limited_layer_survives_the_loss_of_its_mount(
    driver: StorageDriver, tmp_path: Path
) -> None:
    driver.create(A, None, writable=True, size=16 * MIB)
    home = tmp_path / driver.name / A
    own = "upper" if driver.name == "overlay" else "diff"
    (home / own / "kept").write_text("here")
    while is_mounted(home):  # as after a reboot
        unmount(home)
    again = choose(driver.name, tmp_path)
    assert [change.path for change in again.changes(A)] == ["/kept"]
    assert A in set(again.layers())
    again.remove(A)
    assert mounts_below(tmp_path) == []


def test_a_size_that_holds_nothing_is_refused(driver: StorageDriver, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="size"):
        driver.create(A, None, writable=True, size=1000)
    driver.remove(A)
    assert list(driver.layers()) == []


def test_a_file_system_still_in_use_is_not_opened_twice(tmp_path: Path) -> None:
    driver = choose("vfs", tmp_path)
    driver.create(A, None, writable=True, size=16 * MIB)
    home, target = tmp_path / "vfs" / A, tmp_path / "target"
    target.mkdir()
    [each] = driver.mounts(A, target)
    try:
        mount(each)
        unmount(home)  # lazily: `target` keeps it
        (target / "seen").write_text("through both")
        assert [change.path for change in driver.changes(A)] == ["/seen"]
        assert (home / "diff").stat().st_dev == target.stat().st_dev
    finally:
        for mounted in mounts_below(tmp_path):
            unmount(mounted)
    driver.remove(A)
