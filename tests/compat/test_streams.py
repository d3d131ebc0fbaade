"""Streams by the stock CLI: logs, attach, exec, terminals, detach keys."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pexpect
import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon


def spawn(daemon: Daemon, *argv: str) -> pexpect.spawn[str]:
    """The docker CLI in a pseudo-terminal of 40 rows by 100 columns."""
    return pexpect.spawn(
        "docker", ["-H", daemon.host, *argv], timeout=60, dimensions=(40, 100), encoding="utf-8"
    )


def test_interactive_run_in_a_terminal(daemon: Daemon) -> None:
    shell = spawn(daemon, "run", "--rm", "-it", "busybox")
    shell.expect("/ # ")
    shell.sendline("tty && stty size")
    shell.expect("/dev/pts/0")
    shell.expect("40 100")
    shell.sendline("exit 5")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5


def test_terminal_resize_reaches_the_container(daemon: Daemon) -> None:
    shell = spawn(daemon, "run", "--rm", "-it", "busybox")
    shell.expect("/ # ")
    shell.setwinsize(33, 77)
    shell.sendline(
        "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; echo resized $((40 + 2))"
    )
    # The client begins to listen for the signal some time after the prompt; nobody sees when.
    for _ in range(60):
        if shell.expect(["resized 42", pexpect.TIMEOUT], timeout=1) == 0:
            break
        shell.kill(signal.SIGWINCH)
    else:
        pytest.fail("the size does not arrive")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


def test_detach_keys_leave_it_running(daemon: Daemon) -> None:
    shell = spawn(daemon, "run", "--name", "left", "-it", "busybox")
    shell.expect("/ # ")
    shell.send("\x10\x11")
    shell.expect(pexpect.EOF)
    shell.close()
    assert daemon.docker("inspect", "-f", "{{.State.Running}}", "left").stdout == "true\n"
    again = spawn(daemon, "attach", "left")
    again.sendline("echo back $((20 + 3))")
    again.expect("back 23")
    again.sendline("exit 3")
    again.expect(pexpect.EOF)
    again.close()
    assert again.exitstatus == 3
    daemon.docker("rm", "left")


def test_exec_in_a_terminal(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "host", "busybox", "sleep", "60")
    shell = spawn(daemon, "exec", "-it", "host", "sh")
    shell.expect("/ # ")
    shell.sendline("echo $((40 + 2)); exit 9")
    shell.expect("42")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 9
    daemon.docker("rm", "-f", "host")


@pytest.fixture
def sleeper(daemon: Daemon):  # type: ignore[no-untyped-def]
    daemon.docker("run", "-d", "--name", "ss", "busybox", "sleep", "60")
    yield "ss"
    daemon.docker("rm", "-f", "ss")


def test_exec(daemon: Daemon, sleeper: str) -> None:
    done = daemon.docker("exec", sleeper, "sh", "-c", "echo out; echo err >&2; exit 4", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (4, "out\n", "err\n")
    assert daemon.docker("exec", "-i", sleeper, "cat", input="through\n").stdout == "through\n"
    assert daemon.docker(
        "exec", "-e", "X=1", "-w", "/etc", sleeper, "sh", "-c", "echo $X; pwd"
    ).stdout == ("1\n/etc\n")
    assert daemon.docker("exec", "-u", "nobody", sleeper, "id", "-un").stdout == "nobody\n"
    done = daemon.docker("exec", sleeper, "nosuch", check=False)
    assert done.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stdout + done.stderr
    done = daemon.docker("exec", sleeper, "/etc/passwd", check=False)
    assert done.returncode == 126
    daemon.docker("exec", "-d", sleeper, "touch", "/made")
    daemon.docker("exec", sleeper, "sh", "-c", "until [ -e /made ]; do sleep 0.05; done")


def test_exec_in_a_stopped_container(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "still", "busybox")
    done = daemon.docker("exec", "still", "true", check=False)
    assert done.returncode == 1
    assert "is not running" in done.stderr
    daemon.docker("rm", "still")


def test_logs(daemon: Daemon) -> None:
    # The order of two pipes is nobody's promise, so each line is there before the next is written.
    script = "mkfifo /go; echo one; read x < /go; echo two >&2; read x < /go; echo three"
    daemon.docker("run", "-d", "--name", "ll", "busybox", "sh", "-c", script)
    for line in ("one\n", "two\n"):
        until(lambda line=line: line in (seen := daemon.docker("logs", "ll")).stdout + seen.stderr)
        daemon.docker("exec", "ll", "sh", "-c", "echo > /go")
    assert daemon.docker("wait", "ll").stdout == "0\n"
    done = daemon.docker("logs", "ll")
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
    assert daemon.docker("logs", "--tail", "1", "ll").stdout == "three\n"
    stamped = daemon.docker("logs", "-t", "--tail", "1", "ll").stdout
    stamp, text = stamped.split(" ", 1)
    assert text == "three\n"
    assert stamp.endswith("Z")
    assert len(stamp) == 30
    assert daemon.docker("logs", "--since", "2100-01-01T00:00:00Z", "ll").stdout == ""
    assert daemon.docker("logs", "--until", "2000-01-01T00:00:00Z", "ll").stdout == ""
    daemon.docker("rm", "ll")


def test_logs_follow_until_the_end(daemon: Daemon) -> None:
    daemon.docker(
        "run",
        "-d",
        "--name",
        "ff",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done",
    )
    assert daemon.docker("logs", "-f", "ff").stdout == "1\n2\n3\n4\n5\n"
    daemon.docker("rm", "ff")


def test_a_long_line_and_one_without_an_end(daemon: Daemon) -> None:
    daemon.docker(
        "run",
        "--name",
        "long",
        "busybox",
        "sh",
        "-c",
        "head -c 100000 /dev/zero | tr '\\0' x; printf end",
    )
    assert daemon.docker("logs", "long").stdout == "x" * 100_000 + "end"
    daemon.docker("rm", "long")


def test_attach_sees_output_and_exit_code(daemon: Daemon) -> None:
    command = "read line; echo got $line; exit 6"
    daemon.docker("run", "-d", "-i", "--name", "aa", "busybox", "sh", "-c", command)
    client = subprocess.Popen(
        ["docker", "-H", daemon.host, "attach", "aa"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin is not None
    assert client.stdout is not None
    # As in Docker the end of the input would end the attach, so it stays open.
    client.stdin.write(b"hello\n")
    client.stdin.flush()
    assert client.stdout.read() == b"got hello\n"
    assert client.wait(timeout=60) == 6
    client.stdin.close()
    client.stdout.close()
    daemon.docker("rm", "aa")


def test_a_stalled_client_does_not_stop_the_container(daemon: Daemon) -> None:
    reader = subprocess.Popen(
        ["docker", "-H", daemon.host, "run", "--name", "chatty", "busybox", "sh", "-c",
         "head -c 30000000 /dev/zero | tr '\\0' '\\n'; touch /done; sleep 60"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert reader.stdout is not None
        os.read(reader.stdout.fileno(), 1)  # it has begun; now read no more
        daemon.docker(
            "exec", "chatty", "sh", "-c", "until [ -e /done ]; do sleep 0.1; done", timeout=90
        )
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()  # type: ignore[union-attr]
        daemon.docker("rm", "-f", "chatty")


def test_events_live_and_from_the_past(daemon: Daemon) -> None:
    begun = f"{time.time():.9f}"
    done = daemon.docker(
        "run", "--rm", "--name", "ev", "busybox", "sh", "-c", "exit 2", check=False
    )
    assert done.returncode == 2
    argv = ["events", "--since", begun, "--filter", "container=ev", "--format", "{{.Action}}"]
    past = daemon.docker(*argv, "--until", f"{time.time():.9f}").stdout.split()
    assert past == ["create", "attach", "start", "die", "destroy"]
    watcher = subprocess.Popen(
        ["docker", "-H", daemon.host, *argv], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watcher.stdout is not None
        assert [watcher.stdout.readline().strip() for _ in past] == past  # so it is live now
        daemon.docker("create", "--name", "ev", "busybox")
        assert watcher.stdout.readline() == "create\n"
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()  # type: ignore[union-attr]
        daemon.docker("rm", "ev")


def test_cp_both_ways(daemon: Daemon, sleeper: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").write_text("carried\n")
    daemon.docker("cp", str(tmp_path / "in"), f"{sleeper}:/tmp/there")
    assert daemon.docker("exec", sleeper, "cat", "/tmp/there").stdout == "carried\n"
    daemon.docker("cp", f"{sleeper}:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "carried\n"
