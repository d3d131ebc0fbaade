"""Running the daemon: where it listens, what it refuses, restart and recovery by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import aftermath
from tests.harness.daemon import BIN, Daemon


@pytest.fixture
def make(needs_root: None) -> Iterator[object]:
    made: list[Daemon] = []

    def start(**options: object) -> Daemon:
        made.append(Daemon(**options))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for daemon in made:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.terminate()
        daemon.clear_away()


def docker_inside(daemon: Daemon, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return daemon.netns.run("docker", "-H", host, *argv)


def test_tcp_alone_means_no_unix_socket(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make(hosts=("tcp://127.0.0.1:2375",)).start()
    assert not daemon.socket.exists()
    refused = daemon.docker("version", check=False)
    assert refused.returncode == 1
    assert "Cannot connect to the Docker daemon" in refused.stderr
    assert docker_inside(daemon, "tcp://127.0.0.1:2375", "version").returncode == 0
    naru = daemon.naru("version", check=False)
    assert naru.returncode == 1
    assert "Cannot connect" in naru.stderr


def test_several_hosts_all_answer(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make()
    daemon._hosts = (daemon.host, "tcp://127.0.0.1:2375")
    daemon.start()
    assert daemon.docker("version").returncode == 0
    assert docker_inside(daemon, "tcp://127.0.0.1:2375", "version").returncode == 0


def test_plain_tcp_outside_loopback_warns(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make(hosts=("tcp://0.0.0.0:2375",)).start()
    log = daemon.log.read_text()
    assert "WARN" in log
    assert "without" in log.lower()


def test_a_second_daemon_on_the_same_root_refuses(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make().start()
    second = subprocess.run(
        [str(BIN / "narud"), "-H", f"unix://{daemon.root}/second.sock", "--data-root", str(daemon.data_root),
         "--exec-root", str(daemon.root / "exec2"), "-p", str(daemon.root / "pid2")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert str(daemon.data_root) in second.stderr
    assert daemon.docker("version").returncode == 0


def test_a_stale_socket_is_replaced(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make().start()
    daemon.kill()
    assert daemon.socket.exists()
    daemon.start()
    assert daemon.docker("version").returncode == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--nosuchflag",), "unknown flag: --nosuchflag"),
        (("--storage-driver", "nosuch"), "nosuch"),
        (("--log-level", "loud"), "loud"),
        (("-H", "http://x"), "http://x"),
    ],
)
def test_bad_options_are_named(options: tuple[str, ...], text: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = subprocess.run(
        [str(BIN / "narud"), "--data-root", str(tmp_path / "d"), "--exec-root", str(tmp_path / "e"),
         "-p", str(tmp_path / "pid"), *(() if "-H" in options else ("-H", f"unix://{tmp_path}/s")), *options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 or done.returncode == 125
    assert text in done.stderr


def test_a_bad_daemon_json_names_the_key(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = tmp_path / "daemon.json"
    config.write_text(json.dumps({"nosuch-key": 1}))
    done = subprocess.run(
        [str(BIN / "narud"), "--config-file", str(config), "--validate"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "the following directives don't match any configuration option: nosuch-key" in done.stderr
    )


def test_containers_outlive_the_daemon(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make().start()
    daemon.make_busybox()
    loop = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
    cid = daemon.docker("run", "-d", "--name", "on", "busybox", "sh", "-c", loop).stdout.strip()
    pid = daemon.docker("inspect", "-f", "{{.State.Pid}}", cid).stdout
    daemon.kill()
    daemon.start()
    assert daemon.docker("inspect", "-f", "{{.State.Pid}}", cid).stdout == pid
    assert daemon.docker("exec", cid, "echo", "in").stdout == "in\n"
    daemon.docker("stop", "-t", "1", cid)
    numbers = daemon.docker("logs", cid).stdout.split()
    assert numbers == [str(n + 1) for n in range(len(numbers))]
    assert len(numbers) > 2
    daemon.docker("rm", cid)


def test_exit_codes_while_the_daemon_was_away(make) -> None:  # type: ignore[no-untyped-def]
    daemon = make().start()
    daemon.make_busybox()
    script = "read line; echo last words; exit 23"
    cid = daemon.docker("run", "-d", "-i", "busybox", "sh", "-c", script).stdout.strip()
    pid = int(daemon.docker("inspect", "-f", "{{.State.Pid}}", cid).stdout)
    daemon.kill()
    Path(f"/proc/{pid}/fd/0").write_text("\n")
    aftermath.gone(pid)
    daemon.start()
    assert daemon.docker("wait", cid).stdout == "23\n"
    assert daemon.docker("logs", cid).stdout == "last words\n"
    daemon.docker("rm", cid)
