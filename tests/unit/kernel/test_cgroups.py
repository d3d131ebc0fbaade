from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Never

import pytest

from naru.kernel import cgroup_stats, cgroups
from naru.kernel.cgroups import Group, Hierarchies, Mode

LEGACY = """\
30 20 0:25 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
32 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
HYBRID = LEGACY + "34 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
UNIFIED = "30 20 0:25 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_the_shared_parent_stays_while_a_container_is_in_it(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "naru/x").mkdir(parents=True)
    (two / "naru").mkdir(parents=True)
    cgroups.remove_shared_parent(Hierarchies(Mode.LEGACY, {"memory": one, "pids": two}, None))
    assert (one / "naru/x").exists()
    assert not (two / "naru").exists()


def test_legacy() -> None:
    found = cgroups.detect(LEGACY)
    assert found.mode is Mode.LEGACY
    assert found.version == "1"
    assert found.v1["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found.controllers == {"cpu", "cpuacct", "memory"}
    assert len(found.roots()) == 3


def test_hybrid() -> None:
    found = cgroups.detect(HYBRID)
    assert found.mode is Mode.HYBRID
    assert found.version == "1"
    assert found.v2 == Path("/sys/fs/cgroup/unified")


def test_unified() -> None:
    found = cgroups.detect(UNIFIED)
    assert found.mode is Mode.UNIFIED
    assert found.version == "2"
    assert found.v1 == {}


def test_mounts_elsewhere_do_not_count() -> None:
    assert cgroups.detect(UNIFIED.replace("/sys/fs/cgroup", "/mnt")).v2 is None


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("__", ".")).write_text(content)


def test_stats_of_v2(tmp_path: Path) -> None:
    group = Group(Hierarchies(Mode.UNIFIED, {}, tmp_path), "/naru/x")
    directory = tmp_path / "naru/x"
    write(
        directory,
        cpu__stat="usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_throttled 2\nthrottled_usec 5\n",
        memory__current="4096\n",
        memory__max="max\n",
        memory__stat="anon 10\nfile 20\n",
        memory__events="low 0\nmax 3\noom_kill 1\n",
        io__stat="8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:1 \n",
        pids__current="5\n",
        pids__max="99\n",
        cgroup__procs="12\n11\n",
    )
    stats = cgroup_stats.read(group)
    assert (stats.cpu.total, stats.cpu.throttled) == (7000, 5000)
    assert (stats.memory.usage, stats.memory.limit, stats.memory.failures) == (4096, None, 3)
    assert stats.memory.stat == {"anon": 10, "file": 20}
    assert stats.block.bytes == [
        cgroup_stats.BlockIo(8, 0, "read", 1),
        cgroup_stats.BlockIo(8, 0, "write", 2),
    ]
    assert (stats.pids.current, stats.pids.limit) == (5, 99)
    assert group.oom_kills() == 1
    assert group.pids() == [11, 12]


def test_stats_of_v1(tmp_path: Path) -> None:
    names = ("cpu", "cpuacct", "memory", "blkio", "pids")
    group = Group(Hierarchies(Mode.LEGACY, {name: tmp_path / name for name in names}), "/x")
    write(tmp_path / "cpu/x", cpu__stat="nr_periods 1\nnr_throttled 2\nthrottled_time 3\n")
    write(
        tmp_path / "cpuacct/x",
        cpuacct__usage="50\n",
        cpuacct__usage_percpu="20 30 \n",
        cpuacct__stat="user 1\nsystem 2\n",
    )
    write(
        tmp_path / "memory/x",
        memory__usage_in_bytes="100\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__max_usage_in_bytes="200\n",
        memory__failcnt="0\n",
        memory__stat="cache 1\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    write(
        tmp_path / "blkio/x",
        blkio__throttle__io_service_bytes="8:0 Read 10\n8:0 Write 20\nTotal 30\n",
    )
    stats = cgroup_stats.read(group)
    assert stats.cpu.per_cpu == [20, 30]
    assert (stats.cpu.total, stats.cpu.periods, stats.cpu.throttled) == (50, 1, 3)
    assert stats.memory.limit is None
    assert stats.memory.maximum == 200
    assert [(one.operation, one.value) for one in stats.block.bytes] == [
        ("Read", 10),
        ("Write", 20),
    ]
    assert stats.pids.limit is None
    assert group.oom_kills() == 2


def test_remove_takes_the_group_and_what_is_below(tmp_path: Path) -> None:
    group = Group(Hierarchies(Mode.UNIFIED, {}, tmp_path), "/naru/x")
    (tmp_path / "naru/x/child").mkdir(parents=True)
    (tmp_path / "naru/y").mkdir()
    group.remove()
    group.remove()
    assert [entry.name for entry in (tmp_path / "naru").iterdir()] == ["y"]


def test_remove_does_not_take_a_shortage_for_an_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(Hierarchies(Mode.UNIFIED, {}, tmp_path), "/naru/x")
    (tmp_path / "naru/x").mkdir(parents=True)

    def short(path: object) -> Never:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", short)
        with pytest.raises(OSError, match="Too many"):
            group.remove()
    group.remove()
    assert list((tmp_path / "naru").iterdir()) == []
