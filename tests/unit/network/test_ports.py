"""Real sockets, on addresses of 127.0.0.0/8 that nothing else uses."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from naru.network.ports import HostPorts, PortRequest
from naru.spec.errors import InternalError

HOST = f"127.77.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"


@pytest.fixture
def ports() -> Iterator[HostPorts]:
    made = HostPorts()
    yield made
    made.close()


def request(first: int, last: int = 0, **given: Any) -> PortRequest:
    known: dict[str, Any] = {"protocol": "tcp", "host_ip": HOST, "container_ip": "10.0.0.2"}
    known |= {"container_port": 80, "first": first, "last": last or first}
    return PortRequest(**{**known, **given})


def listening(port: int, host: str = HOST, **options: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, options.get("reuse", 1))
    try:
        made.bind((host, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_one_port_is_held_once(ports: HostPorts, protocol: str) -> None:
    first = ports.hold("one", [request(28080, protocol=protocol)])
    with pytest.raises(InternalError, match=f"Bind for {HOST}:28080 failed: port is already alloc"):
        ports.hold("two", [request(28080, protocol=protocol)])
    ports.hold("two", [request(28080, protocol="udp" if protocol == "tcp" else "tcp")])
    ports.hold("three", [request(28080, protocol=protocol, host_ip="127.77.255.1")])
    ports.release("one", first)
    ports.hold("two", [request(28080, protocol=protocol)])


@pytest.mark.parametrize(("one", "other"), [("0.0.0.0", HOST), (HOST, "0.0.0.0"), ("::", "::1")])
def test_all_addresses_overlap_each(ports: HostPorts, one: str, other: str) -> None:
    port = ports.hold("one", [request(0, host_ip=one)])[0].host_port
    with pytest.raises(InternalError, match="port is already allocated"):
        ports.hold("two", [request(port, host_ip=other)])


def test_the_families_do_not_overlap(ports: HostPorts) -> None:
    both = [request(0, host_ip="0.0.0.0"), request(0, host_ip="::")]
    four, six = ports.hold("one", both)
    assert four.host_port == six.host_port


def test_a_port_twice_in_one_request_is_refused_and_leaves_nothing(ports: HostPorts) -> None:
    with pytest.raises(InternalError, match="port is already allocated"):
        ports.hold("one", [request(28081), request(28081, container_port=81)])
    ports.hold("two", [request(28081)])


def test_a_range_gives_what_is_free(ports: HostPorts) -> None:
    ports.hold("one", [request(28082)])
    assert ports.hold("two", [request(28082, 28083)])[0].host_port == 28083
    with pytest.raises(InternalError, match="all ports are allocated"):
        ports.hold("three", [request(28082, 28083)])


def test_others_listeners_are_seen_and_others_are_kept_off(ports: HostPorts) -> None:
    with (
        listening(28084),
        pytest.raises(InternalError, match=f"{HOST}:28084/tcp: address already in use"),
    ):
        ports.hold("one", [request(28084)])
    ports.hold("one", [request(28084)])
    for reuse in (0, 1):
        with pytest.raises(OSError, match="in use"):
            listening(28084, reuse=reuse)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, 28084), timeout=5)


def test_what_closed_connections_leave_is_no_hindrance(ports: HostPorts) -> None:
    with listening(28085) as server, socket.create_connection((HOST, 28085)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    ports.hold("one", [request(28085)])


def test_an_exchange_keeps_the_numbers(ports: HostPorts) -> None:
    asked = [request(0), request(28086, container_port=81)]
    before = ports.hold("one", asked)
    moved = [each._replace(container_ip="10.9.0.2") for each in asked]
    after = ports.exchange("one", [*moved, request(28087, container_port=82)])
    assert [each.host_port for each in after[:2]] == [each.host_port for each in before]
    assert {each.container_ip for each in after[:2]} == {"10.9.0.2"}
    ports.hold("two", [request(28088)])
    with pytest.raises(InternalError, match="port is already allocated"):
        ports.exchange("one", [request(28088)])
    with pytest.raises(InternalError, match="port is already allocated"):
        ports.hold("two", [request(28086)])  # the failed exchange has changed nothing
    wider = [request(28086, host_ip="0.0.0.0", container_port=81)]
    assert ports.exchange("one", wider)[0].host_ip == "0.0.0.0"
    assert ports.exchange("one", []) == []
    ports.hold("two", [request(28086), request(28087)])


def test_adopted_ports_are_held_though_another_has_them(ports: HostPorts) -> None:
    held = ports.hold("one", [request(28089)])
    ports.close()
    with listening(28089):
        assert ports.hold_again("one", held) == held
        with pytest.raises(InternalError, match="port is already allocated"):
            ports.hold("two", [request(28089)])
