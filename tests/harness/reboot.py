"""What a machine's sudden end does to a daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.harness import aftermath
from tests.harness.daemon import Daemon


def reboot(daemon: Daemon) -> None:
    """All processes end at once, and what lived in memory is gone."""
    pids = [each["State"]["Pid"] for each in aftermath.containers(daemon, "running")]
    doomed = [*daemon.supervisor_pids(), *pids]
    daemon.kill()
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    for pid in doomed:
        aftermath.gone(pid)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith((f"{daemon.data_root}/", f"{daemon.exec_root}/")):
            subprocess.run(["umount", "--lazy", mount], check=True)
    subprocess.run(["rm", "-rf", "--one-file-system", str(daemon.exec_root)], check=True)
    for group in [child for top in daemon.cgroups() for child in top.iterdir() if child.is_dir()]:
        group.rmdir()
    daemon.netns.run("nft", "flush", "ruleset")
    daemon.netns.run("ip", "link", "delete", "naru0")
