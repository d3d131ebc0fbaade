"""From a request to a network's record: what is asked is checked, the rest is chosen. Pure.

The texts of refusals are Docker's.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

import msgspec

from naru.engine.networking.catalog import PREDEFINED
from naru.engine.networking.settings import NetworkSettings
from naru.network import ipam
from naru.network.drivers import bridge
from naru.spec.api import Api
from naru.spec.errors import Forbidden, InvalidParameter, NotFound, Unsupported
from naru.spec.networks import IPAM, IPAMPool, NetworkRecord

Network = IPv4Network | IPv6Network

_NOT_YET = ("macvlan", "ipvlan")


class ConfigReference(Api, frozen=True):
    network: str = ""


class NetworkCreate(Api, frozen=True):
    """The body of `POST /networks/create`."""

    name: str = ""
    check_duplicate: bool = False
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: IPAM | None = msgspec.field(default=None, name="IPAM")
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    options: dict[str, str] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)


def check(request: NetworkCreate) -> None:
    """What can be refused without looking at other networks."""
    if not request.name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if request.name in PREDEFINED or request.name == "default":
        raise Forbidden(f"operation is not permitted on predefined {request.name} network ")
    driver = request.driver or "bridge"
    if driver in ("host", "null", "none"):
        name = "null" if driver == "none" else driver
        raise Forbidden(f'only one instance of "{name}" network is allowed')
    if driver in _NOT_YET:
        raise Unsupported(f"the {driver} network driver is not supported by this engine yet")
    if driver == "overlay":
        raise Forbidden(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
            "to connect this node to swarm and try again."
        )
    if driver != "bridge":
        raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")
    if request.scope not in ("", "local"):
        raise Unsupported(f"networks of scope {request.scope} are not supported by this engine")
    for asked, what in (
        (request.ingress, "ingress networks"),
        (request.config_only, "configuration-only networks"),
        (bool(request.config_from and request.config_from.network), "--config-from"),
        (request.enable_ipv4 is False, "networks without IPv4"),
    ):
        if asked:
            raise Unsupported(f"{what} are not supported by this engine")
    _check_ipam(request)


def record(
    request: NetworkCreate,
    *,
    taken: Sequence[Network],
    occupied: Sequence[Network],
    settings: NetworkSettings,
) -> NetworkRecord:
    """A checked request's network. `taken` are other networks' subnets, `occupied` the host's."""
    network_id = secrets.token_hex(32)
    given = request.ipam.config if request.ipam else []
    pools = [pool for pool in given if pool.subnet]
    for pool in pools:
        ipam.check_free(ip_network(pool.subnet, strict=False), taken)
    versions = {ip_network(pool.subnet, strict=False).version for pool in pools}
    if 4 not in versions:
        chosen = ipam.choose_pool([*taken, *occupied], pools=settings.pools)
        partial = next((pool for pool in given if not pool.subnet), IPAMPool())
        pools.insert(0, msgspec.structs.replace(partial, subnet=str(chosen)))
    if request.enable_ipv6 and 6 not in versions:
        pools.append(IPAMPool(subnet=str(ipam.unique_local_pool(network_id))))
    options = None if request.ipam is None else request.ipam.options
    return NetworkRecord(
        id=network_id,
        name=request.name,
        driver=request.driver or "bridge",
        created=time.time_ns(),
        ipam=IPAM(
            driver="default", options=options, config=[ipam.complete(pool) for pool in pools]
        ),
        options=request.options,
        labels=request.labels,
        internal=request.internal,
        attachable=request.attachable,
        enable_ipv6=request.enable_ipv6,
        # `--ip` is for networks whose subnet the user chose.
        driver_state={"user_subnets": sorted(str(version) for version in versions)},
    )


def default_bridge(
    known: NetworkRecord | None,
    *,
    settings: NetworkSettings,
    existing: Sequence[str],
    taken: Iterable[Network],
) -> NetworkRecord:
    """The record of network "bridge" for this configuration; `known` is that of the last run.

    `existing`: the addresses of an interface of this name that is there already.
    """
    occupied = list(taken)
    options = bridge.default_options(
        bridge=settings.bridge,
        icc=settings.icc,
        masquerade=settings.ip_masquerade,
        mtu=settings.mtu,
        binding=settings.ip,
    )
    state = {"adopted": bool(existing) and (known is None or known.driver_state.get("adopted"))}
    if settings.bip:
        address = ip_interface(settings.bip)
        pool = IPAMPool(subnet=str(address.network), gateway=str(address.ip))
        state = {"adopted": False}
    elif (
        known is not None
        and not state["adopted"]
        and _still_free(known, occupied)
        and _contains(known.ipam.config[0], settings.fixed_cidr)
    ):
        pool = msgspec.structs.replace(known.ipam.config[0], ip_range="")
    elif ipv4 := [text for text in existing if ":" not in text]:
        address = ip_interface(ipv4[0])
        pool = IPAMPool(subnet=str(address.network), gateway=str(address.ip))
    else:
        # As with Docker, --fixed-cidr alone is the bridge's subnet too.
        chosen = settings.fixed_cidr or str(ipam.choose_pool(occupied, pools=settings.pools))
        pool = ipam.complete(IPAMPool(subnet=chosen))
    if settings.fixed_cidr:
        pool = msgspec.structs.replace(pool, ip_range=settings.fixed_cidr)
        ipam.validate(pool)
    return NetworkRecord(
        id=known.id if known else secrets.token_hex(32),
        name="bridge",
        driver="bridge",
        created=known.created if known else time.time_ns(),
        ipam=IPAM(config=[pool]),
        options=options,
        driver_state=state,
    )


def predefined(name: str, driver: str) -> NetworkRecord:
    """The records of "host" and "none"."""
    return NetworkRecord(
        id=secrets.token_hex(32), name=name, driver=driver, created=time.time_ns(), ipam=IPAM()
    )


def _still_free(known: NetworkRecord, occupied: Iterable[Network]) -> bool:
    """Another bridge of the host may have taken the subnet while ours was not there."""
    if not known.ipam.config:
        return False
    subnet = ip_network(known.ipam.config[0].subnet)
    return not any(ipam.overlaps(subnet, other) for other in occupied)


def _contains(pool: IPAMPool, part: str) -> bool:
    return not part or ip_network(part).subnet_of(ip_network(pool.subnet))  # type: ignore[arg-type]


def _check_ipam(request: NetworkCreate) -> None:
    if request.ipam is None:
        return
    if request.ipam.driver not in ("", "default"):
        raise Unsupported(f"IPAM driver {request.ipam.driver} is not supported by this engine")
    for option in request.ipam.options or {}:
        raise Unsupported(f"IPAM option {option} is not supported by this engine")
    seen: list[Network] = []
    for pool in request.ipam.config:
        if not pool.subnet:
            if pool.gateway or pool.ip_range or pool.auxiliary_addresses:
                raise InvalidParameter("every ip-range or gateway must have a corresponding subnet")
            continue
        ipam.validate(pool)
        network = ip_network(pool.subnet, strict=False)
        if network.version == 6 and not request.enable_ipv6:
            raise InvalidParameter(
                f"invalid network config:\ninvalid subnet {pool.subnet}: IPv6 has not been enabled "
                "for this network"
            )
        if any(ipam.overlaps(network, other) for other in seen):
            raise Forbidden(ipam.POOL_OVERLAP)
        if any(network.version == other.version for other in seen):
            raise Unsupported("more than one subnet of an IP version is not supported")
        seen.append(network)
