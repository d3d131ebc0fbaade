"""What a create request must not ask: dockerd's checks with dockerd's texts. Pure.

What Docker knows and this engine does not do is refused here, by name, before anything is made.
"""

from __future__ import annotations

import ipaddress

from naru.engine.containers import mounts, ports, security, signals
from naru.kernel.cgroups import refusal_of_parent
from naru.spec.containers import ContainerConfig, HealthConfig, HostConfig, RestartPolicy
from naru.spec.errors import InvalidParameter, Unsupported

_MILLISECOND = 1_000_000
_ULIMIT_NAMES = (
    "core cpu data fsize locks memlock msgqueue nice "
    "nofile nproc rss rtprio rttime sigpending stack"
)
_ULIMITS = frozenset(_ULIMIT_NAMES.split())


def check_config(config: ContainerConfig) -> None:
    """The portable half, after the image's defaults are merged in."""
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an "
            "absolute path"
        )
    if len(config.hostname) > 64 or len(config.domainname) > 64:
        raise InvalidParameter(
            f"invalid hostname format: {max(config.hostname, config.domainname, key=len)}"
        )
    for entry in config.env:
        if not entry or entry.startswith("="):
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if config.stop_signal:
        signals.parse(config.stop_signal)
    if config.healthcheck is not None:
        _check_health(config.healthcheck)
    ports.check_exposed(config.exposed_ports)


def _check_health(health: HealthConfig) -> None:
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value != 0 and value < _MILLISECOND:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if health.test and health.test[0] not in ("NONE", "CMD", "CMD-SHELL", ""):
        raise InvalidParameter(
            f"Unknown healthcheck type {health.test[0]!r} (expected 'CMD', 'CMD-SHELL' or 'NONE')"
        )


def check_host(config: ContainerConfig, host: HostConfig, *, systemd_cgroup: bool = False) -> None:
    """The half that depends on the host; limits are checked by `resources`, logs by `logs`."""
    _check_unsupported(host)
    check_restart_policy(host.restart_policy)
    if host.auto_remove and host.restart_policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    _check_modes(host)
    _check_network(config, host)
    for entry in host.extra_hosts:
        _check_extra_host(entry)
    ports.check_bindings(host.port_bindings)
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    for destination, options in host.tmpfs.items():
        mounts.check_tmpfs(destination, options)
    for limit in host.ulimits:
        if limit.name not in _ULIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidParameter(
                "ulimit soft limit must be less than or equal to hard limit: "
                f"{limit.soft} > {limit.hard}"
            )
    for mapping in host.devices:
        if set(mapping.cgroup_permissions) - set("rwm"):
            raise InvalidParameter(f"invalid device mode: {mapping.cgroup_permissions}")
    if refusal := refusal_of_parent(host.cgroup_parent, systemd=systemd_cgroup):
        raise InvalidParameter(refusal)
    if "" in host.annotations:
        raise InvalidParameter(
            "invalid Annotations: the empty string is not permitted as an annotation key"
        )
    security.parse(host.security_opt)


def check_restart_policy(policy: RestartPolicy) -> None:
    match policy.name:
        case "":
            return
        case "no" | "always" | "unless-stopped":
            if policy.maximum_retry_count != 0:
                raise InvalidParameter(
                    "invalid restart policy: maximum retry count can only be used with "
                    "'on-failure'"
                    + (" and cannot be negative" if policy.maximum_retry_count < 0 else "")
                )
        case "on-failure":
            if policy.maximum_retry_count < 0:
                raise InvalidParameter(
                    "invalid restart policy: maximum retry count cannot be negative"
                )
        case _:
            raise InvalidParameter(
                f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', "
                "'always', 'on-failure', or 'unless-stopped'"
            )


def _check_unsupported(host: HostConfig) -> None:
    if host.device_requests:
        request = host.device_requests[0]
        wanted = " ".join("[" + " ".join(group) + "]" for group in request.capabilities)
        raise Unsupported(
            f'could not select device driver "{request.driver}" with capabilities: [{wanted}]'
        )
    if host.isolation not in ("", "default"):
        raise InvalidParameter(f"invalid isolation '{host.isolation}' on linux")
    for name, value in (
        ("HostConfig.Links", host.links),
        ("HostConfig.Cgroup", host.cgroup),
        ("HostConfig.CpuCount", host.cpu_count),
        ("HostConfig.KernelMemoryTCP", host.kernel_memory_tcp),
    ):
        if value:
            raise Unsupported(f"{name} is not supported by this engine")


def _check_modes(host: HostConfig) -> None:
    """The namespace modes: what may be shared, and with whom."""
    if host.ipc_mode not in ("", "none", "host", "private", "shareable") and not _container(
        host.ipc_mode
    ):
        raise InvalidParameter(f"invalid IPC mode: {host.ipc_mode}")
    if host.pid_mode not in ("", "host") and not _container(host.pid_mode):
        raise InvalidParameter(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroupns_mode not in ("", "host", "private"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    # "private" is Docker's word for "the daemon's remapping", and none is configured.
    if host.userns_mode not in ("", "host"):
        raise InvalidParameter(f"invalid USER mode: {host.userns_mode}")


def _check_network(config: ContainerConfig, host: HostConfig) -> None:
    mode = host.network_mode
    shared = mode.startswith("container:")
    if shared and not _container(mode):
        raise InvalidParameter("Invalid network mode: invalid container format container:<name|id>")
    if host.uts_mode == "host":
        if config.hostname:
            raise InvalidParameter("conflicting options: hostname and the UTS mode")
        if config.domainname:
            raise InvalidParameter("conflicting options: domainname and the UTS mode")
    if not shared:
        return
    conflicts = (
        (bool(config.hostname), "hostname and the network mode"),
        (bool(host.dns or host.dns_search or host.dns_options), "dns and the network mode"),
        (bool(host.extra_hosts), "custom host-to-IP mapping and the network mode"),
        (bool(config.mac_address), "mac-address and the network mode"),
        (
            bool(host.port_bindings or host.publish_all_ports),
            "port publishing and the container type network mode",
        ),
        (bool(config.exposed_ports), "port exposing and the container type network mode"),
    )
    for given, what in conflicts:
        if given:
            raise InvalidParameter(f"conflicting options: {what}")


def _check_extra_host(entry: str) -> None:
    name, found, address = entry.partition(":")
    if not found or not name:
        raise InvalidParameter(f'bad format for add-host: "{entry}"')
    if address == "host-gateway":
        return
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from None


def _container(mode: str) -> str:
    """The reference of `container:<ref>`, or ""."""
    kind, _, ref = mode.partition(":")
    return ref if kind == "container" else ""
