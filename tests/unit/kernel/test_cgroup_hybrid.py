"""Who mounts, who relies on it, who undoes it: with the two system calls replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from naru.kernel import cgroup_hybrid, cgroups
from naru.kernel.cgroup_hybrid import HybridMounts
from naru.kernel.cgroups import Hierarchies, Mode


class Machine:
    """hugetlb is with v2 until it is mounted as v1."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = Hierarchies(Mode.HYBRID, {}, root / "unified", frozenset({"hugetlb"}))
        self.refuse = False

    def mount(self, target: Path, options: str) -> None:
        if self.refuse or "favordynmods" in options:  # an old kernel
            raise OSError(22, "Invalid argument")
        self.state = replace(
            self.state, v1={options: target}, v2_controllers=self.state.v2_controllers - {options}
        )

    def umount2(self, target: bytes, flags: int) -> int:
        self.state = Hierarchies(Mode.HYBRID, {}, self.root / "unified", frozenset({"hugetlb"}))
        return 0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "cgroup")
    made.root.mkdir()
    monkeypatch.setattr(cgroups, "detect", lambda: made.state)
    monkeypatch.setattr(cgroup_hybrid, "_mount_v1", made.mount)
    monkeypatch.setattr(cgroup_hybrid, "libc", made)
    return made


def daemon(machine: Machine) -> HybridMounts:
    return HybridMounts(machine.root.parent / "markers", machine.root)


def test_the_last_to_leave_undoes_it(machine: Machine) -> None:
    first, second = daemon(machine), daemon(machine)
    assert first.prepare() == []
    assert second.prepare() == []
    assert "hugetlb" in machine.state.v1
    first.release()
    assert "hugetlb" in machine.state.v1
    second.release()
    assert machine.state.v1 == {}
    assert list(machine.root.iterdir()) == []


def test_a_container_that_lives_on_keeps_it(machine: Machine) -> None:
    first = daemon(machine)
    first.prepare()
    (machine.root / "hugetlb/container").mkdir()
    first.release()
    assert "hugetlb" in machine.state.v1
    later = daemon(machine)
    later.prepare()
    (machine.root / "hugetlb/container").rmdir()
    later.release()
    assert machine.state.v1 == {}


def test_what_others_mounted_stays(machine: Machine) -> None:
    machine.mount(machine.root / "hugetlb", "hugetlb")
    one = daemon(machine)
    one.prepare()
    one.release()
    assert "hugetlb" in machine.state.v1


def test_a_refusal_is_told_and_leaves_nothing(machine: Machine) -> None:
    machine.refuse = True
    one = daemon(machine)
    assert one.prepare() == ["hugetlb"]
    one.release()
    assert list(machine.root.iterdir()) == []
