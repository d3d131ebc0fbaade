"""What listings and inspect make of a record: the pure parts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from naru.engine.containers import filters, merge, ports, shown, status, top
from naru.engine.containers.filters import Lookups
from naru.engine.containers.listing import command_line, descendants, published
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    Health,
    HealthConfig,
    HostConfig,
    MountPoint,
    PortBinding,
    Status,
)
from naru.spec.errors import InternalError, InvalidParameter, no_such_container
from naru.spec.images import ImageRecord
from naru.spec.networks import EndpointSettings

SECOND = 10**9
RECORD = ContainerRecord(
    id="ab" * 32,
    name="web_1",
    created=100 * SECOND,
    image_id="sha256:1",
    chain_id="",
    driver="vfs",
    config=ContainerConfig(labels={"a": "1", "b": ""}, exposed_ports={"80/tcp": {}}),
    host_config=HostConfig(port_bindings={"80/tcp": [PortBinding(host_port="8080")]}),
    path="sh",
    args=["-c", "echo x"],
    mounts=[MountPoint(type="volume", name="vol", source="/src", destination="/dst")],
    endpoints={"net": EndpointSettings(network_id="f" * 64)},
    state=ContainerState(status=Status.EXITED, exit_code=3),
)


def container(ref: str) -> ContainerRecord:
    if ref == "old":
        return msgspec.structs.replace(RECORD, created=50 * SECOND)
    if ref == "new":
        return msgspec.structs.replace(RECORD, created=200 * SECOND)
    raise no_such_container(ref)


LOOKUPS = Lookups(container, lambda ref: frozenset({"sha256:1"}) if ref == "img" else frozenset())


@pytest.mark.parametrize(
    ("name", "values", "matches"),
    [
        ("id", ["abab"], True),
        ("id", ["ff"], False),
        ("name", ["web"], True),
        ("name", ["/web_1$"], True),
        ("name", ["^eb"], False),
        ("name", ["("], False),
        ("label", ["a"], True),
        ("label", ["a=1", "b"], True),
        ("label", ["a=2"], False),
        ("status", ["exited"], True),
        ("status", ["running"], False),
        ("exited", ["3"], True),
        ("exited", ["0"], False),
        ("ancestor", ["img"], True),
        ("ancestor", ["other"], False),
        ("before", ["new"], True),
        ("before", ["old"], False),
        ("since", ["old"], True),
        ("since", ["new"], False),
        ("volume", ["vol"], True),
        ("volume", ["/dst"], True),
        ("volume", ["x"], False),
        ("network", ["net"], True),
        ("network", ["f" * 64], True),
        ("network", ["x"], False),
        ("publish", ["80"], True),
        ("publish", ["79-81/tcp"], True),
        ("publish", ["80/udp"], False),
        ("expose", ["80/tcp"], True),
        ("health", ["none"], True),
        ("health", ["healthy"], False),
        ("is-task", ["true"], False),
        ("is-task", ["false"], True),
    ],
)
def test_filters(name: str, values: list[str], matches: bool) -> None:
    assert filters.for_list({name: values}, LOOKUPS).matches(RECORD) is matches


@pytest.mark.parametrize(
    "bad",
    [{"x": ["y"]}, {"status": ["y"]}, {"health": ["y"]}, {"exited": ["y"]}, {"publish": ["y"]}],
)
def test_bad_filters(bad: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidParameter):
        filters.for_list(bad, LOOKUPS)


def test_the_health_of_a_listing_is_that_of_a_running_container() -> None:
    ill = Health(status="unhealthy", failing_streak=3)
    running = ContainerState(status=Status.RUNNING, health=ill)
    assert status.health_summary(running) == {"Status": "unhealthy", "FailingStreak": 3}
    none = {"Status": "none", "FailingStreak": 0}
    assert status.health_summary(ContainerState(status=Status.RUNNING)) == none
    assert status.health_summary(ContainerState(status=Status.EXITED, health=ill)) == none


def test_prune_filters() -> None:
    now = 200 * SECOND
    assert filters.for_prune({"until": ["60s"]}, now).matches(RECORD)
    assert not filters.for_prune({"until": ["2m"]}, now).matches(RECORD)
    assert not filters.for_prune({"label!": ["a"]}, now).matches(RECORD)
    assert filters.moment("1m30s", now) == 110 * SECOND
    assert filters.moment("5.5", now) == 5_500_000_000
    assert filters.moment("1970-01-01T00:00:07Z", now) == 7 * SECOND
    with pytest.raises(InvalidParameter):
        filters.moment("yesterday", now)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ContainerState(), "Created"),
        (ContainerState(status=Status.RUNNING, started_at=SECOND), "Up 5 seconds"),
        (ContainerState(status=Status.PAUSED, started_at=SECOND), "Up 5 seconds (Paused)"),
        (
            ContainerState(status=Status.RUNNING, started_at=SECOND, health=Health()),
            "Up 5 seconds (health: starting)",
        ),
        (
            ContainerState(
                status=Status.RUNNING, started_at=SECOND, health=Health(status="healthy")
            ),
            "Up 5 seconds (healthy)",
        ),
        (
            ContainerState(status=Status.EXITED, exit_code=2, finished_at=SECOND),
            "Exited (2) 5 seconds ago",
        ),
        (
            ContainerState(status=Status.RESTARTING, exit_code=2, finished_at=SECOND),
            "Restarting (2) 5 seconds ago",
        ),
    ],
)
def test_status(state: ContainerState, words: str) -> None:
    assert status.in_words_of_ps(state, 6 * SECOND) == words


def test_inspected_states() -> None:
    state = status.as_inspected(ContainerState(status=Status.RESTARTING))
    assert (state["Running"], state["Restarting"], state["Paused"]) == (True, True, False)
    assert state["StartedAt"] == "0001-01-01T00:00:00Z"


def test_command_and_ports() -> None:
    assert command_line(RECORD) == "sh -c 'echo x'"
    bindings: dict[str, Any] = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "53/udp": None,
    }
    assert published(bindings) == [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ]


def test_descendants() -> None:
    images = [ImageRecord(id="c", parent="b"), ImageRecord(id="b", parent="a"), ImageRecord(id="x")]
    assert descendants("a", images) == {"a", "b", "c"}


def test_go_zero_values() -> None:
    host = shown.host_config(HostConfig())
    assert host["Binds"] is None
    assert "Tmpfs" not in host
    assert host["ConsoleSize"] == [0, 0]
    assert host["Privileged"] is False
    config = shown.container_config(ContainerConfig(stop_timeout=0))
    assert config["StopTimeout"] == 0
    assert "Healthcheck" not in config
    assert config["Volumes"] is None


def test_ports() -> None:
    assert ports.expanded({"80-82": {}, "5/udp": {}}) == ["80/tcp", "81/tcp", "82/tcp", "5/udp"]
    assert ports.normalized({"80": None}) == {"80/tcp": [PortBinding()]}


IMAGE = ContainerConfig(
    cmd=["image"],
    entrypoint=["enter"],
    env=["A=1", "B=1"],
    labels={"l": "image", "m": "image"},
    working_dir="/image",
    healthcheck=HealthConfig(test=["CMD", "x"], interval=5),
)


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (ContainerConfig(), ("enter", ["image"])),
        (ContainerConfig(cmd=["mine"]), ("enter", ["mine"])),
        (ContainerConfig(entrypoint=["e"]), ("e", [])),
        (ContainerConfig(entrypoint=["e"], cmd=["c"]), ("e", ["c"])),
        (ContainerConfig(entrypoint=[""], cmd=["c"]), ("c", [])),
        (ContainerConfig(entrypoint=[], cmd=["c"]), ("c", [])),
        (ContainerConfig(cmd="text"), ("enter", ["text"])),
    ],
)
def test_commands(asked: ContainerConfig, command: tuple[str, list[str]]) -> None:
    assert merge.command(merge.merged(asked, IMAGE)) == command


def test_no_command() -> None:
    with pytest.raises(InvalidParameter, match="no command specified"):
        merge.command(ContainerConfig())


def test_merged_defaults() -> None:
    asked = ContainerConfig(
        env=["A=2"], labels={"l": "mine"}, healthcheck=HealthConfig(interval=7), stop_timeout=0
    )
    config = merge.merged(asked, IMAGE)
    assert config.env == ["A=2", "B=1"]
    assert config.labels == {"l": "mine", "m": "image"}
    assert config.working_dir == "/image"
    assert config.healthcheck == HealthConfig(test=["CMD", "x"], interval=7)
    assert config.stop_timeout == 0


def test_top() -> None:
    output = "  PID CMD\n    1 init\n   42 sh -c x y\n    - thread\n   43 other\n    - no\n"
    found = top.parse(output, {42})
    assert found.titles == ["PID", "CMD"]
    assert found.processes == [["42", "sh -c x y"], ["-", "thread"]]
    with pytest.raises(InternalError, match="Couldn't find PID field in ps output"):
        top.parse("CMD\nx\n", {1})
