from __future__ import annotations

from typing import Any

import pytest

from naru.engine.networking import publishing
from naru.network.firewall import PortMap
from naru.network.ports import PortRequest
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig, PortBinding
from naru.spec.errors import InvalidParameter, Unsupported
from naru.spec.networks import NetworkRecord

NETWORK = NetworkRecord(id="n" * 64, name="bridge", driver="bridge", created=0)


def container(exposed: tuple[str, ...] = (), **host: Any) -> ContainerRecord:
    return ContainerRecord(
        id="c" * 64,
        name="c",
        created=0,
        image_id="",
        chain_id="",
        driver="vfs",
        path="",
        args=[],
        config=ContainerConfig(exposed_ports={port: {} for port in exposed}),
        host_config=HostConfig(**host),
    )


def requests(record: ContainerRecord, *, ipv6: str = "") -> list[PortRequest]:
    return publishing.requests(
        record, NETWORK, ipv4="172.17.0.2/16", ipv6=ipv6, default_ip="0.0.0.0"
    )


def bound(port: str, *bindings: PortBinding) -> ContainerRecord:
    return container(port_bindings={port: list(bindings)})


def test_no_address_means_all_of_the_families_the_container_has() -> None:
    record = bound("80/tcp", PortBinding(host_port="8080"))
    assert requests(record) == [PortRequest("tcp", "0.0.0.0", 8080, 8080, "172.17.0.2", 80)]
    assert [each.host_ip for each in requests(record, ipv6="fd00::2/64")] == ["0.0.0.0", "::"]


def test_ranges_and_no_port() -> None:
    [ranged] = requests(bound("80/tcp", PortBinding(host_port="8000-8010")))
    assert (ranged.first, ranged.last) == (8000, 8010)
    [free] = requests(bound("80/udp", PortBinding()))
    assert (free.first, free.last, free.protocol) == (0, 0, "udp")


def test_named_ports_come_before_free_ones() -> None:
    record = container(
        port_bindings={"80/tcp": [PortBinding()], "81/tcp": [PortBinding(host_port="32768")]}
    )
    assert [each.first for each in requests(record)] == [32768, 0]


def test_publish_all_takes_what_is_exposed_and_not_bound() -> None:
    record = container(
        exposed=("80/tcp", "90-91/tcp"),
        publish_all_ports=True,
        port_bindings={"80/tcp": [PortBinding(host_port="8080")]},
    )
    assert [each.container_port for each in requests(record)] == [80, 90, 91]


@pytest.mark.parametrize(
    ("port", "binding", "kind"),
    [
        ("80/sctp", PortBinding(), Unsupported),
        ("80/tcp", PortBinding(host_ip="::1"), Unsupported),
        ("80/tcp", PortBinding(host_ip="here"), InvalidParameter),
    ],
)
def test_what_is_refused(port: str, binding: PortBinding, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        requests(bound(port, binding))


def test_exposed_ports_are_shown_with_null() -> None:
    record = container(exposed=("80/tcp", "443/tcp"))
    published = PortMap(
        protocol="tcp", host_ip="0.0.0.0", host_port=1, container_ip="x", container_port=80
    )
    assert publishing.shown(record, [published]) == {
        "443/tcp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "1"}],
    }
