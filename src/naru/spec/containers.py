"""The containers of the Engine API, and Naru's record of one.

`ContainerConfig`, `HostConfig` and their parts have the fields of the Engine API 1.55 definitions
of the same names, and those that older versions had. They are immutable: a change is a new value
(`msgspec.structs.replace`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import field

from naru.spec.api import Api
from naru.spec.networks import EndpointSettings


class HealthConfig(Api, frozen=True):
    """Durations are nanoseconds; 0 means "inherit"."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class ContainerConfig(Api, frozen=True):
    """The portable part of a container: what an image may also carry."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] = {}
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] = {}
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] = {}
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class WeightDevice(Api, frozen=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(Api, frozen=True):
    path: str = ""
    rate: int = 0


class DeviceMapping(Api, frozen=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Api, frozen=True):
    driver: str = ""
    count: int = 0
    device_ids: list[str] = field(default_factory=list, name="DeviceIDs")
    capabilities: list[list[str]] = []
    options: dict[str, str] = {}


class Ulimit(Api, frozen=True):
    name: str = ""
    soft: int = 0
    hard: int = 0


class LogConfig(Api, frozen=True):
    type: str = ""
    config: dict[str, str] = {}


class PortBinding(Api, frozen=True):
    host_ip: str = field(default="", name="HostIp")
    host_port: str = ""


class RestartPolicy(Api, frozen=True):
    """`name`: "" or "no", "always", "unless-stopped", "on-failure"."""

    name: str = ""
    maximum_retry_count: int = 0


class BindOptions(Api, frozen=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(Api, frozen=True):
    name: str = ""
    options: dict[str, str] = {}


class VolumeOptions(Api, frozen=True):
    no_copy: bool = False
    labels: dict[str, str] = {}
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(Api, frozen=True):
    subpath: str = ""


class TmpfsOptions(Api, frozen=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = []


class MountSpec(Api, frozen=True):
    """HostConfig.Mounts[]: `type` is bind, volume, tmpfs, image, npipe or cluster."""

    target: str = ""
    source: str = ""
    type: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Api, frozen=True):
    """The part of a container that depends on the host. Memory in bytes, CPU quota in µs."""

    cpu_shares: int = 0
    memory: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] = []
    blkio_device_read_bps: list[ThrottleDevice] = []
    blkio_device_write_bps: list[ThrottleDevice] = []
    blkio_device_read_iops: list[ThrottleDevice] = field(
        default_factory=list, name="BlkioDeviceReadIOps"
    )
    blkio_device_write_iops: list[ThrottleDevice] = field(
        default_factory=list, name="BlkioDeviceWriteIOps"
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] = []
    device_cgroup_rules: list[str] = []
    device_requests: list[DeviceRequest] = []
    kernel_memory: int = 0
    kernel_memory_tcp: int = field(default=0, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] = []
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = field(default=0, name="IOMaximumBandwidth")

    binds: list[str] = []
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] = {}
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] = []
    mounts: list[MountSpec] = []
    console_size: list[int] = []
    annotations: dict[str, str] = {}
    cap_add: list[str] = []
    cap_drop: list[str] = []
    cgroupns_mode: str = ""
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    extra_hosts: list[str] = []
    group_add: list[str] = []
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] = []
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] = []
    storage_opt: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    runtime: str = ""
    isolation: str = ""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None


class MountPoint(Api, frozen=True):
    """A mount as `GET /containers/{id}/json` shows it in `Mounts`, resolved at create."""

    type: str
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = field(default=True, name="RW")
    propagation: str = ""


class Status(StrEnum):
    """`State.Status` of the Engine API."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class HealthProbe(Api, frozen=True):
    start: str = ""
    end: str = ""
    exit_code: int = 0
    output: str = ""


class Health(Api, frozen=True):
    status: str = "starting"
    failing_streak: int = 0
    log: list[HealthProbe] = []


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """Times are nanoseconds since the epoch; 0 is "never"."""

    status: Status = Status.CREATED
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    health: Health | None = None


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the engine must know to manage a container after a restart of the daemon.

    What the kernel knows (is the pid alive, is the root mounted) is checked, not stored.
    """

    id: str
    name: str  # without the leading slash
    created: int  # ns since the epoch
    image_id: str  # "sha256:..." of the image config; "" for none
    chain_id: str  # the image's topmost layer; "" for an image without layers
    driver: str  # storage driver that holds the writable layer
    config: ContainerConfig
    host_config: HostConfig
    path: str  # argv[0]
    args: list[str]
    mounts: list[MountPoint] = []
    endpoints: dict[str, EndpointSettings] = {}  # by network name
    state: ContainerState = ContainerState()
    restart_count: int = 0
    stopped_by_user: bool = False  # an explicit stop: "unless-stopped" stays down
    platform: str = "linux"

    @property
    def running(self) -> bool:
        return self.state.status in (Status.RUNNING, Status.PAUSED)
