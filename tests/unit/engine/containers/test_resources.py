from __future__ import annotations

import pytest

from naru.engine.containers.resources import Controllers, checked, format_set, parse_set
from naru.spec.containers import HostConfig, ThrottleDevice
from naru.spec.errors import InvalidParameter

MB = 1024 * 1024
HOST = Controllers(cpus=frozenset({0, 1}))


@pytest.mark.parametrize(
    ("host", "error"),
    [
        (HostConfig(memory=5 * MB), "Minimum memory limit allowed is 6MB"),
        (
            HostConfig(memory=10 * MB, memory_swap=9 * MB),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            HostConfig(memory_swap=9 * MB),
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (HostConfig(memory_reservation=MB), "Minimum memory reservation allowed is 6MB"),
        (
            HostConfig(memory=10 * MB, memory_reservation=11 * MB),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            HostConfig(nano_cpus=1, cpu_period=1000),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            HostConfig(nano_cpus=1, cpu_quota=1000),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            HostConfig(nano_cpus=3 * 10**9),
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            HostConfig(cpu_period=999),
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (HostConfig(cpu_quota=999), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (HostConfig(blkio_weight=9), "Range of blkio weight is from 10 to 1000"),
        (
            HostConfig(cpuset_cpus="0-5"),
            "Requested CPUs are not available - requested 0-5, available: 0-1",
        ),
        (HostConfig(cpuset_cpus="x"), "Invalid value x for cpuset cpus: invalid format: x"),
        (
            HostConfig(cpuset_mems="1"),
            "Requested memory nodes are not available - requested 1, available: 0",
        ),
    ],
)
def test_refused(host: HostConfig, error: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        checked(host, HOST)
    assert str(raised.value) == error


def test_swap_is_twice_the_memory_unless_it_is_an_update() -> None:
    asked = HostConfig(memory=10 * MB)
    assert checked(asked, HOST)[0].memory_swap == 20 * MB
    assert checked(asked, HOST, update=True)[0].memory_swap == 0


def test_nothing_asked_nothing_warned() -> None:
    assert checked(HostConfig(memory_swappiness=-1), HOST) == (HostConfig(), [])


def test_what_the_host_cannot_limit_is_dropped_and_told() -> None:
    bare = Controllers(
        cpus=frozenset({0}),
        memory=False,
        cpu_shares=False,
        cpu_quota=False,
        cpuset=False,
        pids=False,
        blkio_weight=False,
        blkio_throttle=False,
    )
    host, warnings = checked(
        HostConfig(
            memory=10 * MB,
            cpu_shares=5,
            cpu_period=2000,
            cpuset_cpus="0",
            pids_limit=5,
            blkio_weight=100,
            blkio_device_read_bps=[ThrottleDevice(path="/dev/x", rate=1)],
            oom_kill_disable=True,
            memory_swappiness=5,
        ),
        bare,
    )
    assert host == HostConfig(memory_swap=-1)
    assert len(warnings) == 9
    assert warnings[0] == (
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. "
        "Limitation discarded."
    )


def test_shares_are_kept_in_the_kernels_range() -> None:
    assert checked(HostConfig(cpu_shares=1), HOST)[0].cpu_shares == 2
    assert checked(HostConfig(cpu_shares=10**6), HOST)[0].cpu_shares == 262144


@pytest.mark.parametrize("text", ["", "0", "0-3", "0,2-3,7"])
def test_sets_round_trip(text: str) -> None:
    assert format_set(parse_set(text)) == text
