"""One body of a create, as the versions mean it."""

from __future__ import annotations

import pytest

from naru.api.create_body import adapted
from naru.spec.containers import ContainerConfig, HostConfig, PortBinding
from naru.spec.errors import InvalidParameter

BOUND = [PortBinding(host_port="8080")]
HOST = HostConfig(port_bindings={"80/tcp": BOUND, "81/tcp": [], "82/tcp": None})


def test_a_port_without_bindings() -> None:
    assert adapted((1, 51), ContainerConfig(), HOST) == (HOST, [])
    host, [warning] = adapted((1, 52), ContainerConfig(), HOST)
    assert host == HOST
    assert "empty list of port-bindings: 81/tcp, 82/tcp." in warning
    host, warnings = adapted((1, 53), ContainerConfig(), HOST)
    assert (host.port_bindings, warnings) == ({"80/tcp": BOUND}, [])


def test_a_mac_address_of_the_whole_container() -> None:
    config = ContainerConfig(mac_address="02:42:ac:11:00:02")
    assert adapted((1, 51), config, HostConfig()) == (HostConfig(), [])
    with pytest.raises(InvalidParameter, match="use endpoint-specific MAC address instead"):
        adapted((1, 52), config, HostConfig())


def test_memory_of_tcp_in_the_kernel() -> None:
    host = HostConfig(kernel_memory_tcp=4096, memory=8192)
    assert adapted((1, 51), ContainerConfig(), host)[0] == host
    assert adapted((1, 52), ContainerConfig(), host)[0] == HostConfig(memory=8192)
