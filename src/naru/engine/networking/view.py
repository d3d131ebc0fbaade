"""Networks as the Engine API shows them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from naru.network.driver import Endpoint
from naru.network.ipam import Occupied
from naru.spec.containers import ContainerRecord
from naru.spec.events import Event
from naru.spec.networks import EndpointSettings, NetworkRecord

_MOST = 2**64 - 1  # what the API counts up to


def inspected(
    record: NetworkRecord, members: Mapping[str, Any], subnets: Mapping[str, Occupied]
) -> dict[str, Any]:
    """`NetworkInspect` of the API; `members` is its `Containers`."""
    summary = network(record)
    last = {name: summary.pop(name) for name in ("Options", "Labels")}
    return {
        **summary,
        "Containers": dict(members),
        **last,
        "Status": {
            "IPAM": {
                "Subnets": {
                    subnet: {
                        "IPsInUse": min(found.in_use, _MOST),
                        "DynamicIPsAvailable": min(found.available, _MOST),
                    }
                    for subnet, found in subnets.items()
                }
            }
        },
    }


def network(record: NetworkRecord) -> dict[str, Any]:
    """`Network` of the API, and all that a list shows."""
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": _time(record.created),
        "Scope": record.scope,
        "Driver": record.driver,
        "EnableIPv4": record.enable_ipv4,
        "EnableIPv6": record.enable_ipv6,
        "IPAM": {
            "Driver": record.ipam.driver,
            "Options": record.ipam.options,
            "Config": [_pool(pool) for pool in msgspec.to_builtins(record.ipam.config)],
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": record.options,
        "Labels": record.labels,
    }


def member(name: str, endpoint: Endpoint) -> dict[str, str]:
    """`EndpointResource` of the API."""
    return {
        "Name": name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": endpoint.ipv4,
        "IPv6Address": endpoint.ipv6,
    }


def settings(
    record: ContainerRecord,
    endpoints: Mapping[str, EndpointSettings],
    *,
    ports: Mapping[str, Any],
    key: Path | None,
) -> dict[str, Any]:
    """`NetworkSettings` of inspect; `key` is the namespace's path while there is one."""
    return {
        "SandboxID": sandbox_id(record.id) if key is not None else "",
        "SandboxKey": str(key) if key is not None else "",
        "Ports": dict(ports),
        "Networks": {name: _endpoint(each) for name, each in endpoints.items()},
    }


def sandbox_id(container_id: str) -> str:
    return hashlib.sha256(f"sandbox {container_id}".encode()).hexdigest()


def event(record: NetworkRecord, action: str, **attributes: str) -> Event:
    return Event(
        type="network",
        action=action,
        actor_id=record.id,
        attributes={**attributes, "name": record.name, "type": record.driver},
    )


def active(members: Iterable[tuple[str, str]]) -> str:
    """The endpoints of a network that cannot be removed: (container name, endpoint id)."""
    return ", ".join(f'name:"{name}" id:"{endpoint[:12]}"' for name, endpoint in members)


def _pool(pool: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in pool.items() if value and key != "AuxiliaryAddresses"}
    if pool.get("AuxiliaryAddresses"):
        shown["AuxiliaryAddresses"] = pool["AuxiliaryAddresses"]
    return shown


def _endpoint(endpoint: EndpointSettings) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(endpoint)
    config = shown.get("IPAMConfig")
    if config is not None:
        shown["IPAMConfig"] = {key: value for key, value in config.items() if value}
    return shown


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
