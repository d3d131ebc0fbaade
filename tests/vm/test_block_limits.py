"""Limits of single block devices in cgroup v2's io.max: set, changed and taken away again."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.vm.pools import run

KINDS = {
    "rbps": ("--device-read-bps", "BlkioDeviceReadBps"),
    "wbps": ("--device-write-bps", "BlkioDeviceWriteBps"),
    "riops": ("--device-read-iops", "BlkioDeviceReadIOps"),
    "wiops": ("--device-write-iops", "BlkioDeviceWriteIOps"),
}


@pytest.fixture(scope="module", params=[("crun", "cgroupfs"), ("runc", "cgroupfs"),
                                        ("crun", "systemd"), ("runc", "systemd")])  # fmt: skip
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    runtime, groups = request.param
    options = ["--default-runtime", runtime, "--exec-opt", f"native.cgroupdriver={groups}"]
    if groups == "systemd":
        options += ["--cgroup-parent", "naru-test.slice"]
    here = Daemon(options=tuple(options))
    try:
        here.start()
        here.make_busybox()
        yield here
    finally:
        here.stop()


@pytest.fixture
def device(root: Path) -> Iterator[str]:
    with (root / "disk").open("wb") as out:
        out.truncate(1 << 20)
    path = run("losetup", "--find", "--show", str(root / "disk"))
    try:
        yield path
    finally:
        run("losetup", "--detach", path)


def update(daemon: Daemon, name: str, **limits: object) -> None:
    """As a client of API 1.55; the CLI has no flags for these."""
    connection = http.client.HTTPConnection("narud")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(daemon.socket))
    try:
        connection.request(
            "POST", f"/v1.55/containers/{name}/update", json.dumps(limits),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        assert not json.loads(text)["Warnings"]
    finally:
        connection.close()


def limited(daemon: Daemon, name: str, device: str) -> dict[str, str]:
    """What io.max says of the device, without what has no limit."""
    pid = daemon.docker("inspect", "-f", "{{.State.Pid}}", name).stdout.strip()
    group = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")
    number = run("lsblk", "-ndo", "MAJ:MIN", device)
    for line in (Path("/sys/fs/cgroup") / group / "io.max").read_text().splitlines():
        of, *limits = line.split()
        if of == number:
            pairs = (each.split("=") for each in limits)
            return {kind: value for kind, value in pairs if value != "max"}
    return {}


def test_limits_of_a_device_are_set_changed_and_taken_away(daemon: Daemon, device: str) -> None:
    flags = [
        word for number, (flag, _) in enumerate(KINDS.values())
        for word in (flag, f"{device}:{1000 + number}")
    ]  # fmt: skip
    daemon.docker("run", "-d", "--name", "held", "--network", "none", *flags,
                  "busybox", "sleep", "600")  # fmt: skip
    try:
        held = {kind: str(1000 + number) for number, kind in enumerate(KINDS)}
        assert limited(daemon, "held", device) == held
        update(daemon, "held", Memory=64 << 20)  # what is not named stays
        assert limited(daemon, "held", device) == held
        for kind, (_, member) in KINDS.items():
            update(daemon, "held", **{member: [{"Path": device, "Rate": 5000}]})
            assert limited(daemon, "held", device) == held | {kind: "5000"}
            update(daemon, "held", **{member: []})
            del held[kind]
            assert limited(daemon, "held", device) == held
            shown = daemon.docker("inspect", "-f", f"{{{{.HostConfig.{member}}}}}", "held").stdout
            assert shown == "[]\n"
        assert held == {}
        update(daemon, "held", Memory=32 << 20)  # runc's own would put back those of the start
        assert limited(daemon, "held", device) == {}
        # It holds for the next start, too.
        daemon.docker("restart", "-t", "0", "held")
        assert limited(daemon, "held", device) == {}
        update(daemon, "held", BlkioDeviceReadBps=[{"Path": device, "Rate": 7000}])
        assert limited(daemon, "held", device) == {"rbps": "7000"}
    finally:
        daemon.docker("rm", "-f", "held")
