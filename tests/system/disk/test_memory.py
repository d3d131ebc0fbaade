"""Images far larger than what the daemon may take of memory: 300 MB pass through in pieces."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

MIB = 1 << 20
SIZE = 300 * MIB
MOST = 100 * MIB


def test_memory_is_bounded(own_daemon: Daemon, tmp_path: Path) -> None:
    root, archive = tmp_path / "root.tar", tmp_path / "image.tar"
    _write_root(root)
    registry = Registry(tmp_path / "registry", own_daemon.netns)
    name = f"{registry.address}/large"
    grown: dict[str, int] = {}
    try:
        for command in (
            ("import", str(root), name), ("push", name), ("save", "-o", str(archive), name),
            ("rmi", name), ("load", "-i", str(archive)), ("rmi", name), ("pull", name),
        ):  # fmt: skip
            before = _reset_peak(own_daemon)
            own_daemon.docker(*command)
            grown[command[0]] = _status(own_daemon, "VmHWM") - before
    finally:
        registry.close()
    assert max(grown.values()) < MOST, {key: f"{size >> 20} MiB" for key, size in grown.items()}


def _write_root(path: Path) -> None:
    noise = os.urandom(MIB)
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        for number in range(SIZE // MIB):
            at = number * 3389  # no two pieces alike
            file.write(noise[at:] + noise[:at])
    with tarfile.open(path, "w") as tar:
        tar.add(data, "data")
    data.unlink()


def _reset_peak(daemon: Daemon) -> int:
    """Forget the highest resident size so far -> that of now."""
    assert daemon.process is not None
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")
    return _status(daemon, "VmRSS")


def _status(daemon: Daemon, field: str) -> int:
    assert daemon.process is not None
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)
