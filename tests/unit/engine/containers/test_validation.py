from __future__ import annotations

import pytest

from naru.engine.containers import names, security, signals
from naru.engine.containers.security import SecurityOptions
from naru.engine.containers.validation import check_config, check_host
from naru.spec.containers import (
    ContainerConfig,
    DeviceMapping,
    DeviceRequest,
    HealthConfig,
    HostConfig,
    PortBinding,
    RestartPolicy,
    Ulimit,
)
from naru.spec.errors import InvalidParameter, Unsupported

CONFIG = ContainerConfig()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            ContainerConfig(working_dir="rel"),
            "the working directory 'rel' is invalid, it needs to be an absolute path",
        ),
        (ContainerConfig(env=["=x"]), "invalid environment variable: =x"),
        (ContainerConfig(stop_signal="NOPE"), "invalid signal: NOPE"),
        (ContainerConfig(exposed_ports={"99999/tcp": {}}), 'invalid port specification: "99999"'),
        (ContainerConfig(exposed_ports={"80/x": {}}), 'invalid port specification: "80/x"'),
        (ContainerConfig(hostname="h" * 65), f"invalid hostname format: {'h' * 65}"),
        (
            ContainerConfig(healthcheck=HealthConfig(interval=5)),
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            ContainerConfig(healthcheck=HealthConfig(retries=-1)),
            "Retries in Healthcheck cannot be negative",
        ),
    ],
)
def test_refused_configs(config: ContainerConfig, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_config(config)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("host", "error"),
    [
        (HostConfig(ipc_mode="x"), "invalid IPC mode: x"),
        (HostConfig(ipc_mode="container:"), "invalid IPC mode: container:"),
        (HostConfig(pid_mode="x"), "invalid PID mode: x"),
        (HostConfig(uts_mode="x"), "invalid UTS mode: x"),
        (HostConfig(userns_mode="x"), "invalid USER mode: x"),
        (HostConfig(cgroupns_mode="x"), "invalid cgroup namespace mode: x"),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
        (
            HostConfig(oom_score_adj=2000),
            "Invalid value 2000, range for oom score adj is [-1000, 1000]",
        ),
        (HostConfig(extra_hosts=["x"]), 'bad format for add-host: "x"'),
        (HostConfig(extra_hosts=["x:y"]), 'invalid IP address in add-host: "y"'),
        (
            HostConfig(port_bindings={"80/tcp": [PortBinding(host_port="x")]}),
            'invalid port specification: "x"',
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="sometimes")),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=1)),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            HostConfig(restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=-1)),
            "invalid restart policy: maximum retry count cannot be negative",
        ),
        (
            HostConfig(auto_remove=True, restart_policy=RestartPolicy(name="always")),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (HostConfig(security_opt=["x"]), 'invalid --security-opt 1: "x"'),
        (HostConfig(security_opt=["a=b"]), 'invalid --security-opt 2: "a=b"'),
        (HostConfig(ulimits=[Ulimit(name="x")]), "invalid ulimit type: x"),
        (
            HostConfig(ulimits=[Ulimit(name="nofile", soft=2, hard=1)]),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        (
            HostConfig(devices=[DeviceMapping(path_on_host="/x", cgroup_permissions="z")]),
            "invalid device mode: z",
        ),
        (HostConfig(isolation="hyperv"), "invalid isolation 'hyperv' on linux"),
        (
            HostConfig(network_mode="container:"),
            "Invalid network mode: invalid container format container:<name|id>",
        ),
        (
            HostConfig(network_mode="container:x", port_bindings={"80/tcp": None}),
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            HostConfig(network_mode="container:x", dns=["1.1.1.1"]),
            "conflicting options: dns and the network mode",
        ),
    ],
)
def test_refused_hosts(host: HostConfig, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_host(CONFIG, host)
    assert str(raised.value) == error


def test_hostname_conflicts() -> None:
    named = ContainerConfig(hostname="h")
    with pytest.raises(InvalidParameter, match="hostname and the network mode"):
        check_host(named, HostConfig(network_mode="container:x"))
    with pytest.raises(InvalidParameter, match="hostname and the UTS mode"):
        check_host(named, HostConfig(uts_mode="host"))


@pytest.mark.parametrize(
    ("host", "named"),
    [
        (HostConfig(links=["a:b"]), "HostConfig.Links"),
        (HostConfig(cpu_count=2), "HostConfig.CpuCount"),
        (HostConfig(security_opt=["label=type:x"]), "label=type:x"),
    ],
)
def test_what_is_not_done_is_refused_by_name(host: HostConfig, named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        check_host(CONFIG, host)


def test_gpus_are_refused_in_dockers_words() -> None:
    host = HostConfig(device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])])
    with pytest.raises(Unsupported) as raised:
        check_host(CONFIG, host)
    text = 'could not select device driver "" with capabilities: [[gpu]]'
    assert str(raised.value) == text


@pytest.mark.parametrize("name", ["ab", "a-b", "A_1.x", "/slash"])
def test_good_names(name: str) -> None:
    assert names.check(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["", "a", "-ab", "a b", "a/b", "ä1", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        names.check(name)
    assert str(raised.value) == (
        f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )


def test_random_names_are_good_and_free() -> None:
    first = names.generate(lambda name: True, "id")
    assert names.check(first) == first
    assert names.generate(lambda name: False, "0123456789abcdef") == "0123456789ab"


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37),
     ("RTMAX-1", 63), ("64", 64)],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert signals.parse(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "NOPE", "-1", "SIG", "²"])
def test_bad_signals(text: str) -> None:
    with pytest.raises(InvalidParameter):
        signals.parse(text)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], SecurityOptions()),
        (["no-new-privileges"], SecurityOptions(no_new_privileges=True)),
        (["no-new-privileges:true"], SecurityOptions(no_new_privileges=True)),
        (["no-new-privileges=false"], SecurityOptions()),
        (["seccomp=unconfined", "apparmor=x"], SecurityOptions(False, "x", "unconfined")),
        (["seccomp=builtin", "label=disable"], SecurityOptions()),
        (['seccomp={"a":"b=c"}'], SecurityOptions(seccomp='{"a":"b=c"}')),
    ],
)
def test_security_options(options: list[str], expected: SecurityOptions) -> None:
    assert security.parse(options) == expected


@pytest.mark.parametrize("parent", ["/x", "x", ".slice", "x.slice/y"])
def test_systemd_takes_groups_below_a_slice_only(parent: str) -> None:
    host = HostConfig(cgroup_parent=parent)
    with pytest.raises(InvalidParameter) as raised:
        check_host(CONFIG, host, systemd_cgroup=True)
    assert str(raised.value) == (
        'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
    )
    check_host(CONFIG, host)


@pytest.mark.parametrize("parent", ["", "x.slice", "a-b.slice"])
def test_a_slice_is_a_parent_for_systemd(parent: str) -> None:
    check_host(CONFIG, HostConfig(cgroup_parent=parent), systemd_cgroup=True)
