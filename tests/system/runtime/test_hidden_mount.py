"""The fallback for a hybrid machine: runtimes run where the cgroup v2 mount is hidden."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.system.runtime.runtime_bench import Bench, read_all

from naru.kernel import cgroup_hybrid, cgroups, process


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "shared"
    directory.mkdir()
    return directory


async def command(name: str, *arguments: str) -> None:
    program = shutil.which(name)
    assert program is not None
    finished = await process.run([program, *arguments], env={})
    assert finished == (0, b"")


async def test_runtimes_do_not_see_it_and_do_see_later_mounts(
    exec_root: Path, rootfs: Path, shared: Path
) -> None:
    found = cgroups.detect()
    if found.mode is not cgroups.Mode.HYBRID or found.v2 is None:
        pytest.skip("needs a hybrid machine")
    if shutil.which("nsenter") is None:
        pytest.skip("needs nsenter")
    made = cgroup_hybrid.share(shared)
    assert not cgroup_hybrid.share(shared)
    bench = Bench(exec_root, rootfs, hidden_mount=found.v2)
    await bench.supervisor.connect()
    late = shared / "late"
    try:
        late.mkdir()
        await command("mount", "--bind", str(rootfs), str(late))
        bench.rootfs = late
        _, stdio = await bench.run("c", "sh", "-c", "echo up; sleep 1000")
        mounts = Path(f"/proc/{bench.supervisor.pid}/mounts").read_text()
        assert str(late) in mounts
        assert f" {found.v2} " not in mounts
        assert await bench.runtime.pids("c") != []
        await bench.runtime.kill("c", 9, all=True)
        assert await read_all(stdio.stdout) == b"up\n"
        assert (await bench.finish("c", stdio)).status == 137
        assert await bench.supervisor.quit()
    finally:
        await bench.close()
        await command("umount", str(late))
        if made:
            await command("umount", str(shared))
        cgroups.Group(cgroups.detect(), bench.cgroup).remove()
