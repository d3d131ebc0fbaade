"""`GET /containers/{id}/json`."""

from __future__ import annotations

from typing import Any, Protocol

from naru.engine.containers import security, shown, status
from naru.engine.containers.collaborators import Images, Layers, Logs, Networks
from naru.engine.containers.containers import Containers
from naru.engine.containers.listing import image_size
from naru.engine.containers.paths import ContainerPaths
from naru.spec.containers import ContainerRecord
from naru.spec.oci import format_time


class Execs(Protocol):
    def of_container(self, container_id: str) -> list[str]:
        """Ids of the execs that run in it."""


class Inspect:
    def __init__(
        self,
        *,
        containers: Containers,
        images: Images,
        layers: Layers,
        networks: Networks,
        logs: Logs,
        execs: Execs,
        paths: ContainerPaths,
    ) -> None:
        self._containers = containers
        self._images = images
        self._layers = layers
        self._networks = networks
        self._logs = logs
        self._execs = execs
        self._paths = paths

    async def __call__(self, ref: str, *, size: bool = False) -> dict[str, Any]:
        record = self._containers.find(ref)
        directory = self._paths.directory(record.id)
        sizes: dict[str, int] = {}
        if size:
            own = (await self._layers.usage(record.id)).bytes
            sizes = {"SizeRw": own, "SizeRootFs": own + image_size(self._images, record)}
        return {
            "Id": record.id,
            "Created": format_time(record.created),
            "Path": record.path,
            "Args": record.args,
            "State": status.as_inspected(record.state),
            "Image": record.image_id,
            "ResolvConfPath": str(directory / "resolv.conf"),
            "HostnamePath": str(directory / "hostname"),
            "HostsPath": str(directory / "hosts"),
            "LogPath": self._logs.path(record),
            "Name": f"/{record.name}",
            "RestartCount": record.restart_count,
            "Driver": record.driver,
            "Platform": record.platform,
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": _apparmor(record),
            "ExecIDs": self._execs.of_container(record.id) or None,
            "HostConfig": shown.host_config(record.host_config),
            "GraphDriver": {"Data": self._layers.data(record.id) or None, "Name": record.driver},
            **sizes,
            "Mounts": [shown.mount_point(mount) for mount in record.mounts],
            "Config": shown.container_config(record.config),
            "NetworkSettings": self._networks.settings(record),
        }


def _apparmor(record: ContainerRecord) -> str:
    return security.parse(record.host_config.security_opt).apparmor
