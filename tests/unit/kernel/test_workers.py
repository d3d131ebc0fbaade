"""Functions in processes of their own: results, errors, ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.kernel import worker_jobs

from naru.kernel.workers import WorkerLost, Workers
from naru.spec.errors import NotFound


def test_each_job_has_a_process_of_its_own(workers: Workers) -> None:
    numbers, pids = zip(*(workers.call(worker_jobs.whose, n) for n in range(3)), strict=True)
    assert numbers == (0, 1, 2)
    assert len({os.getpid(), *pids}) == 4


def test_errors_come_as_they_were_raised(workers: Workers) -> None:
    with pytest.raises(NotFound, match="no such thing"):
        workers.call(worker_jobs.refuse)


def test_an_error_that_cannot_be_pickled_keeps_its_text(workers: Workers) -> None:
    with pytest.raises(OSError, match="Odd: 1 and 2"):
        workers.call(worker_jobs.refuse_oddly)


def test_a_worker_that_is_killed(workers: Workers) -> None:
    with pytest.raises(WorkerLost):
        workers.call(worker_jobs.die)
    assert workers.call(worker_jobs.whose, 1)[0] == 1


def test_descriptors_are_handed_over_and_no_others(workers: Workers) -> None:
    source, feed = os.pipe()
    result, out = os.pipe()
    with workers.begin([source, out], worker_jobs.double, 3) as job:
        os.close(source)
        os.close(out)
        os.write(feed, b"abc")
        os.close(feed)
        assert os.read(result, 100) == b"abcabcabc"
        assert job.result() == 3
    os.close(result)
    own = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert "/dev/zero" not in workers.call(worker_jobs.opened)
    finally:
        os.close(own)


def test_a_job_that_is_left_is_killed(workers: Workers) -> None:
    told, tell = os.pipe()
    silent, mute = os.pipe()
    with workers.begin([tell, silent], worker_jobs.tell_and_wait):
        pid = int(os.read(told, 20))
    assert not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text()
    for fd in (told, tell, silent, mute):
        os.close(fd)


def test_after_the_parent_of_workers_has_died(workers: Workers) -> None:
    workers.call(worker_jobs.whose, 1)
    process = workers._process
    assert process is not None
    process.kill()
    process.wait()
    assert workers.call(worker_jobs.whose, 2)[0] == 2


_DAEMON = """
import os, sys
sys.path[:] = {path!r}
from pathlib import Path
from naru.kernel.workers import Workers
from tests.unit.kernel import worker_jobs
told, tell = os.pipe()
silent, mute = os.pipe()
workers = Workers(Path({lock!r}))
job = workers.begin([tell, silent], worker_jobs.tell_and_wait)
print(os.read(told, 20).decode(), flush=True)
job.result()
"""


def test_workers_end_with_the_daemon_and_the_next_one_waits_for_that(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    source = _DAEMON.format(path=sys.path, lock=str(lock))
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        worker = os.pidfd_open(pid)
        with lock.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        daemon.send_signal(signal.SIGKILL)
    Workers(lock).await_former()
    assert select.select([worker], [], [], 20)[0]
    os.close(worker)
