from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from naru.engine.containers.adapt import HostDefaults, adapted
from naru.engine.containers.devices import Device, HostDevices
from naru.engine.containers.oci_config import MASKED_PATHS, Namespaces, Setting, oci_config
from naru.engine.containers.oci_mounts import BoundMount, merged_options
from naru.engine.containers.oci_resources import device_rule, limits
from naru.engine.containers.users import User
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    HostConfig,
    MountPoint,
    Ulimit,
)
from naru.spec.errors import InvalidParameter

SETTING = Setting(
    rootfs=Path("/root"),
    user=User(),
    capabilities=["CAP_KILL"],
    cgroups_path="/naru/x",
    namespaces=Namespaces(network=Path("/netns")),
    files=Path("/files"),
)


def made(
    config: ContainerConfig | None = None,
    host: HostConfig | None = None,
    **setting: Any,
) -> dict[str, Any]:
    host = adapted(
        host or HostConfig(),
        HostDefaults(),
        cgroup_version=2,
        container_id_of=lambda ref: ref,
    )
    record = ContainerRecord(
        id="i" * 64,
        name="n",
        created=1,
        image_id="",
        chain_id="",
        driver="vfs",
        config=config or ContainerConfig(hostname="h"),
        host_config=host,
        path="/bin/prog",
        args=["a b"],
    )
    changed = {**{f: getattr(SETTING, f) for f in SETTING.__struct_fields__}, **setting}
    return oci_config(record, Setting(**changed))


def mounts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in config["mounts"]}


def kinds(config: dict[str, Any]) -> dict[str, str | None]:
    return {each["type"]: each.get("path") for each in config["linux"]["namespaces"]}


def test_a_plain_container() -> None:
    config = made()
    process = config["process"]
    assert process["args"] == ["/bin/prog", "a b"]
    assert process["cwd"] == "/"
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=h",
        "HOME=/",
    ]
    assert process["capabilities"]["effective"] == ["CAP_KILL"]
    assert config["hostname"] == "h"
    assert config["linux"]["maskedPaths"] == MASKED_PATHS
    assert kinds(config) == {
        "mount": None,
        "network": "/netns",
        "uts": None,
        "pid": None,
        "ipc": None,
    }
    assert mounts(config)["/etc/hosts"]["source"] == "/files/hosts"
    assert "size=67108864" in mounts(config)["/dev/shm"]["options"]
    assert "ro" in mounts(config)["/sys"]["options"]
    msgspec.json.encode(config)


def test_parents_are_mounted_before_children() -> None:
    own = [
        BoundMount(MountPoint(type="bind", source="/2", destination="/a/b"), "/2"),
        BoundMount(MountPoint(type="bind", source="/1", destination="/a"), "/1"),
    ]
    order = [mount["destination"] for mount in made(mounts=own)["mounts"]]
    assert order.index("/a") < order.index("/a/b")
    assert order.index("/dev") < order.index("/dev/shm")


def test_own_mounts_replace_the_defaults() -> None:
    own = [BoundMount(MountPoint(type="bind", source="/s", destination="/dev/shm"), "/s")]
    assert mounts(made(mounts=own))["/dev/shm"]["source"] == "/s"


@pytest.mark.parametrize(
    ("mount", "options"),
    [
        (BoundMount(MountPoint(type="bind", destination="/x"), "/s"), ["rbind", "rprivate"]),
        (
            BoundMount(MountPoint(type="bind", destination="/x", rw=False), "/s"),
            ["rbind", "ro", "rro", "rprivate"],
        ),
        (
            BoundMount(
                MountPoint(type="bind", destination="/x", rw=False), "/s", read_only_recursive=False
            ),
            ["rbind", "ro", "rprivate"],
        ),
        (
            BoundMount(
                MountPoint(type="bind", destination="/x", propagation="shared"),
                "/s",
                recursive=False,
            ),
            ["bind", "shared"],
        ),
        (
            BoundMount(MountPoint(type="tmpfs", destination="/x"), "", tmpfs_options="exec,size=5"),
            ["nosuid", "nodev", "exec", "size=5"],
        ),
    ],
)
def test_mount_options(mount: BoundMount, options: list[str]) -> None:
    assert mounts(made(mounts=[mount]))["/x"]["options"] == options


def test_the_root_propagates_as_its_mounts_need() -> None:
    own = [BoundMount(MountPoint(type="bind", destination="/x", propagation="rshared"), "/s")]
    assert made(mounts=own)["linux"]["rootfsPropagation"] == "shared"
    assert "rootfsPropagation" not in made()["linux"]


def test_privileged() -> None:
    device = Device("/dev/x", "c", 1, 2, 0o600, 0, 0)
    config = made(host=HostConfig(privileged=True), devices=HostDevices(mapped=(device,)))
    linux = config["linux"]
    assert linux["maskedPaths"] == linux["readonlyPaths"] == []
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert linux["devices"][0]["path"] == "/dev/x"
    assert "ro" not in mounts(config)["/sys/fs/cgroup"]["options"]


