"""What the daemon's configuration says about networks."""

from __future__ import annotations

import msgspec

from naru.network.ipam import DEFAULT_POOLS


class NetworkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`bridge` is the default network's interface, "" for no default bridge (`--bridge none`)."""

    bridge: str = "naru0"
    bip: str = ""  # "172.20.0.1/16": the bridge's address and subnet
    fixed_cidr: str = ""  # "172.20.5.0/24": the part of the subnet that containers get
    icc: bool = True
    ip: str = "0.0.0.0"  # where ports are published that name no address
    ip_masquerade: bool = True
    mtu: int = 1500
    pools: tuple[tuple[str, int], ...] = DEFAULT_POOLS
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway_ip: str = ""  # what `host-gateway` means; "" is the default bridge's address
