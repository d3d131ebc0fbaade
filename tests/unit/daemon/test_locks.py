from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from naru.daemon import locks
from naru.daemon.locks import LockError


def test_the_pid_file_is_there_while_held(tmp_path: Path) -> None:
    pidfile = tmp_path / "run" / "n.pid"
    with locks.held(data_root=tmp_path / "data", pidfile=pidfile):
        assert pidfile.read_text() == str(os.getpid())
    assert not pidfile.exists()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == []


def test_a_second_daemon_on_the_data_root_is_refused(tmp_path: Path) -> None:
    with (
        locks.held(data_root=tmp_path, pidfile=tmp_path / "1.pid"),
        pytest.raises(LockError, match=rf"data root {tmp_path} is in use by another daemon"),
        locks.held(data_root=tmp_path, pidfile=tmp_path / "2.pid"),
    ):
        pass
    with locks.held(data_root=tmp_path, pidfile=tmp_path / "2.pid"):
        pass


def sleeper(name: str) -> subprocess.Popen[bytes]:
    """A process that is called `name`."""
    process = subprocess.Popen([name, "60"], executable="/bin/sleep")
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        pass  # its execve has closed our descriptors, and not yet set its arguments
    return process


def test_a_living_daemon_in_the_pid_file_is_refused(tmp_path: Path) -> None:
    pidfile = tmp_path / "n.pid"
    daemon = sleeper("narud")
    try:
        pidfile.write_text(str(daemon.pid))
        with (
            pytest.raises(LockError) as caught,
            locks.held(data_root=tmp_path, pidfile=pidfile),
        ):
            pass
    finally:
        daemon.kill()
        daemon.wait()
    text = f"pid file found, ensure docker is not running or delete {pidfile}"
    assert str(caught.value) == text
    assert pidfile.exists()


def test_a_number_that_another_program_got_is_no_daemon(tmp_path: Path) -> None:
    pidfile = tmp_path / "n.pid"
    other = sleeper("sleep")
    try:
        pidfile.write_text(str(other.pid))
        with locks.held(data_root=tmp_path, pidfile=pidfile):
            assert pidfile.read_text() == str(os.getpid())
    finally:
        other.kill()
        other.wait()


def test_a_dead_daemon_that_nobody_reaped_is_no_daemon(tmp_path: Path) -> None:
    pidfile = tmp_path / "n.pid"
    daemon = sleeper("narud")
    daemon.kill()
    os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
    try:
        pidfile.write_text(str(daemon.pid))
        with locks.held(data_root=tmp_path, pidfile=pidfile):
            assert pidfile.read_text() == str(os.getpid())
    finally:
        daemon.wait()


@pytest.mark.parametrize("content", ["", "x", "dead", "self"])
def test_a_stale_pid_file_is_replaced(tmp_path: Path, content: str) -> None:
    if content == "dead":
        done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        content = done.stdout
    if content == "self":
        content = str(os.getpid())  # a container's daemon often has the pid it had before
    pidfile = tmp_path / "n.pid"
    pidfile.write_text(content)
    with locks.held(data_root=tmp_path, pidfile=pidfile):
        assert pidfile.read_text() == str(os.getpid())


def test_no_pid_file_where_none_is_wanted(tmp_path: Path) -> None:
    with locks.held(data_root=tmp_path, pidfile=Path()):
        assert [p.name for p in tmp_path.iterdir()] == ["daemon.lock"]


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    with locks.held(data_root=tmp_path, pidfile=Path()):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with locks.held(data_root=tmp_path, pidfile=Path()):
            pass
    finally:
        child.kill()
        child.wait()
