"""The networks of the Engine API, and Naru's record of one."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import field

from naru.spec.api import Api


class EndpointIPAMConfig(Api, frozen=True):
    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")
    link_local_ips: list[str] = field(default_factory=list, name="LinkLocalIPs")


class EndpointSettings(Api, frozen=True):
    """A container's connection to one network: what was asked (the first five), what came of it."""

    ipam_config: EndpointIPAMConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    mac_address: str = ""
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: list[str] | None = field(default=None, name="DNSNames")


class NetworkingConfig(Api, frozen=True):
    endpoints_config: dict[str, EndpointSettings] = {}


class IPAMPool(Api, frozen=True):
    subnet: str = ""
    ip_range: str = field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class IPAM(Api, frozen=True):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[IPAMPool] = []


class NetworkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A network and the addresses leased from it."""

    id: str
    name: str
    driver: str  # bridge, host, none, macvlan, ipvlan
    created: int  # ns since the epoch
    scope: str = "local"
    ipam: IPAM = IPAM()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    driver_state: dict[str, Any] = {}  # what the driver needs to find its kernel objects again
