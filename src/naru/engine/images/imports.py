"""`docker import`: a root file system's tar becomes an image of one layer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import BinaryIO, cast

from naru.engine.images import configs, events
from naru.engine.images.changes import apply_changes
from naru.engine.images.layer_intake import Arrived, KeptLayer, LayerIntake
from naru.engine.images.library import Library
from naru.engine.pipes import BrokenStream, Inbound
from naru.registry.answers import Refused, Unreachable
from naru.registry.transport import Transport
from naru.spec import oci
from naru.spec.containers import ContainerConfig
from naru.spec.errors import InvalidParameter, Unavailable
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.compression import Inflated


class Importer:
    def __init__(self, *, library: Library, transport: Transport, version: str) -> None:
        """`version` is what images name as `docker_version`."""
        self._library = library
        self._transport = transport
        self._version = version

    async def import_(
        self,
        stream: AsyncIterator[bytes],
        *,
        name: Reference | None,
        changes: Sequence[str] = (),
        message: str = "",
        platform: Platform | None = None,
        source: str = "-",
    ) -> ImageRecord:
        """`stream` is a tar, compressed or not. `source` is where it came from, for the history."""
        config = apply_changes(ContainerConfig(), changes)
        platform = platform or oci.host_platform()
        library = self._library
        async with library.taking_in() as lease, LayerIntake(library, lease) as intake:
            layer = await self._receive(stream, intake)
            created = time.time_ns()
            document = configs.image_config(
                platform=platform,
                config=config,
                created=created,
                diff_ids=[layer.diff_id],
                history=[configs.history_entry(created=created, comment=_comment(message, source))],
                comment=message or _comment("", source),
                version=self._version,
            )
            async with library.used_or_swept() as held:
                await intake.unpack(held, None, layer.diff_id, layer)
                image_id = oci.digest_of(document)
                names = [name.tagged()] if name else []
                said = [
                    events.of_id("tag", image_id, config.labels, each.familiar) for each in names
                ]
                said.append(events.of_id("import", image_id, config.labels))
                return await library.add(
                    document,
                    names=names,
                    blobs=[layer.record(library.blobs)] if isinstance(layer, KeptLayer) else [],
                    said=said,
                )

    async def import_url(self, url: str, **options: object) -> ImageRecord:
        """The same from `http://` or `https://`."""
        if "://" not in url:
            url = f"http://{url}"
        try:
            async with self._transport.request("GET", url) as response:
                return await self.import_(
                    response.content.iter_chunked(1 << 18),
                    source=url,
                    **options,  # type: ignore[arg-type]
                )
        except Refused as error:
            raise InvalidParameter(f"{url}: the server answered {error.status}") from error
        except Unreachable as error:
            raise Unavailable(str(error)) from error

    async def _receive(self, stream: AsyncIterator[bytes], intake: LayerIntake) -> Arrived:
        def work(source: BinaryIO) -> Arrived:
            return intake.take(cast(BinaryIO, Inflated(source)))

        try:
            return await Inbound(stream).run(work)
        except BrokenStream as error:
            raise InvalidParameter(str(error)) from error


def _comment(message: str, source: str) -> str:
    return message or f"Imported from {source}"
