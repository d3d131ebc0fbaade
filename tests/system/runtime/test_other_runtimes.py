"""runc beside crun, and systemd as the maker of control groups."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.system.runtime.runtime_bench import Bench, group_of, read_all

from naru.kernel import cgroup_stats, cgroups
from naru.runtime import capabilities, seccomp


async def drive(bench: Bench) -> None:
    """A container's life with every verb, by whatever runtime the bench has."""
    await bench.supervisor.connect()
    try:
        profile = seccomp.default_profile(capabilities.DEFAULT)
        pid, stdio = await bench.run(
            "c", "sh", "-c", "read line; exit 4", stdin=True, linux={"seccomp": profile}
        )
        script = "grep Seccomp: /proc/self/status"
        _, out = await bench.runtime.exec(
            "c", "e", bench.process("sh", "-c", script, tty=True), tty=True, stdin=False
        )
        assert (await read_all(out.pty)).split() == [b"Seccomp:", b"2"]
        assert (await bench.exit_of("c", "e")).status == 0
        out.close()
        group = group_of(pid)
        assert group.pids() == [pid]
        assert await bench.runtime.pids("c") == [pid]
        stats = cgroup_stats.read(group)
        assert stats.pids.current == 1
        assert stats.cpu.total > 0
        assert stats.memory.usage > 0
        await bench.runtime.pause("c")
        state = await bench.runtime.state("c")
        assert state is not None
        assert state.status == "paused"
        await bench.runtime.resume("c")
        await bench.runtime.update("c", {"pids": {"limit": 55}})
        assert cgroup_stats.read(group).pids.limit == 55
        await bench.runtime.close_stdin("c")
        stdio.close()
        assert (await bench.finish("c")).status == 4
        assert group.pids() == []
        assert not any(
            (root / group.path.lstrip("/")).exists() for root in cgroups.detect().roots()
        )
        await bench.supervisor.acknowledge(await bench.exit_of("c", "e"))
        assert await bench.supervisor.quit()
    finally:
        for left in await bench.supervisor.live():
            await bench.runtime.delete(left.container_id)
        await bench.close()
        cgroups.Group(cgroups.detect(), bench.cgroup).remove()


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_cgroupfs(exec_root: Path, rootfs: Path, runtime: str) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"needs {runtime}")
    await drive(Bench(exec_root, rootfs, runtime=runtime))


@pytest.mark.parametrize("runtime", ["crun", "runc"])
async def test_systemd(exec_root: Path, rootfs: Path, runtime: str) -> None:
    if shutil.which(runtime) is None or not Path("/run/systemd/system").is_dir():
        pytest.skip(f"needs {runtime} and systemd")
    await drive(Bench(exec_root, rootfs, runtime=runtime, systemd_cgroup=True))
