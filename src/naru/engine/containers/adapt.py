"""A HostConfig with the daemon's defaults filled in, as inspect will show it. Pure."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import field

from naru.engine.containers import ports
from naru.engine.containers.oci_config import MASKED_PATHS, READONLY_PATHS
from naru.spec.containers import HostConfig, LogConfig, Ulimit

SHM_SIZE = 64 * 1024 * 1024


class HostDefaults(msgspec.Struct, frozen=True):
    """What the daemon's configuration says for containers that do not say it themselves."""

    runtime: str = "crun"
    log: LogConfig = field(default_factory=lambda: LogConfig(type="json-file"))
    shm_size: int = SHM_SIZE
    ipc_mode: str = "private"
    cgroupns_mode: str = ""  # "" is by the host's cgroup version, as dockerd
    systemd_cgroup: bool = False
    network_mode: str = "bridge"
    init: bool = False
    no_new_privileges: bool = False
    ulimits: tuple[Ulimit, ...] = ()


def adapted(
    host: HostConfig,
    defaults: HostDefaults,
    *,
    cgroup_version: int,
    container_id_of: Callable[[str], str],
) -> HostConfig:
    """`container_id_of` turns a reference into a full id, or returns it when nobody has it."""
    mode = "bridge" if host.network_mode == "default" else host.network_mode
    log = host.log_config
    if not log.type:
        # Options alone are the options of the default driver.
        log = LogConfig(type=defaults.log.type, config=log.config or defaults.log.config)
    policy = host.restart_policy
    if not policy.name:
        policy = msgspec.structs.replace(policy, name="no", maximum_retry_count=0)
    shares_host = host.privileged or host.pid_mode == "host" or host.ipc_mode == "host"
    security = list(host.security_opt)
    if shares_host and "label=disable" not in security:
        security.append("label=disable")
    named = {limit.name for limit in host.ulimits}
    return msgspec.structs.replace(
        host,
        network_mode=_by_id(mode or defaults.network_mode, container_id_of),
        pid_mode=_by_id(host.pid_mode, container_id_of),
        ipc_mode=_by_id(host.ipc_mode or defaults.ipc_mode, container_id_of),
        cgroupns_mode=host.cgroupns_mode or _cgroupns(host, defaults, cgroup_version),
        shm_size=host.shm_size or defaults.shm_size,
        runtime=host.runtime or defaults.runtime,
        log_config=log,
        restart_policy=policy,
        security_opt=security,
        port_bindings=ports.normalized(host.port_bindings),
        masked_paths=_paths(host.masked_paths, MASKED_PATHS, host),
        readonly_paths=_paths(host.readonly_paths, READONLY_PATHS, host),
        ulimits=[*host.ulimits, *(each for each in defaults.ulimits if each.name not in named)],
        cgroup_parent=host.cgroup_parent,
    )


def _by_id(mode: str, container_id_of: Callable[[str], str]) -> str:
    """A rename of the other container must not break what shares its namespaces."""
    kind, separator, ref = mode.partition(":")
    return f"container:{container_id_of(ref)}" if separator and kind == "container" else mode


def _cgroupns(host: HostConfig, defaults: HostDefaults, cgroup_version: int) -> str:
    if host.privileged and cgroup_version == 1:
        return "host"
    return defaults.cgroupns_mode or ("private" if cgroup_version == 2 else "host")


def _paths(asked: list[str] | None, default: list[str], host: HostConfig) -> list[str] | None:
    if host.privileged:
        return None
    return list(default) if asked is None else asked
