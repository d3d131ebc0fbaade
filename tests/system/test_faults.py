"""kill -9 of the daemon and of the supervisor during a storm of runs loses nothing.

Afterwards every container that exists has its whole log and its right exit code, and once the
containers are removed nothing is left: no mount, namespace, cgroup, link, rule or directory.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.leaks import left_behind, snapshot

RUNS = 30
KILLS = 6
SEED = int(os.environ.get("NARU_FAULT_SEED", "0")) or random.randrange(1 << 32)


@pytest.fixture
def stormy(needs_root: None) -> Iterator[Daemon]:
    before = snapshot()
    daemon = Daemon()
    try:
        daemon.start()
        daemon.make_busybox()
        yield daemon
    finally:
        daemon.stop()
    assert left_behind(before, snapshot()) == []


def script(number: int) -> str:
    pause = number % 5 * 0.2
    return f"echo begin {number}; sleep {pause}; echo end {number}; exit {number % 7}"


def storm(daemon: Daemon, done: threading.Event) -> None:
    """Start RUNS containers, whatever happens to the daemon meanwhile."""
    try:
        for number in range(RUNS):
            daemon.docker(
                "run", "-d", "--name", f"s{number}", "-p", "80", "busybox", "sh", "-c", script(number),
                check=False,
            )  # fmt: skip
    finally:
        done.set()


def containers(daemon: Daemon) -> list[dict[str, object]]:
    ids = daemon.docker("ps", "-aq", "--no-trunc").stdout.split()
    return json.loads(daemon.docker("inspect", *ids).stdout) if ids else []


def settle(daemon: Daemon) -> None:
    """Wait until no container runs any more."""
    running = daemon.docker("ps", "-q").stdout.split()
    if running:
        daemon.docker("wait", *running, timeout=60)


def check_all(daemon: Daemon) -> int:
    """Every container that has run has its whole log and its exit code -> how many have."""
    ran = 0
    for container in containers(daemon):
        name = str(container["Name"]).lstrip("/s")
        state = container["State"]
        assert isinstance(state, dict)
        assert state["Status"] in ("exited", "created"), state
        if state["Status"] == "exited" and state["StartedAt"] > "0002":
            number = int(name)
            logs = daemon.docker("logs", f"s{number}").stdout
            assert logs == f"begin {number}\nend {number}\n", f"seed {SEED}: {container['Name']}"
            assert state["ExitCode"] == number % 7, f"seed {SEED}: {container['Name']}"
            ran += 1
    return ran


def check_nothing_left(daemon: Daemon) -> None:
    ids = daemon.docker("ps", "-aq").stdout.split()
    if ids:
        daemon.docker("rm", "-f", *ids)
    deadline = time.monotonic() + 20
    while remains(daemon):
        assert time.monotonic() < deadline, remains(daemon)
        time.sleep(0.05)  # tear-down goes on behind the answer, and tells nobody when it ends


def remains(daemon: Daemon) -> list[str]:
    """What removed containers could have left in the daemon's roots and the kernel."""
    folders = [
        daemon.data_root / "containers",
        daemon.exec_root / "containers",
        daemon.exec_root / "netns",
    ]
    left = [str(path) for folder in folders if folder.is_dir() for path in folder.iterdir()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    left += [line.split()[4] for line in mounts if f"{daemon.data_root}/" in line.split()[4]]
    left += [
        line for line in daemon.netns.run("ip", "-o", "link").stdout.splitlines() if "veth" in line
    ]
    return left


def test_kill_of_the_daemon_in_a_storm(stormy: Daemon) -> None:
    chance = random.Random(SEED)
    done = threading.Event()
    runner = threading.Thread(target=storm, args=(stormy, done))
    runner.start()
    kills = 0
    while kills < KILLS and not done.wait(chance.uniform(0.1, 0.5)):
        stormy.kill()
        stormy.start()
        kills += 1
    runner.join(timeout=90)
    assert not runner.is_alive()
    settle(stormy)
    assert check_all(stormy) > 0
    check_nothing_left(stormy)


def test_kill_of_the_supervisor_in_a_storm(stormy: Daemon) -> None:
    chance = random.Random(SEED)
    done = threading.Event()
    runner = threading.Thread(target=storm, args=(stormy, done))
    runner.start()
    kills = 0
    while kills < KILLS and not done.wait(chance.uniform(0.1, 0.5)):
        for pid in stormy.supervisor_pids():
            os.kill(pid, signal.SIGKILL)
        kills += 1
    runner.join(timeout=90)
    assert not runner.is_alive()
    settle(stormy)
    assert check_all(stormy) > 0
    check_nothing_left(stormy)


def test_a_running_container_survives_both_deaths(stormy: Daemon) -> None:
    stormy.docker(
        "run",
        "-d",
        "--name",
        "s5",
        "busybox",
        "sh",
        "-c",
        "echo begin 5; sleep 2; echo end 5; exit 5",
    )
    for pid in stormy.supervisor_pids():
        os.kill(pid, signal.SIGKILL)
    stormy.kill()
    stormy.start()
    assert stormy.docker("wait", "s5").stdout == "5\n"
    check_nothing_left(stormy)
