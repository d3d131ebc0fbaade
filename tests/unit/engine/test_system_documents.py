"""The documents of info and version, over a made-up machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from naru.engine import host
from naru.engine.system import Installation, System
from naru.kernel.cgroups import Hierarchies, Mode
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    Status,
)

# Every member of SystemInfo in the Engine API 1.50, but for those that it calls obsolete.
MEMBERS = [
    "ID",
    "Containers",
    "ContainersRunning",
    "ContainersPaused",
    "ContainersStopped",
    "Images",
    "Driver",
    "DriverStatus",
    "DockerRootDir",
    "Plugins",
    "MemoryLimit",
    "SwapLimit",
    "CpuCfsPeriod",
    "CpuCfsQuota",
    "CPUShares",
    "CPUSet",
    "PidsLimit",
    "OomKillDisable",
    "IPv4Forwarding",
    "Debug",
    "NFd",
    "NGoroutines",
    "SystemTime",
    "LoggingDriver",
    "CgroupDriver",
    "CgroupVersion",
    "NEventsListener",
    "KernelVersion",
    "OperatingSystem",
    "OSVersion",
    "OSType",
    "Architecture",
    "NCPU",
    "MemTotal",
    "IndexServerAddress",
    "RegistryConfig",
    "GenericResources",
    "HttpProxy",
    "HttpsProxy",
    "NoProxy",
    "Name",
    "Labels",
    "ExperimentalBuild",
    "ServerVersion",
    "Runtimes",
    "DefaultRuntime",
    "Swarm",
    "LiveRestoreEnabled",
    "Isolation",
    "InitBinary",
    "ContainerdCommit",
    "RuncCommit",
    "InitCommit",
    "SecurityOptions",
    "DefaultAddressPools",
    "FirewallBackend",
    "DiscoveredDevices",
    "Warnings",
    "CDISpecDirs",
]


def container(status: Status) -> ContainerRecord:
    return ContainerRecord(
        id=status.value, name=status.value, created=1, image_id="", chain_id="", driver="vfs",
        config=ContainerConfig(), host_config=HostConfig(), path="sh", args=[],
        state=ContainerState(status=status),
    )  # fmt: skip


def system(tmp_path: Path, *, cgroups: Hierarchies | None = None) -> System:
    installation = Installation(
        data_root=tmp_path,
        storage_driver="overlay2",
        log_driver="json-file",
        log_drivers=["json-file", "none"],
        network_drivers=["bridge", "host", "null"],
        volume_drivers=["local"],
        cgroup_driver="cgroupfs",
        runtimes={"crun": ["/usr/bin/crun"], "mine": ["/opt/mine", "--debug"]},
        default_runtime="crun",
        init_binary="/usr/bin/tini-static",
        api_version="1.50",
        min_api_version="1.24",
        insecure_registries=["10.0.0.0/8", "reg:5000"],
        registry_mirrors=["http://mirror"],
        address_pools=[("172.80.0.0/16", 24)],
    )

    def containers() -> Sequence[ContainerRecord]:
        return [container(status) for status in Status]

    return System(
        installation=installation,
        containers=containers,
        image_count=lambda: 3,
        event_listeners=lambda: 2,
        driver_status=lambda: [("Backing Filesystem", "extfs")],
        cgroups=cgroups or Hierarchies(Mode.UNIFIED, v2_controllers=frozenset({"cpu", "memory"})),
    )


async def test_info_has_every_member(tmp_path: Path) -> None:
    info = await system(tmp_path).info()
    assert set(info) == set(MEMBERS)


async def test_info_counts_containers_as_docker_does(tmp_path: Path) -> None:
    info = await system(tmp_path).info()
    assert info["Containers"] == 7
    assert info["ContainersRunning"] == 2  # running, restarting
    assert info["ContainersPaused"] == 1
    assert info["ContainersStopped"] == 4
    assert info["Images"] == 3


async def test_info_says_what_the_configuration_says(tmp_path: Path) -> None:
    info = await system(tmp_path).info()
    assert info["DriverStatus"] == [["Backing Filesystem", "extfs"]]
    assert info["Runtimes"]["mine"] == {
        "path": "/opt/mine",
        "runtimeArgs": ["--debug"],
        "status": {},
    }
    assert info["InitBinary"] == "tini-static"
    assert info["DefaultAddressPools"] == [{"Base": "172.80.0.0/16", "Size": 24}]
    registries = info["RegistryConfig"]
    assert registries["InsecureRegistryCIDRs"] == ["::1/128", "127.0.0.0/8", "10.0.0.0/8"]
    assert registries["IndexConfigs"]["reg:5000"]["Secure"] is False
    assert registries["IndexConfigs"]["docker.io"]["Mirrors"] == ["http://mirror"]


async def test_the_id_stays(tmp_path: Path) -> None:
    one, two = await system(tmp_path).info(), await system(tmp_path).info()
    assert one["ID"] == two["ID"]
    assert re.fullmatch(r"[0-9a-f-]{36}", one["ID"])


async def test_missing_limits_are_warned_of(tmp_path: Path) -> None:
    info = await system(tmp_path).info()
    assert info["CgroupVersion"] == "2"
    assert (info["MemoryLimit"], info["PidsLimit"], info["CPUSet"]) == (True, False, False)
    assert "WARNING: No pids limit support" in info["Warnings"]
    assert "WARNING: No memory limit support" not in info["Warnings"]


async def test_limits_of_cgroup_v1_are_files(tmp_path: Path) -> None:
    for name in ("cpu/cpu.shares", "memory/memory.oom_control"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    v1 = {"cpu": tmp_path / "cpu", "memory": tmp_path / "memory", "pids": tmp_path / "pids"}
    info = await system(tmp_path, cgroups=Hierarchies(Mode.LEGACY, v1)).info()
    assert info["CgroupVersion"] == "1"
    assert (info["CPUShares"], info["CpuCfsQuota"]) == (True, False)
    assert (info["OomKillDisable"], info["SwapLimit"]) == (True, False)
    assert "WARNING: No swap limit support" in info["Warnings"]


async def test_version_asks_the_runtime_for_its_own(tmp_path: Path) -> None:
    program = tmp_path / "crun"
    program.write_text("#!/bin/sh\necho run >> $0.calls\necho crun version 1.8.1\necho commit: x\n")
    program.chmod(0o755)
    engine = system(tmp_path)
    engine.installation = _with_runtime(engine.installation, program)
    version = await engine.version()
    await engine.version()
    assert (tmp_path / "crun.calls").read_text() == "run\n"
    assert [part["Name"] for part in version["Components"]] == ["Engine", "crun"]
    assert version["Components"][1]["Version"] == "1.8.1"
    assert version["Components"][0]["Details"]["MinAPIVersion"] == "1.24"
    assert version["ApiVersion"] == "1.50"
    assert version["Os"] == "linux"


async def test_a_runtime_that_is_missing_is_unknown(tmp_path: Path) -> None:
    engine = system(tmp_path)
    engine.installation = _with_runtime(engine.installation, tmp_path / "none")
    assert (await engine.version())["Components"][1]["Version"] == "unknown"


def _with_runtime(installation: Installation, program: Path) -> Installation:
    return replace(installation, runtimes={"crun": [str(program)]})


def test_os_release(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("PRETTY_NAME=\"A B\"\nVERSION_ID='12'\n\nX\n")
    assert host.os_release(tmp_path) == {"PRETTY_NAME": "A B", "VERSION_ID": "12"}
    assert host.os_release(tmp_path / "nowhere") == {}


def test_memory(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        1024 kB\nMemFree: 1 kB\n")
    assert host.total_memory(tmp_path) == 1024 * 1024
