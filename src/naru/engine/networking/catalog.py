"""Finding and filtering networks among the records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from naru.spec.errors import InvalidParameter, no_such_network
from naru.spec.networks import NetworkRecord
from naru.store.records import Records

PREDEFINED = ("bridge", "host", "none")

Filters = Mapping[str, Sequence[str]]

_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


class Catalog:
    def __init__(self, *, records: Records) -> None:
        self._records = records

    def all(self) -> list[NetworkRecord]:
        return self._records.networks.values()

    def get(self, network_id: str) -> NetworkRecord | None:
        return self._records.networks.get(network_id)

    def named(self, name: str) -> NetworkRecord | None:
        for network in self.all():
            if network.name == name:
                return network
        return None

    def find(self, ref: str) -> NetworkRecord:
        """The network of a full id, a name, or an id prefix that only one has; in this order."""
        found = self.get(ref) or self.named(ref)
        if found is not None:
            return found
        starting = [network for network in self.all() if ref and network.id.startswith(ref)]
        if len(starting) > 1:
            raise InvalidParameter(
                f"network {ref} is ambiguous ({len(starting)} matches found based on ID prefix)"
            )
        if not starting:
            raise no_such_network(ref)
        return starting[0]

    def subnets(self, *, without: str = "") -> list[IPv4Network | IPv6Network]:
        """Those of all networks, but for one of that name."""
        return [
            ip_network(pool.subnet, strict=False)
            for network in self.all()
            if network.name != without
            for pool in network.ipam.config
        ]


def is_user_defined(name: str) -> bool:
    return name not in PREDEFINED


def filtered(
    networks: Sequence[NetworkRecord], filters: Filters, in_use: Callable[[NetworkRecord], bool]
) -> list[NetworkRecord]:
    """The networks that every filter lets through; of one filter's values any may match."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidParameter(f"invalid filter '{name}'")
    for value in filters.get("type", ()):
        if value not in ("custom", "builtin"):
            raise InvalidParameter(f"invalid filter: 'type'='{value}'")
    wanted = {_boolean("dangling", value) for value in filters.get("dangling", ())}
    return [
        network
        for network in networks
        if _matches(network, filters)
        and (not wanted or (is_user_defined(network.name) and not in_use(network)) in wanted)
    ]


def matches_labels(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Every one of `wanted`, "key" or "key=value"."""
    for label in wanted:
        key, equals, value = label.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def _matches(network: NetworkRecord, filters: Filters) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "driver": lambda value: network.driver == value,
        "id": lambda value: _like(value, network.id),
        "name": lambda value: _like(value, network.name),
        "scope": lambda value: network.scope == value,
        "type": lambda value: (value == "custom") == is_user_defined(network.name),
    }
    for name, test in tests.items():
        if name in filters and not any(test(value) for value in filters[name]):
            return False
    return matches_labels(network.labels, filters.get("label", ()))


def _like(pattern: str, text: str) -> bool:
    """Docker's: equal, or found as a regular expression, or as it stands."""
    if pattern in text:
        return True
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _boolean(name: str, value: str) -> bool:
    if value in ("1", "true", "True", "TRUE", "t", "T"):
        return True
    if value in ("0", "false", "False", "FALSE", "f", "F"):
        return False
    raise InvalidParameter(f"invalid filter '{name}=[{value}]'")
