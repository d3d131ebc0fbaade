from __future__ import annotations

from naru.engine.networking import view
from naru.network.ipam import Occupied
from naru.spec.networks import NetworkRecord

RECORD = NetworkRecord(id="n" * 64, name="front", driver="bridge", created=0, labels={"a": "b"})


def test_an_inspected_network_has_members_and_its_addresses_counted() -> None:
    subnets = {"10.0.0.0/24": Occupied(3, 253), "fd00::/48": Occupied(2, 2**80 - 2)}
    shown = view.inspected(RECORD, {"c": {"Name": "web"}}, subnets)
    assert shown["Containers"] == {"c": {"Name": "web"}}
    assert shown["Status"]["IPAM"]["Subnets"] == {
        "10.0.0.0/24": {"IPsInUse": 3, "DynamicIPsAvailable": 253},
        "fd00::/48": {"IPsInUse": 2, "DynamicIPsAvailable": 2**64 - 1},
    }
    summary = view.network(RECORD)
    assert not {"Containers", "Status"} & set(summary)
    assert {name: shown[name] for name in summary} == summary