def test_a_read_only_root_has_no_writable_hole() -> None:
    own = [BoundMount(MountPoint(type="bind", destination="/rw"), "/s")]
    host = HostConfig(readonly_rootfs=True, tmpfs={"/t": ""})
    config = made(host=host, mounts=own)
    assert config["root"]["readonly"]
    assert "ro" in mounts(config)["/etc/hosts"]["options"]
    assert not {"ro"} & {*mounts(config)["/rw"]["options"], *mounts(config)["/t"]["options"]}


@pytest.mark.parametrize(
    ("host", "missing"),
    [
        (HostConfig(network_mode="host"), "network"),
        (HostConfig(pid_mode="host"), "pid"),
        (HostConfig(ipc_mode="host"), "ipc"),
        (HostConfig(uts_mode="host"), "uts"),
    ],
)
def test_the_hosts_namespaces(host: HostConfig, missing: str) -> None:
    assert missing not in kinds(made(host=host))


def test_joined_namespaces() -> None:
    where = Namespaces(network=Path("/n"), ipc=Path("/i"), pid=Path("/p"), private_cgroup=True)
    found = kinds(made(namespaces=where))
    assert (found["network"], found["ipc"], found["pid"]) == ("/n", "/i", "/p")
    assert "cgroup" in found


def test_ipc_modes_and_shm() -> None:
    assert "/dev/shm" not in mounts(made(host=HostConfig(ipc_mode="none")))
    assert mounts(made(host=HostConfig(ipc_mode="host")))["/dev/shm"]["type"] == "bind"
    assert mounts(made(shm=Path("/s")))["/dev/shm"]["source"] == "/s"


def test_the_host_network_keeps_its_sysctls() -> None:
    assert made(host=HostConfig(network_mode="host"))["linux"]["sysctl"] == {}
    assert "net.ipv4.ip_unprivileged_port_start" in made()["linux"]["sysctl"]
    asked = made(host=HostConfig(sysctls={"net.core.somaxconn": "5"}))["linux"]["sysctl"]
    assert asked["net.core.somaxconn"] == "5"


def test_users_environment_terminal_and_limits() -> None:
    config = made(
        ContainerConfig(tty=True, env=["A=1", "PATH=/x", "HOSTNAME"], working_dir="/w"),
        HostConfig(console_size=[24, 80], ulimits=[Ulimit(name="nofile", soft=1, hard=-1)]),
        user=User(5, 6, (6, 7), "/home/u"),
        init=Path("/usr/bin/tini"),
        no_new_privileges=True,
    )
    process = config["process"]
    assert process["env"] == ["PATH=/x", "TERM=xterm", "A=1", "HOME=/home/u"]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert process["capabilities"]["effective"] == []
    assert process["capabilities"]["bounding"] == ["CAP_KILL"]
    assert process["consoleSize"] == {"height": 24, "width": 80}
    assert process["args"][:2] == ["/sbin/docker-init", "--"]
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}]
    assert process["noNewPrivileges"]


def test_limits() -> None:
    host = HostConfig(
        memory=100, memory_swap=-1, nano_cpus=500_000_000, pids_limit=5, cpuset_cpus="0"
    )
    assert limits(host, HostDevices()) == {
        "memory": {"limit": 100, "swap": -1},
        "cpu": {"period": 100_000, "quota": 50_000, "cpus": "0"},
        "pids": {"limit": 5},
    }
    assert "pids" not in made(host=HostConfig(pids_limit=-1))["linux"]["resources"]


def test_device_rules() -> None:
    assert device_rule("c 13:* rw") == {"allow": True, "type": "c", "access": "rw", "major": 13}
    with pytest.raises(InvalidParameter, match="invalid device cgroup rule format: 'x'"):
        device_rule("x")


def test_later_options_win() -> None:
    assert merged_options(["noexec", "size=1", "exec", "size=2"]) == ["exec", "size=2"]


@pytest.mark.parametrize(
    ("version", "privileged", "mode"),
    [(1, False, "host"), (2, False, "private"), (2, True, "private"), (1, True, "host")],
)
def test_cgroup_namespaces_by_default(version: int, privileged: bool, mode: str) -> None:
    host = adapted(
        HostConfig(privileged=privileged),
        HostDefaults(),
        cgroup_version=version,
        container_id_of=str,
    )
    assert host.cgroupns_mode == mode


def test_shared_namespaces_are_kept_by_id() -> None:
    host = adapted(
        HostConfig(network_mode="container:name", ipc_mode="container:name"),
        HostDefaults(),
        cgroup_version=2,
        container_id_of=lambda ref: f"id-of-{ref}",
    )
    assert host.network_mode == host.ipc_mode == "container:id-of-name"
