"""`GET /system/df` in Docker's terms, and `GET /naru/system/df` where every byte has a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from naru.engine.containers.listing import Listing as Containers
from naru.engine.disk import ledger
from naru.engine.disk.ledger import Ledger, Measured
from naru.engine.images.listing import Listing as Images
from naru.engine.volume_view import encode_volume
from naru.engine.volumes import Volumes
from naru.spec.errors import InternalError
from naru.store.records import Records
from naru.store.room import Room

Document = dict[str, Any]

_ALIVE = ("running", "paused", "restarting")


class DiskUsage:
    """Sizes are the disk's, in blocks. Those of images are what their layers' files hold: a byte
    that several images share has no place in only one of them.
    """

    def __init__(
        self,
        *,
        records: Records,
        ledger: Ledger,
        room: Room,
        images: Images,
        containers: Containers,
        volumes: Volumes,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._room = room
        self._images = images
        self._containers = containers
        self._volumes = volumes

    async def of_images(self) -> Document:
        """`TotalSize` is all that there is for images: blobs, layers, what the driver adds."""
        measured = await self._measured()
        total = sum(measured.sizes[kind] for kind in ledger.IMAGE_KINDS)
        items = self._images.images(all=True, shared_size=True)
        unused = [item for item in items if not item["Containers"]]
        own = sum(item["Size"] - item["SharedSize"] for item in unused)
        # An image's size is that of its files, which a driver may keep in less.
        return {"ImageUsage": _usage(items, unused, total=total, reclaimable=min(own, total))}

    async def of_containers(self) -> Document:
        """`SizeRw` is all that goes with the container: its layer, its log, its own files."""
        measured = await self._measured()
        listed = await self._containers(all=True, limit=0, size=False, filters={})
        for container in listed:
            own = measured.container(container["Id"])
            image = self._records.images.get(container["ImageID"])
            container["SizeRw"] = own
            container["SizeRootFs"] = own + (image.size if image else 0)
        idle = [item for item in listed if item["State"] not in _ALIVE]
        sizes = {"total": _sum(listed, "SizeRw"), "reclaimable": _sum(idle, "SizeRw")}
        return {"ContainerUsage": _usage(listed, idle, **sizes)}

    async def of_volumes(self) -> Document:
        """A volume with options is somebody else's disk space: only its mount point is ours."""
        measured = await self._measured()
        items = [
            {
                **encode_volume(volume),
                "UsageData": {
                    "Size": measured.volumes[volume.name],
                    "RefCount": len(self._volumes.users(volume.name)),
                },
            }
            for volume in self._records.volumes.values()
            if not volume.options
        ]
        used = [item["UsageData"] for item in items]
        unused = [usage for usage in used if not usage["RefCount"]]
        sizes = {"total": _sum(used, "Size"), "reclaimable": _sum(unused, "Size")}
        return {"VolumeUsage": _usage(items, unused, **sizes)}

    async def of_build_cache(self) -> Document:
        return {"BuildCacheUsage": _usage([], [], total=0, reclaimable=0)}

    async def everything(self) -> Document:
        """`GET /naru/system/df`: `Total` is what `du` says, and the sum of `Kinds`."""
        measured = await self._measured()
        free, total = self._room.free()
        return {
            "DataRoot": str(self._ledger.root),
            "Driver": self._ledger.driver,
            "Total": measured.total,
            "FileSystem": {"Size": total, "Free": free, "KeptFree": self._room.floor.of(total)},
            "Kinds": [
                {"Kind": kind, "Size": measured.sizes[kind], "Count": measured.counts[kind]}
                for kind in ledger.KINDS
            ],
            "Layers": [
                {"ChainId": layer.chain_id, "StorageId": layer.storage_id,
                 "Size": measured.layers[layer.storage_id]}
                for layer in self._records.layers.values()
            ],
            "Containers": [
                {"Id": container.id, "Name": container.name,
                 "Layer": measured.writable[container.id], "Log": measured.logs[container.id],
                 "Files": measured.files[container.id]}
                for container in self._records.containers.values()
            ],
            "Volumes": [
                {"Name": volume.name, "Size": measured.volumes[volume.name]}
                for volume in self._records.volumes.values()
            ],
        }  # fmt: skip

    async def _measured(self) -> Measured:
        try:
            return await self._ledger.measure()
        except OSError as error:
            raise InternalError(f"cannot measure the data root: {error}") from error


def _usage(
    items: list[Document], idle: Sequence[Document], *, total: int, reclaimable: int
) -> Document:
    """What `GET /system/df` says of one type of object; `idle` are those that nothing uses."""
    return {
        "ActiveCount": len(items) - len(idle),
        "TotalCount": len(items),
        "Reclaimable": reclaimable,
        "TotalSize": total,
        "Items": items,
    }


def _sum(items: Sequence[Document], name: str) -> int:
    return sum(item[name] for item in items)
