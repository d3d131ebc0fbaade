from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from naru.network import netlink, rtnetlink
from naru.network.rtnetlink import Route


def test_attributes_are_padded_to_four_bytes() -> None:
    assert netlink.attribute(3, b"abcde") == struct.pack("=HH", 9, 3) + b"abcde\0\0\0"
    assert netlink.text(3, "eth0") == struct.pack("=HH", 9, 3) + b"eth0\0\0\0\0"


def test_nested_attributes_are_marked_and_read_back() -> None:
    whole = netlink.nested(18, netlink.text(1, "veth"), netlink.u32(4, 1500))
    [(kind, body)] = netlink.walk(whole)
    assert kind == 18
    assert netlink.attributes(body) == {1: b"veth\0", 4: struct.pack("=I", 1500)}


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_what_is_packed_is_read_back(members: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, payload) for kind, payload in members)
    assert list(netlink.walk(data)) == members


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    list(netlink.walk(data))


def test_default_routes_are_no_obstacle_to_pools() -> None:
    routes = [Route("0.0.0.0/0", "10.0.0.1", 2), Route("10.0.0.0/24", "", 2), Route("::/0", "", 2)]
    assert rtnetlink.networks_of(routes) == ["10.0.0.0/24"]
