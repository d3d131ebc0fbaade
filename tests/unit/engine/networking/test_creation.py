from __future__ import annotations

from ipaddress import ip_network

import pytest

from naru.engine.networking import creation
from naru.engine.networking.creation import NetworkCreate
from naru.engine.networking.settings import NetworkSettings
from naru.spec.errors import Forbidden, InvalidParameter, NaruError, NotFound, Unsupported
from naru.spec.networks import IPAM, IPAMPool, NetworkRecord

SETTINGS = NetworkSettings()


def made(request: NetworkCreate, *taken: str) -> NetworkRecord:
    creation.check(request)
    networks = [ip_network(text) for text in taken]
    return creation.record(request, taken=networks, occupied=[], settings=SETTINGS)


def test_a_network_gets_the_next_pool_and_its_gateway() -> None:
    record = made(NetworkCreate(name="x"), "172.17.0.0/16")
    assert record.ipam.config == [IPAMPool(subnet="172.18.0.0/16", gateway="172.18.0.1")]
    assert record.driver == "bridge"
    assert record.driver_state == {"user_subnets": []}


def test_a_subnet_of_the_users_own() -> None:
    pool = IPAMPool(subnet="10.1.0.0/16", gateway="10.1.0.254")
    record = made(NetworkCreate(name="x", ipam=IPAM(config=[pool])))
    assert record.ipam.config == [pool]
    assert record.driver_state == {"user_subnets": ["4"]}


def test_ipv6_without_a_subnet_gets_a_unique_local_one() -> None:
    record = made(NetworkCreate(name="x", enable_ipv6=True))
    assert record.ipam.config[1].subnet.startswith("fd")
    assert record.ipam.config[1].subnet.endswith("::/64")


@pytest.mark.parametrize(
    ("request_", "kind", "text"),
    [
        (NetworkCreate(), InvalidParameter, "empty"),
        (NetworkCreate(name="host"), Forbidden, "not permitted on predefined host network"),
        (NetworkCreate(name="x", driver="host"), Forbidden, "only one instance of"),
        (NetworkCreate(name="x", driver="macvlan"), Unsupported, "macvlan"),
        (NetworkCreate(name="x", driver="weave"), NotFound, "could not find plugin weave"),
        (NetworkCreate(name="x", driver="overlay"), Forbidden, "not a swarm manager"),
        (NetworkCreate(name="x", ingress=True), Unsupported, "ingress"),
        (NetworkCreate(name="x", config_only=True), Unsupported, "configuration-only"),
        (NetworkCreate(name="x", ipam=IPAM(driver="dhcp")), Unsupported, "IPAM driver dhcp"),
        (
            NetworkCreate(name="x", ipam=IPAM(config=[IPAMPool(gateway="10.0.0.1")])),
            InvalidParameter,
            "corresponding subnet",
        ),
        (
            NetworkCreate(name="x", ipam=IPAM(config=[IPAMPool(subnet="fd00::/64")])),
            InvalidParameter,
            "IPv6 has not been enabled",
        ),
    ],
)
def test_what_is_refused(request_: NetworkCreate, kind: type[NaruError], text: str) -> None:
    with pytest.raises(kind, match=text):
        creation.check(request_)


def test_the_default_bridge_keeps_its_subnet_and_id() -> None:
    first = creation.default_bridge(None, settings=SETTINGS, existing=[], taken=[])
    assert first.ipam.config[0].subnet == "172.17.0.0/16"
    again = creation.default_bridge(first, settings=SETTINGS, existing=["172.17.0.1/16"], taken=[])
    assert again == first


def test_the_default_bridge_moves_when_another_took_its_subnet() -> None:
    first = creation.default_bridge(None, settings=SETTINGS, existing=[], taken=[])
    moved = creation.default_bridge(
        first, settings=SETTINGS, existing=[], taken=[ip_network("172.17.0.0/16")]
    )
    assert moved.id == first.id
    assert moved.ipam.config[0].subnet == "172.18.0.0/16"


def test_bip_decides() -> None:
    settings = NetworkSettings(bip="10.5.0.1/24")
    record = creation.default_bridge(None, settings=settings, existing=[], taken=[])
    assert record.ipam.config[0] == IPAMPool(subnet="10.5.0.0/24", gateway="10.5.0.1")


def test_a_bridge_that_was_there_is_adopted_with_its_address() -> None:
    record = creation.default_bridge(
        None, settings=SETTINGS, existing=["10.6.0.1/24", "fe80::1/64"], taken=[]
    )
    assert record.ipam.config[0] == IPAMPool(subnet="10.6.0.0/24", gateway="10.6.0.1")
    assert record.driver_state["adopted"]


def test_fixed_cidr_is_a_part_of_bip_or_the_subnet() -> None:
    both = NetworkSettings(bip="10.5.0.1/16", fixed_cidr="10.5.7.0/24")
    pool = creation.default_bridge(None, settings=both, existing=[], taken=[]).ipam.config[0]
    assert (pool.subnet, pool.gateway, pool.ip_range) == ("10.5.0.0/16", "10.5.0.1", "10.5.7.0/24")
    alone = NetworkSettings(fixed_cidr="10.5.7.0/24")
    first = creation.default_bridge(None, settings=alone, existing=[], taken=[])
    pool = first.ipam.config[0]
    assert (pool.subnet, pool.gateway, pool.ip_range) == ("10.5.7.0/24", "10.5.7.1", "10.5.7.0/24")
    # Another one, and none, at the next start.
    other = NetworkSettings(fixed_cidr="10.6.7.0/24")
    moved = creation.default_bridge(first, settings=other, existing=[], taken=[])
    assert moved.ipam.config[0].subnet == "10.6.7.0/24"
    without = creation.default_bridge(first, settings=SETTINGS, existing=[], taken=[])
    assert without.ipam.config[0].ip_range == ""
    beside = NetworkSettings(bip="10.5.0.1/24", fixed_cidr="10.6.0.0/24")
    with pytest.raises(InvalidParameter, match=r"10\.6\.0\.0/24: it should be contained in"):
        creation.default_bridge(None, settings=beside, existing=[], taken=[])
