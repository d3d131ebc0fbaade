"""What tests could leave behind on a machine, listed, so that before and after can be compared."""

from __future__ import annotations

import subprocess
from pathlib import Path

Leftovers = dict[str, frozenset[str]]


def snapshot() -> Leftovers:
    """Every mount, link, namespace, cgroup, nft table and Naru process there is now."""
    return {
        "mounts": frozenset(_mounts()),
        "links": frozenset(entry.name for entry in Path("/sys/class/net").iterdir()),
        "namespaces": frozenset(_names(Path("/run/netns"))),
        "cgroups": frozenset(_cgroups()),
        "nft tables": frozenset(_nft_tables()),
        "processes": frozenset(_processes()),
        "loop devices": frozenset(_loops()),
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
    """Groups made by Naru, in every hierarchy; the machine's own come and go.

    `naru` itself is all daemons' together and stays, empty, as dockerd's `docker` does.
    """
    top = Path("/sys/fs/cgroup")
    depths = ("*", "*/*", "*/*/*", "*/*/*/*")
    groups = [path for depth in depths for path in top.glob(depth) if path.is_dir()]
    ours = [path for path in groups if "naru" in path.name or "naru" in path.parent.name]
    return [str(path) for path in ours if path.name != "naru"]


def _nft_tables() -> list[str]:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return listed.stdout.splitlines()


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        text = b" ".join(argv).decode(errors="replace")
        if "bin/narud" in text or "supervisor_main" in text or "naru-test-" in text:
            found.append(f"{entry.name} {text.strip()}")
    return found


def _loops() -> list[str]:
    backing = Path("/sys/block").glob("loop*/loop/backing_file")
    return [f"{path.parts[3]} {path.read_text().strip()}" for path in backing]
