"""Layers: what is on the disk has a record that something needs, and what has a record is there."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

from naru.engine.check.finding import Finding
from naru.engine.images.layer_tars import LayerTars, NoTar
from naru.engine.images.library import Library
from naru.spec.containers import ContainerRecord
from naru.spec.errors import NaruError
from naru.spec.layers import LayerRecord
from naru.store.records import delete

AGAIN = "remove its images and the containers on them, then pull or load again"


class LayerInspection:
    def __init__(
        self,
        *,
        library: Library,
        busy: Callable[[], Collection[str]] = frozenset,
        again: Callable[[ContainerRecord], Callable[[], Awaitable[None]] | None] = lambda _: None,
    ) -> None:
        """`busy`: containers that are being made or removed. `again`: how to make the layer of a
        container anew, if it never ran."""
        self._library = library
        self._busy = busy
        self._again = again

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        layers, records = self._library.layers, self._library.records
        for orphan in await layers.orphans(self._busy):
            yield Finding(
                "orphan-layer", orphan, f"in {layers.driver.name}, and in no record",
                functools.partial(layers.remove_orphans, [orphan]), "remove it",
            )  # fmt: skip
        by_id = {record.storage_id: record for record in records.layers.values()}
        for missing in await layers.missing():
            if (record := by_id.get(missing)) is not None:
                yield Finding(
                    "missing-layer", missing, f"{layers.driver.name} does not have it",
                    functools.partial(self._forget, record), "remove the record",
                )  # fmt: skip
            elif missing in records.containers and missing not in self._busy():
                container = records.containers.get(missing)
                again = self._again(container) if container else None
                yield Finding(
                    "missing-layer", missing,
                    f"container {container.name if container else ''} has lost its files",
                    again, "make it anew, empty" if again else "remove the container",
                )  # fmt: skip
        if verify:
            async for finding in self._contents():
                yield finding
        for record in await self._unused():
            yield Finding(
                "unused-layer", record.chain_id, "no image and no container needs it",
                self._library.sweeper.sweep, "remove it",
            )  # fmt: skip

    async def _contents(self) -> AsyncIterator[Finding]:
        """Read every layer of which the driver can write the very tar that it came from."""
        library = self._library
        for record in library.records.layers.values():
            library.layers.acquire(record.chain_id)  # it must not be removed while it is read
            try:
                if record.chain_id not in library.records.layers:
                    continue
                text = await asyncio.to_thread(self._fault, record)
            finally:
                library.layers.release(record.chain_id)
            if text:
                yield Finding("damaged-layer", record.chain_id, text, remedy=AGAIN)

    def _fault(self, record: LayerRecord) -> str:
        hashed = hashlib.sha256()
        try:
            for piece in LayerTars(self._library).of_layer(record):
                hashed.update(piece)
        except NoTar:
            return ""
        except FileNotFoundError as error:
            return f"a file of it is missing: {error}"
        except (NaruError, OSError, ValueError) as error:
            return f"it cannot be read: {error}"
        found = "sha256:" + hashed.hexdigest()
        return "" if found == record.diff_id else f"its files give {found}, not {record.diff_id}"

    async def _unused(self) -> list[LayerRecord]:
        """Those that no removal under way will remove."""
        layers = self._library.layers
        found = {record.storage_id for record in await layers.unused()}
        if not found:
            return []
        await self._library.sweeper.settled()
        return [record for record in await layers.unused() if record.storage_id in found]

    async def _forget(self, record: LayerRecord) -> None:
        """The record goes, so that the next pull makes the layer anew."""
        records = self._library.records
        async with self._library.layers.reading() as driver:
            if records.layers.get(record.chain_id) != record:
                return  # carried to another driver meanwhile
            await records.commit(delete(records.layers, record.chain_id))
            # What a driver keeps elsewhere of a layer whose directory is gone.
            await asyncio.to_thread(driver.remove, record.storage_id)
