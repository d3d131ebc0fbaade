"""`GET /system/df`: what images, containers and volumes take, each kind asked for by itself."""

from __future__ import annotations

import asyncio
from typing import Any

from naru.engine.containers.listing import Listing as Containers
from naru.engine.images.listing import Listing as Images
from naru.engine.volume_view import encode_volume
from naru.engine.volumes import Volumes
from naru.store.blobs import BlobStore
from naru.store.records import Records

Document = dict[str, Any]


class DiskUsage:
    """`LayersSize` is what `du` would say of layers and blobs together."""

    def __init__(
        self,
        *,
        records: Records,
        blobs: BlobStore,
        images: Images,
        containers: Containers,
        volumes: Volumes,
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._images = images
        self._containers = containers
        self._volumes = volumes

    async def of_images(self) -> Document:
        layers = sum(layer.size for layer in self._records.layers.values())
        blobs = await asyncio.to_thread(self._blobs.disk_usage)
        return {
            "LayersSize": layers + blobs,
            "Images": self._images.images(all=True, shared_size=True),
        }

    async def of_containers(self) -> Document:
        return {"Containers": await self._containers(all=True, limit=0, size=True, filters={})}

    async def of_volumes(self) -> Document:
        usage = await self._volumes.usage()
        return {
            "Volumes": [
                {
                    **encode_volume(used.volume),
                    "UsageData": {"Size": used.size, "RefCount": used.references},
                }
                for used in usage
            ]
        }

    async def of_build_cache(self) -> Document:
        return {"BuildCache": []}
