"""Everything on the host that one start of a container needs, but its network and its process.

Nothing here is undone on failure: `Teardown` undoes it all from the record, in any state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field
from msgspec.structs import replace

from naru.engine.containers import devices, propagation, rootfs, security, users
from naru.engine.containers.collaborators import Layers, Volumes
from naru.engine.containers.containers import Containers
from naru.engine.containers.devices import HostDevices
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.mounts import MountRequest, requested
from naru.engine.containers.oci_config import Namespaces, Setting
from naru.engine.containers.oci_mounts import BoundMount, bound
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.users import User
from naru.runtime import capabilities, seccomp, seccomp_custom
from naru.spec.containers import ContainerRecord, HostConfig, MountPoint
from naru.spec.errors import Conflict, InternalError, NotFound


class _Found(msgspec.Struct, frozen=True):
    user: User
    devices: HostDevices = field(default_factory=HostDevices)
    files: frozenset[str] = frozenset()  # where what is bound is no directory


class Prepare:
    def __init__(
        self,
        *,
        containers: Containers,
        layers: Layers,
        volumes: Volumes,
        paths: ContainerPaths,
        facts: HostFacts,
        no_new_privileges: bool = False,
        init_by_default: bool = False,
        limited_by_default: bool = False,
    ) -> None:
        """`limited_by_default`: the storage driver was given a size for all containers."""
        self._containers = containers
        self._layers = layers
        self._volumes = volumes
        self._paths = paths
        self._facts = facts
        self._no_new_privileges = no_new_privileges
        self._init_by_default = init_by_default
        self._limited_by_default = limited_by_default

    async def __call__(self, record: ContainerRecord) -> Setting:
        """Idempotent. The network's namespace and the own files are added by the start."""
        host = record.host_config
        namespaces = self._namespaces(record)
        root = await self._layers.mount(record.id)
        requests = {each.destination: each for each in requested(record.config, host)}
        mounts = [
            await self._mount(record, point, requests.get(point.destination), root)
            for point in record.mounts
        ]
        shm = self._shm(record)
        found = await asyncio.to_thread(self._look, record, requests, root, shm)
        options = security.parse(host.security_opt, no_new_privileges=self._no_new_privileges)
        granted = capabilities.effective(host.cap_add, host.cap_drop, privileged=host.privileged)
        limited = self._limited_by_default or bool(host.storage_opt)
        return Setting(
            rootfs=root,
            user=found.user,
            capabilities=granted,
            cgroups_path=self._facts.cgroups_path(record.id, host.cgroup_parent),
            namespaces=namespaces,
            mounts=[_not_recursive(each, found.files) for each in mounts],
            devices=found.devices,
            shm=shm,
            init=self._init(record),
            seccomp=_seccomp(host, options.seccomp, granted, limited=limited),
            apparmor=self._apparmor(record, options.apparmor),
            no_new_privileges=options.no_new_privileges,
        )

    async def _mount(
        self, record: ContainerRecord, point: MountPoint, request: MountRequest | None, root: Path
    ) -> BoundMount:
        mount = bound(point, request)
        if point.type != "volume":
            return mount
        if record.state.started_at == 0 and request is not None and request.copy:
            await self._volumes.populate(point.name, root, point.destination)
        source = await self._volumes.mount(
            point.name,
            record.id,
            destination=point.destination,
            rw=point.rw,
            propagation=point.propagation,
        )
        return replace(mount, source=str(source))

    def _look(
        self,
        record: ContainerRecord,
        requests: Mapping[str, MountRequest],
        root: Path,
        shm: Path | None,
    ) -> _Found:
        """All that blocks, in one turn of a worker thread."""
        host = record.host_config
        user = users.resolve(record.config.user, host.group_add, users.read_accounts(root))
        rootfs.make_working_directory(root, record.config.working_dir)
        rootfs.make_bind_sources(
            point
            for point in record.mounts
            if point.type == "bind"
            and (request := requests.get(point.destination)) is not None
            and request.create_source
        )
        propagation.check(point for point in record.mounts if point.type == "bind")
        if shm is not None and host.ipc_mode == "shareable":
            rootfs.mount_shm(shm, host.shm_size)
        self._paths.bundle(record.id).mkdir(mode=0o711, parents=True, exist_ok=True)
        return _Found(
            user,
            devices.look_up(host) if devices.needed(host) else HostDevices(),
            rootfs.files_among(point for point in record.mounts if point.type == "bind"),
        )

    def _init(self, record: ContainerRecord) -> Path | None:
        wanted = record.host_config.init
        if not (self._init_by_default if wanted is None else wanted):
            return None
        found = self._facts.find_init()
        if found is None:
            raise InternalError(
                'unable to find an init for --init: exec: "docker-init": executable file not '
                "found in $PATH (install tini or catatonit)"
            )
        return found

    def _apparmor(self, record: ContainerRecord, asked: str) -> str:
        if asked == "unconfined" or (not asked and record.host_config.privileged):
            return ""
        return asked or self._facts.apparmor_profile

    def _shm(self, record: ContainerRecord) -> Path | None:
        kind, _, ref = record.host_config.ipc_mode.partition(":")
        match kind:
            case "shareable":
                return self._paths.shm(record.id)
            case "container":
                return self._paths.shm(ref)
            case _:
                return None

    def _namespaces(self, record: ContainerRecord) -> Namespaces:
        host = record.host_config
        pid = self._other(host.pid_mode, "PID")
        ipc = self._other(host.ipc_mode, "IPC")
        if ipc is not None and ipc.host_config.ipc_mode not in ("shareable", "host"):
            raise Conflict(
                f"cannot join IPC of container {ipc.id}: non-shareable IPC "
                "(hint: use IpcMode:shareable for the donor container)"
            )
        return Namespaces(
            pid=None if pid is None else Path(f"/proc/{pid.state.pid}/ns/pid"),
            ipc=None if ipc is None else Path(f"/proc/{ipc.state.pid}/ns/ipc"),
            private_cgroup=host.cgroupns_mode == "private",
        )

    def _other(self, mode: str, what: str) -> ContainerRecord | None:
        """The running container whose namespace is joined."""
        kind, _, ref = mode.partition(":")
        if kind != "container":
            return None
        other = self._containers.get(ref)
        if other is None:
            raise NotFound(f"No such container: {ref}")
        if not other.running:
            raise Conflict(f"cannot join {what} of a non running container: {other.id}")
        return other


def _not_recursive(mount: BoundMount, files: frozenset[str]) -> BoundMount:
    """crun 1.8 fails where a file is to be read-only recursively, and there is nothing below it."""
    if mount.point.destination not in files:
        return mount
    return replace(mount, read_only_recursive=False)


def _seccomp(
    host: HostConfig, profile: str, capabilities: Sequence[str], *, limited: bool
) -> Mapping[str, Any] | None:
    if host.privileged or profile == "unconfined":
        return None
    if profile:
        return seccomp_custom.custom_profile(profile.encode(), capabilities)
    return _default_profile(tuple(capabilities), limited)


@lru_cache(maxsize=16)
def _default_profile(capabilities: tuple[str, ...], limited: bool) -> Mapping[str, Any]:
    return seccomp.default_profile(capabilities, limited=limited)
