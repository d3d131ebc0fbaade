"""kill -9 of the daemon and of the supervisor during a storm of commands loses nothing.

Afterwards every container that exists has its whole log and its right exit code, and once the
containers are removed nothing is left: no mount, namespace, cgroup, link, rule or directory.

NARU_FAULT_ROUNDS makes the storms longer, NARU_FAULT_SEED makes other ones.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from tests.harness import aftermath
from tests.harness.daemon import Daemon
from tests.harness.leaks import left_behind, snapshot
from tests.harness.storm import Storm

ROUNDS = int(os.environ.get("NARU_FAULT_ROUNDS", "60"))
SEED = int(os.environ.get("NARU_FAULT_SEED", "1"))


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


def kill_supervisor(daemon: Daemon) -> None:
    for pid in daemon.supervisor_pids():
        os.kill(pid, signal.SIGKILL)


def kill_daemon(daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def kill_both(daemon: Daemon) -> None:
    kill_supervisor(daemon)
    kill_daemon(daemon)


KILLS = {"daemon": kill_daemon, "supervisor": kill_supervisor, "both": kill_both}


@pytest.mark.parametrize(
    "victims", [("daemon",), ("supervisor",), ("daemon", "supervisor", "both")]
)
def test_kills_in_a_storm_lose_nothing(stormy: Daemon, victims: tuple[str, ...]) -> None:
    chance = random.Random(SEED)
    storm = Storm(stormy, seed=SEED, rounds=ROUNDS).start()
    while storm.goes_on(commands=chance.randrange(1, 4)):
        time.sleep(chance.uniform(0, 0.3))  # into those under way; any moment will do
        victim = chance.choice(victims)
        storm.kill(KILLS[victim], victims=victim)
    storm.join()
    print(f"seed {SEED}: {len(storm.made)} containers, {storm.deaths} kills")
    aftermath.settle(stormy)
    broken = aftermath.broken_promises(storm) or aftermath.strangers(stormy)
    broken += aftermath.left_over(stormy) + aftermath.crashes(stormy)
    assert not broken, "\n".join([f"seed {SEED}", *broken])
