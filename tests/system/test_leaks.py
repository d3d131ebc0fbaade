"""The clean-up after tests is itself tested: the snapshot sees what could be left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.leaks import left_behind, snapshot
from tests.harness.netns import NetworkNamespace


def test_a_namespace_and_a_mount_are_seen(needs_root: None, tmp_path: Path) -> None:
    before = snapshot()
    namespace = NetworkNamespace()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
    try:
        found = left_behind(before, snapshot())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
        namespace.close()
    assert f"mounts: {tmp_path}" in found
    assert f"mounts: {namespace.path}" in found
    assert left_behind(before, snapshot()) == []


def test_a_daemon_that_ran_containers_leaves_nothing(needs_root: None) -> None:
    before = snapshot()
    daemon = Daemon()
    try:
        daemon.start()
        daemon.make_busybox()
        daemon.docker("run", "--rm", "-p", "80", "-v", "vol:/v", "busybox", "true")
        daemon.docker("run", "-d", "-p", "8080:80", "busybox", "sleep", "60")
    finally:
        daemon.stop()
    assert left_behind(before, snapshot()) == []
    assert not daemon.root.exists()
