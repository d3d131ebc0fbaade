"""What a kernel between two ages of storage drivers says of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.spec.errors import Unsupported
from naru.store.choice import choose


def test_aufs_is_missing_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="'aufs' is not in /proc/filesystems"):
        choose("aufs", tmp_path)


def test_the_automatic_choice_is_overlay2(tmp_path: Path) -> None:
    assert choose(None, tmp_path).name == "overlay2"


def test_erofs_goes_by_loop_devices(tmp_path: Path) -> None:
    driver = choose("erofs", tmp_path)
    assert dict(driver.status())["Backed By"].startswith("loop devices")


def test_btrfs_wants_its_file_system(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="wrong filesystem"):
        choose("btrfs", tmp_path)


def test_a_pool_of_nobodys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"dm\.thinpooldev nosuch"):
        choose("devicemapper", tmp_path, ["dm.thinpooldev=nosuch"])
