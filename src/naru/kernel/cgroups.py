"""Control groups: which mode the machine is in, and one container's group found and read.

Three modes: `unified` (v2 alone), `legacy` (v1 hierarchies alone), `hybrid` (v1, and a v2 mount
that is not used for resources). A container's group is named by its path below each hierarchy.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import field

ROOT = Path("/sys/fs/cgroup")


class Mode(StrEnum):
    UNIFIED = "unified"
    LEGACY = "legacy"
    HYBRID = "hybrid"


class Hierarchies(msgspec.Struct, frozen=True):
    """Where each hierarchy is mounted. `v1` is by controller, or "name=..." for a named one."""

    mode: Mode
    v1: Mapping[str, Path] = field(default_factory=dict)
    v2: Path | None = None
    v2_controllers: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        """`CgroupVersion` of the Engine API."""
        return "2" if self.mode is Mode.UNIFIED else "1"

    @property
    def controllers(self) -> frozenset[str]:
        """The controllers that limit containers."""
        if self.mode is Mode.UNIFIED:
            return self.v2_controllers
        return frozenset(name for name in self.v1 if not name.startswith("name="))

    def roots(self) -> list[Path]:
        """Every hierarchy's mount point, each once."""
        v2 = [self.v2] if self.v2 is not None else []
        return list(dict.fromkeys([*self.v1.values(), *v2]))


def detect(mountinfo: str | None = None) -> Hierarchies:
    """What is mounted below /sys/fs/cgroup, read from this process's mountinfo."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for target, kind, options in _cgroup_mounts(text):
        if kind == "cgroup2":
            v2 = v2 or target
            continue
        for option in options.split(","):
            if option.startswith("name=") or option in _V1_CONTROLLERS:
                v1.setdefault(option, target)
    available = frozenset(_words(v2 / "cgroup.controllers")) if v2 is not None else frozenset()
    if v2 is not None and v2 == ROOT:
        return Hierarchies(Mode.UNIFIED, {}, v2, available)
    if v2 is not None:
        return Hierarchies(Mode.HYBRID, v1, v2, available)
    return Hierarchies(Mode.LEGACY, v1)


_V1_CONTROLLERS = frozenset(
    (
        *("cpuset", "cpu", "cpuacct", "blkio", "memory", "devices", "freezer", "net_cls"),
        *("perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc"),
    )
)


def _cgroup_mounts(mountinfo: str) -> Iterator[tuple[Path, str, str]]:
    """(mount point, file system type, superblock options) of each below /sys/fs/cgroup."""
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(" - ")
        fields, details = mount.split(), filesystem.split()
        if len(details) < 3 or details[0] not in ("cgroup", "cgroup2"):
            continue
        target = Path(fields[4])
        if target == ROOT or ROOT in target.parents:
            yield target, details[0], details[2]


def own_group(hierarchy: Path) -> Path:
    """The group of this process below a v1 hierarchy's (or v2's) mount point."""
    controllers = next(
        (set(options.split(",")), kind)
        for target, kind, options in _cgroup_mounts(Path("/proc/self/mountinfo").read_text())
        if target == hierarchy
    )
    options, kind = controllers
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if (kind == "cgroup2" and not names) or (names and set(names.split(",")) <= options):
            return hierarchy / path.lstrip("/")
    raise FileNotFoundError(errno.ENOENT, "this process is in no group of", str(hierarchy))


SHARED_PARENT = "naru"
"""The group of all daemons' containers, unless --cgroup-parent names another."""


def refusal_of_parent(parent: str, *, systemd: bool) -> str | None:
    """Why `--cgroup-parent` cannot be that, in dockerd's words; "" is one that is not named."""
    if systemd and parent and (parent == ".slice" or not parent.endswith(".slice")):
        return 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
    return None


class Group(msgspec.Struct, frozen=True):
    """A container's group. `path` is absolute within each hierarchy: "/naru/<id>"."""

    hierarchies: Hierarchies
    path: str

    def directory(self, controller: str) -> Path | None:
        """Where a controller's files are; None when no such controller is mounted."""
        if self.hierarchies.mode is Mode.UNIFIED:
            root = self.hierarchies.v2
        else:
            root = self.hierarchies.v1.get(controller)
        return root / self.path.lstrip("/") if root is not None else None

    def pids(self) -> list[int]:
        """The processes in the group and below it."""
        directory = self.directory("pids") or self.directory("memory")
        found: list[int] = []
        if directory is not None:
            for parent, _, files in os.walk(directory):
                if "cgroup.procs" in files:
                    found += map(int, _words(Path(parent) / "cgroup.procs"))
        return sorted(found)

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for want of memory; 0 when it is unknown."""
        directory = self.directory("memory")
        if directory is None:
            return 0
        unified = self.hierarchies.mode is Mode.UNIFIED
        name = "memory.events" if unified else "memory.oom_control"
        return flat(directory / name).get("oom_kill", 0)

    def remove(self) -> None:
        """Remove the empty group from every hierarchy; no error when it is gone or in use."""
        for root in self.hierarchies.roots():
            directory = root / self.path.lstrip("/")
            for parent, _, _ in os.walk(directory, topdown=False, onerror=_must_be_gone):
                with contextlib.suppress(OSError):
                    Path(parent).rmdir()


def remove_shared_parent(hierarchies: Hierarchies) -> None:
    """Remove `/naru`, which runtimes make for the first container, where no container is in it."""
    for root in hierarchies.roots():
        with contextlib.suppress(OSError):  # not there, or another daemon's containers are
            (root / SHARED_PARENT).rmdir()


def _must_be_gone(error: OSError) -> None:
    """A group that cannot be looked into, for want of descriptors say, is not removed yet."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def flat(path: Path) -> dict[str, int]:
    """A "name value" file, such as memory.stat; empty when it is absent."""
    values: dict[str, int] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return values
    for line in lines:
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            values[name] = int(value)
    return values


def number(path: Path) -> int | None:
    """A file of one number; None when it is absent, or says "max"."""
    words = _words(path)
    return int(words[0]) if words and words[0].lstrip("-").isdigit() else None
