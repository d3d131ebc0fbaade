"""What tests could leave behind on a machine, listed, so that before and after can be compared.

On a machine of its own (CI is set) all that appears during a session counts. Elsewhere others may
run tests, too: there only what can be told to be this session's own counts. All that a session
makes in the file system is below `SCRATCH`, and its containers' groups are below a group with the
session's pid in its name.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

Leftovers = dict[str, frozenset[str]]

SCRATCH = Path(f"/tmp/naru-t{os.getpid()}")
"""Short: Unix sockets are made below it, and their addresses have 107 bytes."""

GROUP = f"naru-test-{os.getpid()}"
"""The first part of the names of the session's cgroups."""

_CGROUP_DEPTH = 6  # slashes of the paths that are looked into


def snapshot(*, alone: bool = bool(os.environ.get("CI"))) -> Leftovers:
    """Every mount, link, namespace, cgroup, nft table and Naru process there is now.

    Without `alone` only this session's: links, namespaces and tables, which belong to nobody, are
    left out. A session's daemons have them in network namespaces of their own, which are mounts.
    """
    found = {
        "mounts": frozenset(_mounts()),
        "cgroups": frozenset(_cgroups()),
        "processes": frozenset(_processes()),
        "loop devices": frozenset(_loops()),
    }
    if not alone:
        return {
            kind: frozenset(each for each in items if f"{SCRATCH}/" in each or GROUP in each)
            for kind, items in found.items()
        }
    return found | {
        "links": frozenset(entry.name for entry in Path("/sys/class/net").iterdir()),
        "namespaces": frozenset(_names(Path("/run/netns"))),
        "nft tables": frozenset(_nft_tables()),
    }


def left_behind(before: Leftovers, after: Leftovers) -> list[str]:
    """What is in `after` and was not in `before`, a line each."""
    return [f"{kind}: {item}" for kind in after for item in sorted(after[kind] - before[kind])]


def _mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [fields[4] for fields in map(str.split, lines)]


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _cgroups() -> list[str]:
    """Groups made by Naru, in every hierarchy; the machine's own come and go."""
    found = []
    for folder, names, _files in os.walk("/sys/fs/cgroup"):  # passes over what vanishes meanwhile
        if folder.count("/") >= _CGROUP_DEPTH:
            names.clear()
        parent = os.path.basename(folder)
        found += [f"{folder}/{name}" for name in names if "naru" in f"{name} {parent}"]
    return found


def _nft_tables() -> list[str]:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return listed.stdout.splitlines()


def _processes() -> list[str]:
    """Daemons, supervisors, and whatever runs in a container of a session or for one."""
    return [
        f"{entry.name} {' '.join(signs)}"
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and (signs := list(_signs(entry)))
    ]


def _signs(process: Path) -> Iterator[str]:
    """By what a process is known to be Naru's: its command line, or the root that it sees."""
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        mounts = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return  # it ended while we looked
    if any(sign in command for sign in ("bin/narud", "supervisor_process", "/tmp/naru-")):
        yield command.strip()
    roots = [line for line in mounts if line.split()[4] == "/"]
    if roots and "/tmp/naru-" in roots[-1]:
        yield roots[-1]


def _loops() -> list[str]:
    backing = Path("/sys/block").glob("loop*/loop/backing_file")
    return [f"{path.parts[3]} {path.read_text().strip()}" for path in backing]
