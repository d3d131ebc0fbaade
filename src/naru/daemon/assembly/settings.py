"""What the daemon's configuration means to each part, in that part's own words. Mostly pure."""

from __future__ import annotations

import shutil

from naru import __version__
from naru.api import versions
from naru.daemon.config import Config, ConfigError
from naru.daemon.option_structures import RuntimeChoice
from naru.engine.containers.adapt import HostDefaults
from naru.engine.containers.facts import HostFacts
from naru.engine.networking.settings import NetworkSettings
from naru.engine.system import Installation
from naru.kernel.cgroups import Hierarchies
from naru.network.ipam import DEFAULT_POOLS
from naru.registry.endpoints import Resolver
from naru.registry.transport import Transport
from naru.spec.containers import LogConfig

_RUNTIMES = ("crun", "runc")  # in the order of preference

Runtimes = dict[str, RuntimeChoice]
"""The OCI runtimes there are, the default one first."""


def runtimes(config: Config) -> Runtimes:
    """Looks for the programs; `ConfigError` when there is none."""
    found = {
        name: RuntimeChoice(name, path)
        for name in _RUNTIMES
        if (path := shutil.which(name)) is not None
    }
    found |= {choice.name: choice for choice in config.runtimes}
    default = config.default_runtime or next(iter(found), "")
    if not found:
        raise ConfigError("no OCI runtime: neither crun nor runc is installed")
    if default not in found:
        raise ConfigError(f"specified default runtime '{default}' does not exist")
    return {default: found.pop(default), **found}


def systemd_cgroup(config: Config) -> bool:
    return config.cgroup_driver == "systemd"


def host_facts(config: Config, hierarchies: Hierarchies) -> HostFacts:
    return HostFacts(
        hierarchies=hierarchies,
        systemd_cgroup=systemd_cgroup(config),
        cgroup_parent=config.cgroup_parent,
    )


def host_defaults(config: Config, choices: Runtimes) -> HostDefaults:
    return HostDefaults(
        runtime=next(iter(choices)),
        log=LogConfig(type=config.log_driver, config=dict(config.log_opts)),
        shm_size=config.default_shm_size,
        systemd_cgroup=systemd_cgroup(config),
        network_mode="bridge" if config.bridge != "none" else "none",
        init=config.init,
        ulimits=config.default_ulimits,
    )


def installation(
    config: Config, choices: Runtimes, facts: HostFacts, storage_driver: str
) -> Installation:
    init = facts.find_init()
    return Installation(
        data_root=config.data_root,
        storage_driver=storage_driver,
        log_driver=config.log_driver,
        log_drivers=("json-file", "none"),
        network_drivers=("bridge", "host", "null"),
        volume_drivers=("local",),
        cgroup_driver="systemd" if facts.systemd_cgroup else "cgroupfs",
        runtimes={name: (choice.path, *choice.args) for name, choice in choices.items()},
        default_runtime=next(iter(choices)),
        init_binary=str(init) if init else "",
        api_version=versions.text(versions.NEWEST),
        min_api_version=versions.text(versions.OLDEST),
        address_pools=address_pools(config),
        labels=config.labels,
        insecure_registries=config.insecure_registries,
        registry_mirrors=config.registry_mirrors,
        debug=config.debug,
    )


def transport(config: Config) -> Transport:
    resolver = Resolver(insecure=config.insecure_registries, mirrors=config.registry_mirrors)
    return Transport(resolver=resolver, user_agent=f"naru/{__version__}")


def address_pools(config: Config) -> tuple[tuple[str, int], ...]:
    chosen = tuple((pool.base, pool.size) for pool in config.default_address_pools)
    return chosen or DEFAULT_POOLS


def network_settings(config: Config) -> NetworkSettings:
    return NetworkSettings(
        bridge="" if config.bridge == "none" else config.bridge_name,
        bip=config.bip,
        fixed_cidr=config.fixed_cidr,
        icc=config.icc,
        ip=config.ip,
        ip_masquerade=config.ip_masq,
        mtu=config.mtu,
        pools=address_pools(config),
        dns=config.dns,
        dns_search=config.dns_search,
        dns_options=config.dns_opts,
    )
