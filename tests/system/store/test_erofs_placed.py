"""erofs: a layer that gets its place has its image made anew only if those below give a reason."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from naru.kernel.mounts import mounts_below, unmount
from naru.spec.errors import Unsupported
from naru.store.drivers.erofs import Erofs
from naru.store.drivers.erofs_backing import IMAGE
from naru.store.mounting import mount_all
from naru.store.tarentry import DIRECTORY, Entry
from naru.store.tarwriter import TarWriter

A, B = "a" * 64, "b" * 64

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.mark.parametrize(("below", "again"), [("other", False), ("implied", True)])
def test_a_directory_that_the_tar_does_not_name(tmp_path: Path, below: str, again: bool) -> None:
    try:
        driver = Erofs(tmp_path, {})
    except Unsupported as error:
        pytest.skip(str(error))
    lower, upper = Entry(below, DIRECTORY, mode=0o700), Entry("implied/file", mode=0o644)
    for layer, entry in ((A, lower), (B, upper)):
        packed = io.BytesIO()
        tar = TarWriter(packed)
        tar.add(entry)
        tar.close()
        packed.seek(0)
        driver.create(layer, None, writable=False)
        driver.apply(layer, packed)
    image = tmp_path / B / IMAGE
    try:
        driver.place(A, None)
        with image.open("rb") as made:
            driver.place(B, A)
            assert (os.stat(image).st_ino != os.fstat(made.fileno()).st_ino) is again
        target = tmp_path / "tree"
        target.mkdir()
        mount_all(driver.mounts(B, target, read_only=True))
        assert (target / "implied").stat().st_mode & 0o777 == (0o700 if again else 0o755)
    finally:
        for target in mounts_below(tmp_path):
            unmount(target)
