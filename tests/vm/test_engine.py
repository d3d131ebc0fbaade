"""The engine under Debian 12's systemd: cgroup v2 alone, docker's CLI 20.10, old iptables."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel import mounts
from tests.harness.daemon import Daemon
from tests.vm.pools import until


@pytest.fixture(scope="module", params=["devicemapper", "overlay2"])
def engine(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    options = ["--storage-driver", request.param]
    if request.param == "devicemapper":
        options += ["--storage-opt", "dm.basesize=256M", "--storage-opt", "dm.loopdatasize=4G",
                    "--storage-opt", "dm.loopmetadatasize=64M"]  # fmt: skip
    daemon = Daemon(options=tuple(options))
    try:
        daemon.start()
        daemon.make_busybox()
        yield daemon
    finally:
        daemon.stop()


def test_the_guest_is_what_these_tests_are_for() -> None:
    assert Path("/sys/fs/cgroup/cgroup.controllers").exists()
    assert os.readlink("/proc/1/exe").endswith("/systemd")


def test_info(engine: Daemon) -> None:
    info = json.loads(engine.docker("info", "--format", "{{json .}}").stdout)
    assert info["CgroupVersion"] == "2"
    assert info["Driver"] in ("devicemapper", "overlay2")
    rows = dict(info["DriverStatus"])
    if info["Driver"] == "devicemapper":
        assert rows["Base Device Size"] == "268.4MB"
        assert "on loop files" in engine.log.read_text()


def test_run_exec_logs(engine: Daemon) -> None:
    assert engine.docker("run", "--rm", "busybox", "echo", "hello").stdout == "hello\n"
    engine.docker(
        "run", "-d", "--name", "one", "busybox", "sh", "-c", "echo begun; sleep 600; true"
    )
    assert engine.docker("exec", "one", "cat", "/proc/1/comm").stdout == "sh\n"
    assert engine.docker("logs", "one").stdout == "begun\n"
    engine.docker("exec", "one", "sh", "-c", "echo x > /new; rm /etc/group")
    changes = engine.docker("diff", "one").stdout.splitlines()
    assert "A /new" in changes
    assert "D /etc/group" in changes
    engine.docker("commit", "one", "changed")
    assert engine.docker("run", "--rm", "changed", "cat", "/new").stdout == "x\n"
    engine.docker("rm", "-f", "one")
    engine.docker("rmi", "changed")


def test_limits_reach_cgroup_v2(engine: Daemon) -> None:
    limits = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "512"]
    engine.docker("run", "-d", "--name", "held", *limits, "busybox", "sleep", "600")
    pid = int(engine.docker("inspect", "-f", "{{.State.Pid}}", "held").stdout)
    group = Path("/sys/fs/cgroup") / Path(f"/proc/{pid}/cgroup").read_text().strip().split("::/")[1]
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    assert (group / "cpu.max").read_text() == "50000 100000\n"
    assert (group / "pids.max").read_text() == "50\n"
    usage = engine.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "held").stdout
    assert usage.strip().endswith("/ 64MiB")
    engine.docker("pause", "held")
    assert engine.docker("inspect", "-f", "{{.State.Status}}", "held").stdout == "paused\n"
    engine.docker("unpause", "held")
    engine.docker("rm", "-f", "held")
    assert until(lambda: not group.exists())


def test_too_much_memory_is_an_oom_kill(engine: Daemon) -> None:
    hog = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1 & wait $!; echo $?"]
    engine.docker("run", "--name", "hog", "--memory", "16m", "busybox", *hog)
    assert engine.docker("logs", "hog").stdout.strip() in ("137", "143")
    engine.docker("rm", "hog")


def test_a_published_port_through_iptables(engine: Daemon) -> None:
    engine.docker("run", "-d", "--name", "web", "-p", "8080:80", "busybox",
                  "sh", "-c", "echo found > /index.html; exec httpd -f -p 80 -h /")  # fmt: skip
    address = engine.docker(
        "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"
    ).stdout.strip()
    for url in (f"http://{address}/", "http://127.0.0.1:8080/"):
        got = engine.netns.run("curl", "-fsS", "--retry", "5", "--retry-connrefused", url)
        assert got.stdout == "found\n", got.stderr
    rules = engine.netns.run("iptables-save").stdout
    assert "8080" in rules or "DNAT" in rules
    engine.docker("rm", "-f", "web")
    other = engine.docker("run", "--rm", "busybox", "ip", "route").stdout
    assert "default via" in other


def test_names_on_a_network_of_the_users_own(engine: Daemon) -> None:
    engine.docker("network", "create", "front")
    engine.docker("run", "-d", "--name", "web", "--network", "front", "busybox", "sleep", "600")
    asked = ["busybox", "nslookup", "web", "127.0.0.11"]
    found = engine.docker("run", "--rm", "--network", "front", *asked).stdout
    address = engine.docker(
        "inspect", "-f", "{{.NetworkSettings.Networks.front.IPAddress}}", "web"
    ).stdout.strip()
    assert address in found
    # Port 53 is the container's own.
    own = ["sh", "-c", "nc -l -p 53 & sleep 1; kill $! && echo served"]
    assert engine.docker("run", "--rm", "--network", "front", "busybox", *own).stdout == "served\n"
    engine.docker("rm", "-f", "web")
    engine.docker("network", "rm", "front")


def test_one_port_is_published_once(engine: Daemon) -> None:
    engine.docker("run", "-d", "--name", "one", "-p", "8080:80", "busybox", "sleep", "600")
    refused = engine.docker("run", "-d", "-p", "8080:80", "busybox", "sleep", "600", check=False)
    assert "Bind for 0.0.0.0:8080 failed: port is already allocated" in refused.stderr
    engine.docker("rm", "-f", "one")


def test_a_size_holds(engine: Daemon) -> None:
    write = "dd if=/dev/zero of=/big bs=1M count=500 2>&1; ls -l /big | tr -s ' ' | cut -d' ' -f5"
    done = engine.docker("run", "--rm", "--storage-opt", "size=300M", "busybox", "sh", "-c", write)
    assert "No space left" in done.stdout or "Disk quota" in done.stdout
    assert int(done.stdout.split()[-1]) < 310 << 20


def test_containers_outlive_the_daemon(engine: Daemon) -> None:
    engine.docker("run", "-d", "--name", "stays", "busybox", "sh", "-c",
                  "echo kept > /f; while :; do sleep 1; done")  # fmt: skip
    pid = engine.docker("inspect", "-f", "{{.State.Pid}}", "stays").stdout
    engine.kill()
    engine.start()
    assert engine.docker("inspect", "-f", "{{.State.Pid}}", "stays").stdout == pid
    assert engine.docker("exec", "stays", "cat", "/f").stdout == "kept\n"
    assert engine.terminate() == 0
    engine.start()
    assert engine.docker("exec", "stays", "cat", "/f").stdout == "kept\n"
    engine.docker("restart", "-t", "0", "stays")
    assert engine.docker("exec", "stays", "cat", "/f").stdout == "kept\n"
    engine.docker("rm", "-f", "stays")


def test_nothing_is_left_when_it_ends() -> None:
    daemon = Daemon(
        options=("--storage-driver", "devicemapper", "--storage-opt", "dm.basesize=64M")
    )
    try:
        daemon.start()
        daemon.make_busybox()
        daemon.docker("run", "-d", "busybox", "sleep", "600")
    finally:
        daemon.stop()
    left = subprocess.run(["dmsetup", "ls"], capture_output=True, text=True, check=True).stdout
    assert "naru-" not in left
    assert not mounts.mounts_below(daemon.root)


def test_aufs_is_refused_by_what_is_missing() -> None:
    daemon = Daemon(options=("--storage-driver", "aufs"))
    try:
        with pytest.raises(RuntimeError, match="'aufs' is not in /proc/filesystems"):
            daemon.start()
    finally:
        daemon.process = None
        daemon.stop()


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_systemd_keeps_the_groups(runtime: str) -> None:
    daemon = Daemon(
        options=(
            "--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", "naru-test.slice",
            "--default-runtime", runtime,
        )
    )  # fmt: skip
    try:
        daemon.start()
        daemon.make_busybox()
        info = json.loads(daemon.docker("info", "--format", "{{json .}}").stdout)
        assert info["CgroupDriver"] == "systemd"
        daemon.docker("run", "-d", "--name", "one", "--memory", "64m", "busybox", "sleep", "600")
        pid = int(daemon.docker("inspect", "-f", "{{.State.Pid}}", "one").stdout)
        group = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")
        assert ".scope" in group
        limit = (Path("/sys/fs/cgroup") / group / "memory.max").read_text()
        assert limit == f"{64 << 20}\n"
        assert daemon.docker("exec", "one", "echo", "in").stdout == "in\n"
        daemon.docker("rm", "-f", "one")
        assert until(lambda: not (Path("/sys/fs/cgroup") / group).exists())
    finally:
        daemon.stop()
