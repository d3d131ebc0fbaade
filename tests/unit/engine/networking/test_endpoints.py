from __future__ import annotations

import msgspec
import pytest

from naru.engine.networking import endpoints
from naru.engine.networking.directory import Directory, View
from naru.network.driver import Endpoint
from naru.spec.errors import InvalidParameter, Unsupported
from naru.spec.networks import (
    IPAM,
    EndpointIPAMConfig,
    EndpointSettings,
    IPAMPool,
    NetworkRecord,
)


def network(name: str = "front", **more: object) -> NetworkRecord:
    state = {"user_subnets": ["4"]}
    ipam = IPAM(config=[IPAMPool(subnet="10.0.0.0/24", gateway="10.0.0.1")])
    base = NetworkRecord(
        id=name.encode().hex(), name=name, driver="bridge", created=0, ipam=ipam, driver_state=state
    )
    return msgspec.structs.replace(base, **more)


ENDPOINT = Endpoint(
    id="e" * 64,
    interface="eth0",
    host_interface="v",
    mac="02:42:0a:00:00:02",
    ipv4="10.0.0.2/24",
    gateway4="10.0.0.1",
)


def test_what_came_of_it_and_back_to_what_was_asked() -> None:
    asked = EndpointSettings(aliases=["www"])
    achieved = endpoints.achieved(asked, network(), ENDPOINT, ["web"])
    assert (achieved.ip_address, achieved.ip_prefix_len) == ("10.0.0.2", 24)
    assert achieved.gateway == "10.0.0.1"
    assert endpoints.cleared(achieved) == msgspec.structs.replace(
        asked, network_id=network().id, dns_names=["web"]
    )


def test_a_chosen_mac_is_kept_and_a_made_one_is_not() -> None:
    chosen = EndpointSettings(mac_address="02:00:00:00:00:01", ip_address="10.0.0.2")
    assert endpoints.cleared(chosen).mac_address == "02:00:00:00:00:01"
    made = EndpointSettings(mac_address="02:42:0a:00:00:02", ip_address="10.0.0.2")
    assert endpoints.cleared(made).mac_address == ""


def static(address: str) -> EndpointSettings:
    return EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address=address))


@pytest.mark.parametrize(
    ("on", "settings", "text"),
    [
        (network("bridge"), static("10.0.0.9"), "user defined networks only"),
        (network("bridge"), EndpointSettings(aliases=["x"]), "network-scoped alias"),
        (network(driver_state={}), static("10.0.0.9"), "user configured subnets"),
        (network(), static("10.0.1.9"), "no configured subnet or ip-range contain"),
        (network(), static("x"), "invalid IPv4 address: x"),
        (network(), EndpointSettings(mac_address="zz"), "invalid MAC address zz"),
    ],
)
def test_what_is_refused(on: NetworkRecord, settings: EndpointSettings, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        endpoints.check(on, settings)


def test_unknown_endpoint_options_are_named() -> None:
    with pytest.raises(Unsupported, match=r"some\.option"):
        endpoints.check(network(), EndpointSettings(driver_opts={"some.option": "1"}))


def test_the_default_route_goes_by_priority_then_name_and_never_inside() -> None:
    one, two = network("b"), network("a")
    plain, high = EndpointSettings(), EndpointSettings(gw_priority=5)
    assert endpoints.gateway_of([(one, plain), (two, plain)]) is two
    assert endpoints.gateway_of([(one, high), (two, plain)]) is one
    assert endpoints.gateway_of([(network("c", internal=True), high)]) is None


def test_a_container_sees_the_names_of_its_networks_only() -> None:
    directory = Directory()
    directory.enter(network(), "c1", ["Web", "www"], ENDPOINT)
    view = View(directory)
    assert view.addresses("web") is None
    view.join("front", ["web:db"])
    for name in ("web", "www", "db", "web.front"):
        assert [str(each) for each in view.addresses(name) or ()] == ["10.0.0.2"]
    found = view.addresses("web")
    assert found
    assert view.name_of(found[0]) == "web.front"
    directory.leave(network(), "c1")
    assert view.addresses("web") is None
