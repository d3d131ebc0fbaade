from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.network import ipam
from naru.network.ipam import Leases
from naru.spec.errors import Forbidden, InvalidParameter
from naru.spec.networks import IPAMPool


def test_the_first_pool_is_dockers() -> None:
    assert str(ipam.choose_pool([])) == "172.17.0.0/16"


def test_pools_skip_what_overlaps_networks_and_host_routes() -> None:
    taken = [ip_network("172.17.0.0/16"), ip_network("172.18.5.0/24"), ip_network("fd00::/8")]
    assert str(ipam.choose_pool(taken)) == "172.19.0.0/16"


def test_after_172_31_come_parts_of_192_168() -> None:
    assert str(ipam.choose_pool([ip_network("172.16.0.0/12")])) == "192.168.0.0/20"
    taken = [ip_network("172.16.0.0/12"), ip_network("192.168.0.0/24")]
    assert str(ipam.choose_pool(taken)) == "192.168.16.0/20"


def test_no_pool_left() -> None:
    with pytest.raises(InvalidParameter, match="fully subnetted"):
        ipam.choose_pool([ip_network("0.0.0.0/0")])


def test_the_gateway_is_the_first_address_that_is_free() -> None:
    assert ipam.complete(IPAMPool(subnet="10.0.0.0/24")).gateway == "10.0.0.1"
    aux = {"router": "10.0.0.1"}
    assert (
        ipam.complete(IPAMPool(subnet="10.0.0.0/24", auxiliary_addresses=aux)).gateway == "10.0.0.2"
    )
    ranged = IPAMPool(subnet="10.0.0.0/24", ip_range="10.0.0.128/25")
    assert ipam.complete(ranged).gateway == "10.0.0.128"


def test_leases_go_on_in_order_and_a_released_address_comes_last() -> None:
    leases = Leases(IPAMPool(subnet="10.0.0.0/29", gateway="10.0.0.1"))
    assert [str(leases.lease()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    leases.release("10.0.0.2")
    assert [str(leases.lease()) for _ in range(3)] == ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(Forbidden, match="no available IPv4 addresses"):
        leases.lease()


def test_network_broadcast_gateway_and_auxiliary_addresses_are_not_leased() -> None:
    pool = IPAMPool(
        subnet="10.0.0.0/29", gateway="10.0.0.3", auxiliary_addresses={"printer": "10.0.0.2"}
    )
    leases = Leases(pool)
    assert {str(leases.lease()) for _ in range(4)} == {f"10.0.0.{n}" for n in (1, 4, 5, 6)}


def test_an_address_asked_for() -> None:
    leases = Leases(IPAMPool(subnet="10.0.0.0/24", gateway="10.0.0.1"))
    assert str(leases.lease_exactly("10.0.0.9")) == "10.0.0.9"
    for taken in ("10.0.0.9", "10.0.0.1", "10.0.0.255"):
        with pytest.raises(Forbidden, match="Address already in use"):
            leases.lease_exactly(taken)
    with pytest.raises(InvalidParameter, match="contain the IP address"):
        leases.lease_exactly("10.0.1.1")


def test_a_lease_told_after_a_restart_is_taken() -> None:
    leases = Leases(IPAMPool(subnet="10.0.0.0/24", gateway="10.0.0.1"))
    leases.restore("10.0.0.2")
    assert str(leases.lease()) == "10.0.0.3"


def test_ranges_limit_what_is_leased_but_not_what_may_be_asked_for() -> None:
    leases = Leases(IPAMPool(subnet="10.0.0.0/24", ip_range="10.0.0.64/30", gateway="10.0.0.1"))
    assert {str(leases.lease()) for _ in range(4)} == {f"10.0.0.{n}" for n in range(64, 68)}
    assert str(leases.lease_exactly("10.0.0.9")) == "10.0.0.9"


def test_a_64_bit_subnet_is_not_walked_through() -> None:
    leases = Leases(IPAMPool(subnet="fd00:1::/64", gateway="fd00:1::1"))
    assert [str(leases.lease()) for _ in range(2)] == ["fd00:1::2", "fd00:1::3"]


@given(st.lists(st.booleans(), max_size=60))
def test_no_address_is_leased_twice(steps: list[bool]) -> None:
    leases = Leases(IPAMPool(subnet="10.0.0.0/27", gateway="10.0.0.1"))
    held: list[str] = []
    for take in steps:
        if take and len(held) < 29:
            address = str(leases.lease())
            assert address not in held
            held.append(address)
        elif held:
            leases.release(held.pop(0))


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        (IPAMPool(subnet="nonsense"), "invalid CIDR"),
        (IPAMPool(subnet="10.0.0.1/24"), r"it should be 10\.0\.0\.0/24"),
        (IPAMPool(subnet="10.0.0.0/24", ip_range="10.0.1.0/25"), "invalid ip-range"),
        (IPAMPool(subnet="10.0.0.0/24", ip_range="fd00::/64"), "parent subnet is an IPv4 block"),
        (IPAMPool(subnet="10.0.0.0/24", gateway="10.0.1.1"), "invalid gateway"),
        (IPAMPool(subnet="10.0.0.0/24", gateway="x"), "invalid address"),
        (
            IPAMPool(subnet="10.0.0.0/24", auxiliary_addresses={"a": "1.1.1.1"}),
            "invalid auxiliary address a",
        ),
    ],
)
def test_what_is_refused(pool: IPAMPool, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        ipam.validate(pool)


def test_addresses_are_counted() -> None:
    leases = Leases(
        IPAMPool(
            subnet="10.0.0.0/24", ip_range="10.0.0.64/30", gateway="10.0.0.1",
            auxiliary_addresses={"inside": "10.0.0.66", "outside": "10.0.0.9"},
        )
    )  # fmt: skip
    leases.lease()
    # The network, its broadcast, the gateway, two auxiliary ones, the lease; in the range, two.
    assert leases.occupied() == (6, 2)
    leases.lease_exactly("10.0.0.20")
    assert leases.occupied() == (7, 2)
    assert Leases(IPAMPool(subnet="fd00::/64", gateway="fd00::1")).occupied() == (2, 2**64 - 2)
