"""What ends a daemon otherwise than by `kill -9`, and what wears it out."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.harness import aftermath
from tests.harness.daemon import Daemon, busybox_tar
from tests.harness.reboot import reboot

TICKS = "i=0; while [ $i -lt {n} ]; do echo $i; i=$((i+1)); sleep 0.02; done; exit {code}"


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.docker("inspect", name).stdout)[0]["State"]
    return found


def test_containers_run_on_through_an_orderly_stop(own_daemon: Daemon) -> None:
    ticks = TICKS.format(n=40, code=3)
    own_daemon.docker("run", "-d", "--name", "ticks", "busybox", "sh", "-c", ticks)
    own_daemon.docker("run", "-d", "-i", "--name", "waits", "-p", "80", "busybox", "cat")
    port = own_daemon.docker("port", "waits").stdout
    pid = state(own_daemon, "waits")["Pid"]
    assert own_daemon.terminate() == 0
    assert Path(f"/proc/{pid}").exists()
    own_daemon.start()
    assert state(own_daemon, "waits")["Pid"] == pid
    assert own_daemon.docker("port", "waits").stdout == port
    assert own_daemon.docker("exec", "waits", "echo", "within").stdout == "within\n"
    assert own_daemon.docker("wait", "ticks").stdout == "3\n"
    assert own_daemon.docker("logs", "ticks").stdout == "".join(f"{i}\n" for i in range(40))
    assert aftermath.left_over(own_daemon) == []


def test_a_reboot(own_daemon: Daemon) -> None:
    """As after dockerd's power loss: 255, and the restart policies decide what starts."""
    run = ("run", "-d", "-p", "80", "-v", "named:/v")
    for name in ("no", "always", "unless-stopped", "on-failure"):
        own_daemon.docker(*run, "--name", name, "--restart", name, "busybox", "sleep", "1000")
    stopped = ("run", "-d", "--name", "stopped", "--restart", "unless-stopped")
    own_daemon.docker(*stopped, "busybox", "sleep", "1000")
    own_daemon.docker("stop", "-t", "0", "stopped")
    own_daemon.docker("run", "-d", "--rm", "--name", "passing", "busybox", "sleep", "1000")
    own_daemon.docker("run", "--name", "ended", "busybox", "sh", "-c", "exit 6", check=False)
    own_daemon.docker("create", "--name", "never", "busybox")
    reboot(own_daemon)
    own_daemon.start()
    for name in ("always", "unless-stopped", "on-failure"):
        aftermath.until(lambda name=name: state(own_daemon, name)["Status"] == "running")
        assert own_daemon.docker("port", name).stdout
    lost = state(own_daemon, "no")
    assert (lost["Status"], lost["ExitCode"]) == ("exited", 255)
    assert state(own_daemon, "stopped")["Status"] == "exited"
    assert state(own_daemon, "ended")["ExitCode"] == 6
    assert state(own_daemon, "never")["Status"] == "created"
    names = own_daemon.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert "passing" not in names
    assert own_daemon.docker("start", "no").stdout == "no\n"
    assert aftermath.strangers(own_daemon) == []
    assert aftermath.left_over(own_daemon) == []


def test_a_kill_during_an_import(own_daemon: Daemon) -> None:
    """Neither half an image nor half a layer is left, and the next import succeeds."""
    client = subprocess.Popen(
        ["docker", "-H", own_daemon.host, "import", "-", "cut"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdin is not None
    before = _files(own_daemon.data_root)
    half = busybox_tar()[: len(busybox_tar()) // 2]
    client.stdin.write(half)
    client.stdin.flush()
    aftermath.until(lambda: _files(own_daemon.data_root) != before)
    own_daemon.kill()
    client.stdin.close()
    client.wait(timeout=10)
    own_daemon.start()
    aftermath.until(lambda: _files(own_daemon.data_root) == before)
    assert "cut" not in own_daemon.docker("images").stdout
    own_daemon.docker("import", "-", "cut", input=busybox_tar())
    assert own_daemon.docker("run", "--rm", "cut", "echo", "whole").stdout == "whole\n"


def _files(root: Path) -> set[str]:
    """What an import makes, but for the records."""
    return {
        str(path) for part in ("blobs", "overlay2") for path in (root / part).rglob("*")
        if "/diff/" not in str(path)
    }  # fmt: skip


def more_files(pids: Sequence[int], before: Sequence[Counter[str]]) -> list[Counter[str]]:
    more = (aftermath.open_files(pid) - had for pid, had in zip(pids, before, strict=True))
    return [each for each in more if each]


def test_fifty_runs_wear_nothing_out(own_daemon: Daemon) -> None:
    """Descriptors and memory of daemon and supervisor are the same after the runs as before."""

    def runs(count: int) -> None:
        for _ in range(count):
            argv = ("--rm", "-p", "80", "-v", "/v", "busybox", "echo", "x")
            assert own_daemon.docker("run", *argv).stdout == "x\n"

    runs(15)
    own_daemon.docker("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
    own_daemon.docker("exec", "stays", "true")
    assert own_daemon.process is not None
    pids = (own_daemon.process.pid, *own_daemon.supervisor_pids())
    files = [aftermath.open_files(pid) for pid in pids]
    memory = [aftermath.resident(pid) for pid in pids]
    other = threading.Thread(target=runs, args=(25,))
    other.start()
    runs(25)
    other.join()
    for _ in range(5):
        own_daemon.docker("exec", "stays", "true")
    aftermath.empty(lambda: more_files(pids, files))
    grown = [aftermath.resident(pid) - before for pid, before in zip(pids, memory, strict=True)]
    assert grown[0] < 4 << 20, grown
    assert grown[1] < 512 << 10, grown


def test_without_descriptors_left(own_daemon: Daemon) -> None:
    """What cannot be done fails; what runs goes on; with descriptors again all is well."""
    ticks = TICKS.format(n=100, code=3)
    own_daemon.docker("run", "-d", "--name", "ticks", "busybox", "sh", "-c", ticks)
    assert own_daemon.process is not None
    for pid in (*own_daemon.supervisor_pids(), own_daemon.process.pid):
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(entry) for entry in os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1, limits[1]))
        for _ in range(3):
            with suppress(subprocess.TimeoutExpired):
                own_daemon.docker("run", "--rm", "busybox", "true", check=False, timeout=5)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert own_daemon.docker("run", "--rm", "busybox", "echo", "x").stdout == "x\n"
    assert own_daemon.docker("wait", "ticks").stdout == "3\n"
    assert own_daemon.docker("logs", "ticks").stdout == "".join(f"{i}\n" for i in range(100))
    assert aftermath.left_over(own_daemon) == []
