from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from naru.network import nfnetlink, nftables
from naru.network.firewall import BridgeRules, PortMap


def port_map(host_ip: str, container_ip: str = "172.17.0.2") -> PortMap:
    return PortMap(
        protocol="tcp",
        host_ip=host_ip,
        host_port=8080,
        container_ip=container_ip,
        container_port=80,
    )


def test_a_port_of_every_address_and_one_of_a_single_address_are_in_different_maps() -> None:
    grouped = nftables._by_map(
        [port_map("0.0.0.0"), port_map("127.0.0.1"), port_map("::", "fd00::2")]
    )
    assert {name: len(elements) for name, elements in grouped.items()} == {
        "publish4": 1,
        "publish4at": 1,
        "publish6": 1,
    }
    [element] = grouped["publish4"]
    assert element.key == b"\x06\0\0\0\x1f\x90\0\0"
    assert element.data == b"\xac\x11\0\x02\0\x50\0\0"
    assert grouped["publish4at"][0].key == b"\x7f\0\0\x01" + element.key


def test_a_subnet_is_an_interval_that_ends_after_it() -> None:
    first, last = nftables._interval(ip_network("172.17.0.0/16"))
    assert (first.key, first.end) == (b"\xac\x11\0\0", False)
    assert (last.key, last.end) == (b"\xac\x12\0\0", True)


def test_internal_networks_are_not_masqueraded() -> None:
    rules = BridgeRules(bridge="br0", subnets=(ip_network("10.0.0.0/24"),), internal=True)
    names = [name for name, _ in nftables._bridge_elements(rules)]
    assert names == ["bridges", "pairs", "internal", "subnets4"]


def test_daemons_have_tables_of_their_own() -> None:
    names = {nftables.table_name(Path(root)) for root in ("/run/a", "/run/b", "/run/a")}
    assert len(names) == 2


def test_types_of_concatenations_have_six_bits_each() -> None:
    assert nfnetlink.concatenated(nfnetlink.INET_PROTO, nfnetlink.INET_SERVICE) == 12 << 6 | 13
