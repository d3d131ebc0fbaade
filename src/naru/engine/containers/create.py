"""`POST /containers/create`: a request becomes a record, a writable layer and a directory.

Everything is checked before anything is made, and what was made is undone when a later step fails.
Nothing is asked of the runtime: that is the start's work.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import msgspec
from msgspec import field

from naru.engine.containers import merge, names, validation
from naru.engine.containers.adapt import HostDefaults, adapted
from naru.engine.containers.collaborators import Images, Layers, Logs, Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.layer_size import storage_size
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.oci_resources import device_rule
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.provision import MountProvision
from naru.engine.containers.remains import remove_tree
from naru.engine.containers.resources import Controllers, checked
from naru.runtime import capabilities
from naru.spec.containers import ContainerConfig, ContainerRecord, HostConfig
from naru.spec.errors import InvalidParameter, NotFound
from naru.spec.images import ImageRecord
from naru.spec.networks import EndpointSettings
from naru.spec.oci import Platform, host_platform, parse_platform


class Request(msgspec.Struct, frozen=True):
    """The body of `POST /containers/create`, and its `name` and `platform`."""

    config: ContainerConfig
    host: HostConfig = field(default_factory=HostConfig)
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    name: str = ""
    platform: str = ""


class Created(msgspec.Struct, frozen=True):
    record: ContainerRecord
    warnings: list[str]


class Create:
    def __init__(
        self,
        *,
        containers: Containers,
        images: Images,
        layers: Layers,
        provision: MountProvision,
        runtimes: Runtimes,
        paths: ContainerPaths,
        defaults: HostDefaults,
        controllers: Callable[[], Controllers],
        logs: Logs,
        storage_driver: Callable[[], str],
    ) -> None:
        self._containers = containers
        self._images = images
        self._layers = layers
        self._provision = provision
        self._runtimes = runtimes
        self._paths = paths
        self._defaults = defaults
        self._controllers = controllers
        self._logs = logs
        self._storage_driver = storage_driver

    async def __call__(self, request: Request) -> Created:
        if request.name:
            names.check(request.name)
        config, image = self._merged(request.config, request.platform)
        path, args = merge.command(config)
        host, warnings = self._checked(config, request.host)
        warnings += _platform_warnings(request.platform, image)
        container_id = secrets.token_hex(32)
        name = request.name.removeprefix("/") or names.generate(
            self._containers.name_is_free, container_id
        )
        with self._containers.reserved_name(name, container_id):
            record = ContainerRecord(
                id=container_id,
                name=name,
                created=time.time_ns(),
                image_id=image.id if image else "",
                chain_id=image.chain_id if image else "",
                driver=self._storage_driver(),
                config=self._named_host(config, host, container_id),
                host_config=host,
                path=path,
                args=args,
                endpoints=_endpoints(config, host, request.endpoints),
            )
            with self._held(record.chain_id):
                return Created(await self._make(record), warnings)

    async def _make(self, record: ContainerRecord) -> ContainerRecord:
        directory = self._paths.directory(record.id)
        async with AsyncExitStack() as undo:
            # The directory is the mark of a create: recovery takes away what has one and no record.
            undo.push_async_callback(asyncio.to_thread, remove_tree, directory)
            directory.mkdir(mode=0o710, parents=True)
            points = await self._provision.resolve(
                record.config, record.host_config, directory, undo
            )
            undo.push_async_callback(self._layers.remove_writable, record.id)
            made = msgspec.structs.replace(record, mounts=points)

            async def save() -> None:
                nonlocal made
                # Asked for again: the making may have waited for a switch to another driver.
                made = msgspec.structs.replace(made, driver=self._storage_driver())
                await self._containers.save(made, occurrence(made, "create"))

            size = storage_size(record.host_config)
            await self._layers.create_writable(record.id, record.chain_id, size=size, record=save)
            undo.pop_all()
        return made

    @contextmanager
    def _held(self, chain_id: str) -> Iterator[None]:
        """Keep the image's layers until the record itself does, whatever removes the image."""
        if not chain_id:
            yield
            return
        self._layers.acquire(chain_id)
        try:
            yield
        finally:
            self._layers.release(chain_id)

    def _merged(
        self, config: ContainerConfig, platform: str
    ) -> tuple[ContainerConfig, ImageRecord | None]:
        if not config.image:
            # Docker: a container of no image has an empty root.
            return merge.merged(config, ContainerConfig()), None
        wanted = parse_platform(platform) if platform else None
        image = self._images.find(config.image, wanted)
        document = self._images.config(image.id)
        return merge.merged(config, document.config), image

    def _checked(self, config: ContainerConfig, host: HostConfig) -> tuple[HostConfig, list[str]]:
        validation.check_config(config)
        validation.check_host(config, host, systemd_cgroup=self._defaults.systemd_cgroup)
        capabilities.effective(host.cap_add, host.cap_drop, privileged=host.privileged)
        for rule in host.device_cgroup_rules:
            device_rule(rule)
        storage_size(host)
        controllers = self._controllers()
        host, warnings = checked(host, controllers)
        host = adapted(
            host,
            self._defaults,
            cgroup_version=controllers.version,
            container_id_of=self._container_id,
        )
        self._logs.check(host.log_config)
        if host.runtime not in self._runtimes:
            raise InvalidParameter(f"unknown or invalid runtime name: {host.runtime}")
        if host.network_mode == "host" and host.port_bindings:
            warnings.append("Published ports are discarded when using host network mode")
        self._runtimes[host.runtime].expect_start()
        return host, warnings

    def _container_id(self, ref: str) -> str:
        try:
            return self._containers.find(ref).id
        except NotFound:
            return ref  # the start will say so

    def _named_host(
        self, config: ContainerConfig, host: HostConfig, container_id: str
    ) -> ContainerConfig:
        """The container's host name: its own, or that of whom it shares the network with."""
        hostname = config.hostname
        if not hostname:
            kind, _, ref = host.network_mode.partition(":")
            other = self._containers.get(ref) if kind == "container" else None
            if host.network_mode == "host" or host.uts_mode == "host":
                hostname = socket.gethostname()
            else:
                hostname = other.config.hostname if other is not None else container_id[:12]
        return msgspec.structs.replace(config, hostname=hostname)


def _endpoints(
    config: ContainerConfig, host: HostConfig, asked: dict[str, EndpointSettings]
) -> dict[str, EndpointSettings]:
    """By network; the network of `NetworkMode` comes first, and has the container's address."""
    mode = host.network_mode
    if mode.startswith("container:") or config.network_disabled:
        return {}
    asked = {"bridge" if name == "default" else name: value for name, value in asked.items()}
    primary = asked.pop(mode, EndpointSettings())
    if config.mac_address and not primary.mac_address:
        primary = msgspec.structs.replace(primary, mac_address=config.mac_address)
    return {mode: primary, **asked}


def _platform_warnings(asked: str, image: ImageRecord | None) -> list[str]:
    here = host_platform()
    if asked or image is None or not image.architecture or image.architecture == here.architecture:
        return []
    theirs = Platform(image.architecture, image.os, variant=image.variant)
    return [
        f"The requested image's platform ({theirs}) does not match the detected host platform "
        f"({here}) and no specific platform was requested"
    ]
