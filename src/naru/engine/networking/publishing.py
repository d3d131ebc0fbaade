"""Published ports: from a container's settings to requests, and from results to the API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from naru.engine.containers import ports
from naru.network.drivers.bridge import HOST_BINDING
from naru.network.firewall import PortMap, Protocols
from naru.network.ports import PortRequest
from naru.spec.containers import ContainerRecord, PortBinding
from naru.spec.errors import InvalidParameter, Unsupported
from naru.spec.networks import NetworkRecord


def requests(
    record: ContainerRecord, network: NetworkRecord, *, ipv4: str, ipv6: str, default_ip: str
) -> list[PortRequest]:
    """What `-p` and `-P` ask for; those that name a host port come first.

    `ipv4`, `ipv6`: the container's addresses on `network`, "" where it has none.
    """
    default = network.options.get(HOST_BINDING) or default_ip
    found = [
        request
        for port, binding in _bindings(record)
        for request in _requests(port, binding, {4: ipv4, 6: ipv6}, default)
    ]
    return sorted(found, key=lambda request: request.first == 0)


def shown(record: ContainerRecord, published: Iterable[PortMap]) -> dict[str, Any]:
    """`NetworkSettings.Ports`: exposed ports too, with null where they are not published."""
    exposed = [*ports.expanded(record.config.exposed_ports), *record.host_config.port_bindings]
    found: dict[str, Any] = dict.fromkeys(exposed)
    for port in published:
        key = f"{port.container_port}/{port.protocol}"
        entry = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        found[key] = [*(found.get(key) or []), entry]
    return dict(sorted(found.items()))


def _bindings(record: ContainerRecord) -> Iterator[tuple[str, PortBinding]]:
    bound = record.host_config.port_bindings
    for port, bindings in bound.items():
        for binding in bindings or [PortBinding()]:
            yield port, binding
    if record.host_config.publish_all_ports:
        for port in ports.expanded(record.config.exposed_ports):
            if not bound.get(port):
                yield port, PortBinding()


def _requests(
    port: str, binding: PortBinding, own: Mapping[int, str], default: str
) -> Iterator[PortRequest]:
    number, protocol = ports.split(port)
    if protocol not in ("tcp", "udp"):
        raise Unsupported(f"publishing {protocol} ports ({port}) is not supported by this engine")
    first, last = _host_range(binding.host_port)
    for host_ip in _host_addresses(binding.host_ip, default, own):
        target = own[ip_address(host_ip).version]
        yield PortRequest(
            protocol=_protocol(protocol),
            host_ip=host_ip,
            first=first,
            last=last,
            container_ip=str(ip_interface(target).ip),
            container_port=int(number),
        )


def _protocol(name: str) -> Protocols:
    return "tcp" if name == "tcp" else "udp"


def _host_addresses(asked: str, default: str, own: Mapping[int, str]) -> Iterator[str]:
    text = asked or default
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidParameter(f"invalid host IP address: {text}") from None
    if not asked and address.is_unspecified:
        # Every address of the host, of the families that the container has.
        if own[4]:
            yield "0.0.0.0"
        if own[6]:
            yield "::"
        return
    if not own[address.version]:
        raise Unsupported(
            f"publishing at {text}: the container has no IPv{address.version} address on its "
            "network, and this engine has no proxy between the two"
        )
    yield str(address)


def _host_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = int(first) if first else 0
        return low, (int(last) if dash else low)
    except ValueError:
        raise InvalidParameter(f'invalid port specification: "{text}"') from None
