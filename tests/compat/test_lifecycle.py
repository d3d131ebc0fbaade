"""The verbs on a container that exists: stop, kill, restart, rename, rm, wait, top, ps."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon


@pytest.fixture
def sleeper(daemon: Daemon):  # type: ignore[no-untyped-def]
    """A running container named `cc` with a command that ends on TERM."""
    command = "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done"
    daemon.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", command)
    await_log(daemon, "cc", "up\n")  # a start is answered before the command has begun
    yield "cc"
    daemon.docker("rm", "-f", "-v", "cc", check=False)


def await_log(daemon: Daemon, ref: str, text: str) -> None:
    until(lambda: daemon.docker("logs", ref).stdout == text)


def state(daemon: Daemon, ref: str, field: str) -> str:
    return daemon.docker("inspect", "-f", f"{{{{.State.{field}}}}}", ref).stdout.strip()


def test_stop_sends_the_stop_signal(daemon: Daemon, sleeper: str) -> None:
    assert daemon.docker("stop", sleeper).stdout == "cc\n"
    assert (state(daemon, sleeper, "Status"), state(daemon, sleeper, "ExitCode")) == ("exited", "7")


def test_stop_kills_after_the_timeout(daemon: Daemon) -> None:
    daemon.docker(
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    )
    daemon.docker("stop", "-t", "1", "deaf")
    assert state(daemon, "deaf", "ExitCode") == "137"
    daemon.docker("rm", "deaf")


def test_start_again_and_logs_accumulate(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("stop", sleeper)
    daemon.docker("start", sleeper)
    assert state(daemon, sleeper, "Status") == "running"
    await_log(daemon, sleeper, "up\nup\n")
    daemon.docker("stop", sleeper)
    assert daemon.docker("logs", sleeper).stdout == "up\nup\n"
    assert state(daemon, sleeper, "ExitCode") == "7"


def test_restart(daemon: Daemon, sleeper: str) -> None:
    pid = state(daemon, sleeper, "Pid")
    daemon.docker("restart", "-t", "1", sleeper)
    assert state(daemon, sleeper, "Pid") not in (pid, "0")


def test_kill_of_a_stopped_container(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("stop", sleeper)
    done = daemon.docker("kill", sleeper, check=False)
    assert done.returncode == 1
    assert "is not running" in done.stderr


def test_pause_and_unpause(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("pause", sleeper)
    assert state(daemon, sleeper, "Status") == "paused"
    assert "(Paused)" in daemon.docker("ps").stdout
    done = daemon.docker("exec", sleeper, "true", check=False)
    assert "is paused, unpause the container before exec" in done.stderr
    daemon.docker("unpause", sleeper)
    assert state(daemon, sleeper, "Status") == "running"


def test_rename(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("rename", sleeper, "renamed")
    assert daemon.docker("ps", "--format", "{{.Names}}").stdout == "renamed\n"
    daemon.docker("rename", "renamed", "cc")


def test_remove_of_a_running_container(daemon: Daemon, sleeper: str) -> None:
    done = daemon.docker("rm", sleeper, check=False)
    assert done.returncode == 1
    assert "container is running: stop the container before removing or force remove" in done.stderr
    daemon.docker("rm", "-f", sleeper)
    assert daemon.docker("ps", "-aq").stdout == ""


def test_wait_for_several(daemon: Daemon) -> None:
    for code in (3, 4):
        daemon.docker(
            "run", "-d", "--name", f"w{code}", "busybox", "sh", "-c", f"sleep 0.3; exit {code}"
        )
    assert daemon.docker("wait", "w3", "w4").stdout == "3\n4\n"
    daemon.docker("rm", "w3", "w4")


def test_top_lists_the_processes(daemon: Daemon, sleeper: str) -> None:
    lines = daemon.docker("top", sleeper).stdout.splitlines()
    assert lines[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any("while :" in line for line in lines[1:])


def test_ps_and_its_filters(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("create", "--name", "made", "--label", "kind=boat", "busybox", "true")
    names = ["ps", "-a", "--format", "{{.Names}}"]
    assert daemon.docker(*names).stdout.split() == ["made", "cc"]
    assert daemon.docker(*names, "-f", "status=created").stdout.split() == ["made"]
    assert daemon.docker(*names, "-f", "label=kind=boat").stdout.split() == ["made"]
    assert daemon.docker(*names, "-f", "name=^/cc$").stdout.split() == ["cc"]
    assert daemon.docker(*names, "-f", "ancestor=busybox").stdout.split() == ["made", "cc"]
    assert daemon.docker(*names, "-f", "before=made").stdout.split() == ["cc"]
    done = daemon.docker(*names, "-f", "nosuch=1", check=False)
    assert "invalid filter 'nosuch'" in done.stderr
    daemon.docker("rm", "made")


def test_inspect_has_what_scripts_read(daemon: Daemon, sleeper: str) -> None:
    shown = json.loads(daemon.docker("inspect", sleeper).stdout)[0]
    assert shown["Name"] == "/cc"
    assert shown["State"]["Running"] is True
    assert shown["Config"]["Image"] == "busybox"
    assert shown["HostConfig"]["NetworkMode"] in ("default", "bridge")
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].startswith("172.")
    assert set(shown["GraphDriver"]["Data"]) >= {"LowerDir", "UpperDir", "WorkDir", "MergedDir"}
    assert shown["LogPath"].endswith("-json.log")


def test_an_unknown_container(daemon: Daemon) -> None:
    done = daemon.docker("start", "nosuch", check=False)
    assert done.returncode == 1
    assert "No such container: nosuch" in done.stderr


def test_restart_policy_on_failure(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "false")
    events = subprocess.Popen(
        ["docker", "-H", daemon.host, "events", "--since", "0", "--filter", "container=again",
         "--filter", "event=die", "--format", "{{.Action}}"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert events.stdout is not None
        for _ in range(3):
            assert events.stdout.readline() == "die\n"
    finally:
        events.kill()
        events.wait()
        events.stdout.close()  # type: ignore[union-attr]
    assert daemon.docker("wait", "again").stdout == "1\n"
    assert daemon.docker("inspect", "-f", "{{.RestartCount}}", "again").stdout == "2\n"
    daemon.docker("rm", "-f", "again")


def test_update_limits_of_a_running_container(daemon: Daemon, sleeper: str) -> None:
    daemon.docker("update", "--pids-limit", "50", sleeper)
    assert daemon.docker("inspect", "-f", "{{.HostConfig.PidsLimit}}", sleeper).stdout == "50\n"


def test_stats_once(daemon: Daemon, sleeper: str) -> None:
    line = daemon.docker("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", sleeper).stdout
    assert line.split()[0] == "cc"
    assert int(line.split()[1]) >= 1


def test_prune(daemon: Daemon) -> None:
    cid = daemon.docker("create", "busybox").stdout.strip()
    assert cid in daemon.docker("container", "prune", "-f").stdout
    assert daemon.docker("ps", "-aq").stdout == ""
