"""Volumes whose options mount something: there while a container needs it, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.engine.volumes import Volumes
from naru.kernel.mount_table import mount_table
from naru.kernel.mounts import is_mounted, mounts_below, unmount
from naru.spec.errors import InternalError
from naru.store.records import Records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[Volumes]:
    records = Records.open(tmp_path / "records.db")
    try:
        yield Volumes(root=tmp_path / "volumes", records=records)
    finally:
        await records.close()
        for target in mounts_below(tmp_path):
            unmount(target)


async def test_a_tmpfs_is_mounted_once_for_two_containers(volumes: Volumes) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=12,nosuid"}
    record = await volumes.create("data", options=options)
    data = Path(record.mountpoint)
    assert not is_mounted(data)
    await volumes.mount("data", "c1")
    await volumes.mount("data", "c2")
    [entry] = [entry for entry in mount_table() if entry.target == str(data)]
    assert entry.type == "tmpfs"
    assert "nosuid" in entry.options
    assert data.stat().st_uid == 12
    await volumes.unmount("data", "c1")
    assert is_mounted(data)
    await volumes.unmount("data", "c2")
    assert not is_mounted(data)


async def test_a_bind_shows_the_host_s_directory(volumes: Volumes, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "f").write_text("here")
    options = {"type": "none", "device": str(host), "o": "bind,ro"}
    record = await volumes.create("data", options=options)
    path = await volumes.mount("data", "c1")
    assert (path / "f").read_text() == "here"
    with pytest.raises(OSError, match="Read-only"):
        (path / "g").touch()
    await volumes.unmount("data", "c1")
    await volumes.remove("data")
    assert (host / "f").exists()
    assert not Path(record.mountpoint).exists()


async def test_a_volume_is_removed_with_its_mount_left_from_a_killed_daemon(
    volumes: Volumes, tmp_path: Path
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "precious").touch()
    await volumes.create("data", options={"type": "none", "device": str(host), "o": "bind"})
    await volumes.mount("data", "c1")
    again = Volumes(root=tmp_path / "volumes", records=volumes._records)  # as after a restart
    await again.remove("data")
    assert (host / "precious").exists()


async def test_what_the_kernel_refuses_is_told_without_the_password(volumes: Volumes) -> None:
    options = {"type": "cifs", "device": "//192.0.2.1/x", "o": "username=u,password=hunter2"}
    if "cifs" not in Path("/proc/filesystems").read_text():
        await volumes.create("data", options=options)
        with pytest.raises(InternalError, match="failed to mount local volume") as refused:
            await volumes.mount("data", "c1")
        assert "hunter2" not in str(refused.value)
