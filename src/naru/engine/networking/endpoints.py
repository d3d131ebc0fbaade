"""A container's endpoints as the API tells them: what was asked and what came of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

import msgspec

from naru.engine.networking.catalog import is_user_defined
from naru.network.driver import Endpoint
from naru.network.ipam import mac_for
from naru.spec.containers import ContainerRecord
from naru.spec.errors import InvalidParameter, Unsupported
from naru.spec.networks import EndpointSettings, NetworkRecord

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def cleared(settings: EndpointSettings) -> EndpointSettings:
    """What was asked, without what came of it: the endpoint of a container that does not run."""
    return msgspec.structs.replace(
        settings,
        mac_address=requested_mac(settings),
        endpoint_id="",
        gateway="",
        ip_address="",
        ip_prefix_len=0,
        ipv6_gateway="",
        global_ipv6_address="",
        global_ipv6_prefix_len=0,
    )


def requested_mac(settings: EndpointSettings) -> str:
    """The MAC that the user chose, or "": one made from the address is not chosen."""
    generated = made_mac(settings.ip_address, settings.global_ipv6_address)
    return "" if settings.mac_address == generated else settings.mac_address


def made_mac(ipv4: str, ipv6: str) -> str:
    if ipv4:
        return mac_for(IPv4Address(ipv4))
    # Of an endpoint with IPv6 alone: the same form, from the address's end.
    return mac_for(IPv4Address(IPv6Address(ipv6).packed[-4:])) if ipv6 else ""


def achieved(
    settings: EndpointSettings, network: NetworkRecord, endpoint: Endpoint, names: list[str] | None
) -> EndpointSettings:
    """What was asked, with what came of it."""
    ipv4 = ip_interface(endpoint.ipv4) if endpoint.ipv4 else None
    ipv6 = ip_interface(endpoint.ipv6) if endpoint.ipv6 else None
    return msgspec.structs.replace(
        settings,
        mac_address=endpoint.mac,
        network_id=network.id,
        endpoint_id=endpoint.id,
        gateway=endpoint.gateway4,
        ip_address=str(ipv4.ip) if ipv4 else "",
        ip_prefix_len=ipv4.network.prefixlen if ipv4 else 0,
        ipv6_gateway=endpoint.gateway6,
        global_ipv6_address=str(ipv6.ip) if ipv6 else "",
        global_ipv6_prefix_len=ipv6.network.prefixlen if ipv6 else 0,
        dns_names=names,
    )


def dns_names(record: ContainerRecord, settings: EndpointSettings) -> list[str]:
    """What the container is called on a user-defined network; the first answers PTR."""
    names = [record.name, *(settings.aliases or ()), record.id[:12], record.config.hostname]
    return list(dict.fromkeys(name for name in names if name))


def check(network: NetworkRecord, settings: EndpointSettings) -> None:
    """Refuse what this network cannot give, with Docker's texts."""
    faults = list(_faults(network, settings))
    if faults:
        raise InvalidParameter("invalid endpoint settings:\n" + "\n".join(faults))
    if settings.mac_address and not _MAC.fullmatch(settings.mac_address):
        raise InvalidParameter(f"invalid MAC address {settings.mac_address}")
    for option in settings.driver_opts or {}:
        raise Unsupported(f"endpoint option {option} is not supported by this engine")
    if settings.ipam_config and settings.ipam_config.link_local_ips:
        raise Unsupported("link-local addresses (--link-local-ip) are not supported by this engine")
    for link in settings.links or ():
        if not all(link.partition(":")[::2]):
            raise InvalidParameter(f"bad format for links: {link}")


def _faults(network: NetworkRecord, settings: EndpointSettings) -> Iterable[str]:
    config = settings.ipam_config
    addresses = (config.ipv4_address, config.ipv6_address) if config else ("", "")
    if not is_user_defined(network.name):
        if any(addresses):
            yield "user specified IP address is supported on user defined networks only"
        if settings.aliases:
            yield ("network-scoped alias is supported only for containers in user defined networks")
    for text, version in zip(addresses, (4, 6), strict=True):
        if text:
            yield from _address_faults(network, text, version)


def _address_faults(network: NetworkRecord, text: str, version: int) -> Iterable[str]:
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version or address.is_unspecified:
        yield f"invalid IPv{version} address: {text}"
        return
    if str(version) not in network.driver_state.get("user_subnets", ()):
        yield (
            "user specified IP address is supported only when connecting to networks with user "
            "configured subnets"
        )
    elif not any(address in ip_network(p.subnet, strict=False) for p in network.ipam.config):
        yield f"no configured subnet or ip-range contain the IP address {text}"


def gateway_of(
    candidates: Sequence[tuple[NetworkRecord, EndpointSettings]],
) -> NetworkRecord | None:
    """The network that the default route goes through: highest priority, then by name.

    Docker's rule; internal networks lead nowhere.
    """
    usable = [
        (-settings.gw_priority, network.name, network)
        for network, settings in candidates
        if network.driver == "bridge" and not network.internal
    ]
    return min(usable, key=lambda each: each[:2])[2] if usable else None
