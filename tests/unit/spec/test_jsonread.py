"""Names in any case, as Go reads them; keys of maps as they are; errors that name the field."""

from __future__ import annotations

import json

import msgspec
import pytest

from naru.api.routes.containers import _HostParts
from naru.engine.networking.creation import NetworkCreate
from naru.spec import jsonread
from naru.spec.containers import ContainerConfig, HostConfig, PortBinding
from naru.spec.errors import InvalidParameter


def read(document: object, shape: type[jsonread.T]) -> jsonread.T:
    return jsonread.decode(json.dumps(document).encode(), shape)


def test_names_in_any_case_at_every_depth() -> None:
    found = read(
        {
            "hostconfig": {
                "BINDS": ["/a:/b"],
                "portbindings": {"80/TCP": [{"HOSTIP": "::1", "hostPort": "8080"}]},
                "restartPolicy": {"NAME": "always", "MaximumRetryCount": 1},
                "mounts": [{"type": "volume", "volumeoptions": {"LABELS": {"Key": "v"}}}],
            },
            "networkingConfig": {"endpointsconfig": {"MyNet": {"ALIASES": ["www"]}}},
        },
        _HostParts,
    )
    host = found.host_config
    assert host.binds == ["/a:/b"]
    assert host.port_bindings == {"80/TCP": [PortBinding(host_ip="::1", host_port="8080")]}
    assert (host.restart_policy.name, host.restart_policy.maximum_retry_count) == ("always", 1)
    options = host.mounts[0].volume_options
    assert options is not None
    assert options.labels == {"Key": "v"}
    assert found.networking_config.endpoints_config["MyNet"].aliases == ["www"]


def test_the_users_keys_stay() -> None:
    labels = {"A": "1", "a": "2", "Labels": "3", "labels": "4"}
    config = read(
        {"labels": labels, "exposedPorts": {"80/Tcp": {}}, "volumes": {"/Data": {}}},
        ContainerConfig,
    )
    assert config.labels == labels
    assert config.exposed_ports == {"80/Tcp": {}}
    assert config.volumes == {"/Data": {}}
    assert read({"sysctls": {"Net.X": "1"}}, HostConfig).sysctls == {"Net.X": "1"}
    network = read({"name": "n", "ipam": {"config": [{"subnet": "10.0.0.0/8"}]}}, NetworkCreate)
    assert network.ipam.config[0].subnet == "10.0.0.0/8"


def test_the_exact_name_wins() -> None:
    for document in ({"Image": "one", "IMAGE": "two"}, {"IMAGE": "two", "Image": "one"}):
        assert read(document, ContainerConfig).image == "one"
    assert read({"image": "two", "Image": None}, ContainerConfig).image == "two"


def test_nulls_are_no_values() -> None:
    config = read({"labels": None, "Env": None, "healthcheck": {"Test": None}}, ContainerConfig)
    assert (config.labels, config.env) == ({}, [])
    assert config.healthcheck is not None
    assert config.healthcheck.test == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"hostconfig": {"memory": "much"}}, "HostConfig.Memory: expected integer, got string"),
        ({"HostConfig": {"Binds": {"a": "b"}}}, "HostConfig.Binds: expected array, got object"),
        ({"HostConfig": []}, "HostConfig: expected object, got array"),
        ([], "request body: expected object, got array"),
    ],
)
def test_errors_name_the_field(document: object, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read(document, _HostParts)
    assert str(caught.value).replace("`", "") == message


class _Node(msgspec.Struct):
    value: int = 0
    children: list[_Node] = []
    names: dict[str, _Node] = {}


def test_a_shape_within_itself() -> None:
    tree = read({"CHILDREN": [{"Value": 1, "Names": {"Value": {"VALUE": 2}}}]}, _Node)
    assert tree == _Node(children=[_Node(value=1, names={"Value": _Node(value=2)})])
