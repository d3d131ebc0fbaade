"""`GET /containers/json`: a summary of each container, newest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from naru.engine.containers import filters as container_filters
from naru.engine.containers import ports, shown
from naru.engine.containers.collaborators import Images, Layers, Networks
from naru.engine.containers.containers import Containers
from naru.engine.containers.filters import Filters, Lookups
from naru.engine.containers.status import health_summary, in_words_of_ps
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import NaruError, NotFound
from naru.spec.images import ImageRecord

_ALIVE = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


class Listing:
    def __init__(
        self,
        *,
        containers: Containers,
        images: Images,
        layers: Layers,
        networks: Networks,
        all_images: Callable[[], Sequence[ImageRecord]],
    ) -> None:
        self._containers = containers
        self._images = images
        self._layers = layers
        self._networks = networks
        self._all_images = all_images

    async def __call__(
        self, *, all: bool = False, limit: int = 0, size: bool = False, filters: Filters
    ) -> list[dict[str, Any]]:
        """`limit` > 0: the newest ones, running or not; docker-py says -1 for no limit."""
        wanted = container_filters.for_list(
            filters, Lookups(self._containers.find, self._image_ids)
        )
        everything = all or limit > 0 or wanted.wants_stopped
        found = [
            record
            for record in reversed(self._containers.all())
            if (everything or record.state.status in _ALIVE) and wanted.matches(record)
        ]
        now, names = time.time_ns(), _ImageNames(self._images)
        summaries = [self._summary(each, now, names) for each in found[: max(limit, 0) or None]]
        if size:
            for record, summary in zip(found, summaries, strict=False):
                await self._add_sizes(record, summary)
        return summaries

    def _summary(self, record: ContainerRecord, now: int, names: _ImageNames) -> dict[str, Any]:
        settings = self._networks.settings(record)
        summary: dict[str, Any] = {
            "Id": record.id,
            "Names": [f"/{record.name}"],
            "Image": names.of(record),
            "ImageID": record.image_id,
            "Command": command_line(record),
            "Created": record.created // 10**9,
            "Ports": published(settings.get("Ports") or {}) if record.running else [],
            "Labels": record.config.labels,
            "State": record.state.status.value,
            "Status": in_words_of_ps(record.state, now),
            "HostConfig": {"NetworkMode": record.host_config.network_mode},
            "NetworkSettings": {"Networks": settings["Networks"]},
            "Mounts": [shown.mount_point(mount) for mount in record.mounts],
            "Health": health_summary(record.state),
        }
        if record.host_config.annotations:
            summary["HostConfig"]["Annotations"] = record.host_config.annotations
        return summary

    async def _add_sizes(self, record: ContainerRecord, summary: dict[str, Any]) -> None:
        try:
            own = (await self._layers.usage(record.id)).bytes
        except NaruError:
            return  # it is being removed
        summary["SizeRw"] = own
        summary["SizeRootFs"] = own + image_size(self._images, record)

    def _image_ids(self, ref: str) -> frozenset[str]:
        try:
            image = self._images.find(ref)
        except NaruError:
            return frozenset()
        return descendants(image.id, self._all_images())


def descendants(image_id: str, images: Sequence[ImageRecord]) -> frozenset[str]:
    """An image and all that were committed or built from it here."""
    found = {image_id}
    size = 0
    while size != len(found):
        size = len(found)
        found.update(image.id for image in images if image.parent in found)
    return frozenset(found)


class _ImageNames:
    """What each image is called now: the reference given at create while it still means it."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._meant: dict[str, str] = {}

    def of(self, record: ContainerRecord) -> str:
        ref = record.config.image
        if ref not in self._meant:
            try:
                self._meant[ref] = self._images.find(ref).id if ref else ""
            except NaruError:
                self._meant[ref] = ""
        return ref if self._meant[ref] == record.image_id else record.image_id


def image_size(images: Images, record: ContainerRecord) -> int:
    try:
        return images.find(record.image_id).size if record.image_id else 0
    except NotFound:
        return 0


def command_line(record: ContainerRecord) -> str:
    args = [f"'{arg}'" if " " in arg else arg for arg in record.args]
    return " ".join([record.path, *args])


def published(bindings: Mapping[str, list[dict[str, str]] | None]) -> list[dict[str, Any]]:
    """`NetworkSettings.Ports` as the list that `docker ps` prints."""
    found: list[dict[str, Any]] = []
    for port, hosts in bindings.items():
        number, protocol = ports.split(port)
        if not hosts:
            found.append({"PrivatePort": int(number), "Type": protocol})
        for host in hosts or ():
            found.append(
                {
                    "IP": host["HostIp"],
                    "PrivatePort": int(number),
                    "PublicPort": int(host["HostPort"]),
                    "Type": protocol,
                }
            )
    return found
