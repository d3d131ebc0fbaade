"""`fsck.erofs` finds the images sound that Naru writes (erofs-utils 1.8: Debian 12 has 1.5, which
cannot read images of 512-byte blocks)."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from naru.store.erofs_image import write_image
from naru.store.erofs_tree import LayerTree


def version() -> tuple[int, int]:
    if shutil.which("fsck.erofs") is None:
        return (0, 0)
    told = subprocess.run(["fsck.erofs", "-V"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", told.stdout + told.stderr)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@pytest.mark.skipif(version() < (1, 8), reason="fsck.erofs 1.8 reads images of 512-byte blocks")
def test_fsck_finds_no_fault(tmp_path: Path) -> None:
    packed = tmp_path / "layer.tar"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(300):
            member = tarfile.TarInfo(f"d{number % 7}/{'n' * (number % 200)}{number}")
            member.size = number * 37
            member.pax_headers = {"SCHILY.xattr.user.number": str(number)}
            tar.addfile(member, io.BytesIO(bytes(member.size)))
        for name, kind, target in (
            ("link", tarfile.SYMTYPE, "d0/0"),
            ("hard", tarfile.LNKTYPE, "d0/0"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("d1/.wh.gone"))
        tar.addfile(tarfile.TarInfo("d2/.wh..wh..opq"))
    tree = LayerTree()
    with packed.open("rb") as source, (tmp_path / "layer.erofs").open("w+b") as image:
        tree.read(source)
        write_image(tree, image, tar=source)
    checked = subprocess.run(
        ["fsck.erofs", f"--device={packed}", str(tmp_path / "layer.erofs")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
