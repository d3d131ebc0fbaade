"""The daemon as a process: where it listens, what it locks, how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("needs_root")

WIRED = Path(__file__).with_name("wired.py")


class Process:
    """One daemon; its log is read up to the line that a test waits for."""

    def __init__(self, root: Path, *extra: str, name: str = "narud") -> None:
        config = root / "daemon.json"
        if not config.exists():
            config.write_text("{}")
        self.root = root
        self.log = ""
        self.process = subprocess.Popen(
            [sys.executable, WIRED, name, "--config-file", config,
             "--data-root", root / "data", "--exec-root", root / "exec", "-p", root / "pid",
             "-G", "0", *extra],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def until(self, text: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if text in line:
                return line
        raise AssertionError(f"no {text!r} in:\n{self.log}")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        _, rest = self.process.communicate(timeout=30)
        self.log += rest
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Process]]:
    made: list[Process] = []

    class Started(Process):
        def __init__(self, *extra: str, name: str = "narud") -> None:
            super().__init__(tmp_path, *extra, name=name)
            made.append(self)

    yield Started  # type: ignore[misc]
    with ExitStack() as stack:
        for process in made:
            stack.callback(process.process.communicate, timeout=30)
            if process.process.poll() is None:
                process.process.kill()


def ping(sock: socket.socket, address: str | tuple[str, int]) -> int:
    with sock:
        sock.connect(address)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = sock
        connection.request("GET", "/_ping")
        return connection.getresponse().status


def test_it_listens_where_it_says_and_cleans_up(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "n.sock"
    daemon = start("-H", f"unix://{path}", "-H", "tcp://127.0.0.1:0")
    assert "Daemon has completed initialization" in daemon.until("completed")
    assert str(path) in daemon.until("API listen on")
    port = int(daemon.until("API listen on 127.0.0.1:").rsplit(":", 1)[1].strip('"\n'))
    assert (tmp_path / "pid").read_text() == str(daemon.process.pid)
    assert ping(socket.socket(socket.AF_UNIX), str(path)) == 200
    assert ping(socket.socket(), ("127.0.0.1", port)) == 200
    assert daemon.end() == 0
    assert "Daemon shutdown complete" in daemon.log
    assert not path.exists()
    assert not (tmp_path / "pid").exists()


def test_tcp_alone_makes_no_unix_socket(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    daemon = start("-H", "tcp://127.0.0.1:0")
    daemon.until("API listen on 127.0.0.1")
    # The supervisor, which comes up meanwhile, has one of its own.
    assert {path.name for path in tmp_path.rglob("*.sock")} <= {"supervisor.sock"}
    assert daemon.end(signal.SIGINT) == 0


def test_a_second_daemon_is_refused_and_a_killed_one_is_no_obstacle(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "n.sock"
    host = f"unix://{path}"
    first = start("-H", host)
    first.until("API listen")
    second = start("-H", f"unix://{tmp_path}/second.sock")
    assert second.ended() == 1
    assert f"data root {tmp_path}/data is in use by another daemon" in second.log
    assert str(first.process.pid) in second.log
    third = start("-H", f"unix://{tmp_path}/third.sock", "--data-root", f"{tmp_path}/other")
    assert third.ended() == 1
    text = f"pid file found, ensure docker is not running or delete {tmp_path}/pid"
    assert text in third.log
    assert ping(socket.socket(socket.AF_UNIX), str(path)) == 200
    first.process.kill()
    first.process.wait()
    assert path.exists()
    fourth = start("-H", host)
    fourth.until("API listen")
    assert ping(socket.socket(socket.AF_UNIX), str(path)) == 200
    assert fourth.end() == 0


def test_an_engine_that_cannot_start_is_one_clear_line(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    daemon = start("-H", f"unix://{tmp_path}/n.sock", "-s", "broken")
    assert daemon.ended() == 1
    assert 'msg="failed to start daemon: driver not supported: broken"' in daemon.log
    assert "Traceback" not in daemon.log
    assert not (tmp_path / "n.sock").exists()
    assert not (tmp_path / "pid").exists()


def test_dockerds_unit_file_flags(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    daemon = start(
        "-H", f"unix://{tmp_path}/n.sock", "--containerd=/run/containerd/containerd.sock",
        "--live-restore=false", name="dockerd",
    )  # fmt: skip
    daemon.until("API listen")
    assert "no containerd is used" in daemon.log
    assert "containers always outlive the daemon" in daemon.log
    assert daemon.end() == 0


def test_reload_switches_debug_on(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    daemon = start("-H", f"unix://{tmp_path}/n.sock")
    daemon.until("API listen")
    (tmp_path / "daemon.json").write_text('{"debug": true}')
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.until("Reloaded configuration from")
    ping(socket.socket(socket.AF_UNIX), str(tmp_path / "n.sock"))
    assert "Calling GET /_ping" in daemon.until("Calling")
    assert daemon.end() == 0
