"""Layers: what is on the disk has a record that something needs, and what has a record is there."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Collection

from naru.engine.check.finding import Finding
from naru.engine.images.library import Library
from naru.spec.layers import LayerRecord
from naru.store.records import delete


class LayerInspection:
    def __init__(
        self, *, library: Library, busy: Callable[[], Collection[str]] = frozenset
    ) -> None:
        """`busy`: containers that are being made or removed."""
        self._library = library
        self._busy = busy

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
                name = records.containers.get(missing)
                yield Finding(
                    "missing-layer", missing,
                    f"container {name.name if name else ''} has lost its files",
                    remedy="remove the container",
                )  # fmt: skip
        for record in await self._unused():
            yield Finding(
                "unused-layer", record.chain_id, "no image and no container needs it",
                self._library.sweep, "remove it",
            )  # fmt: skip

    async def _unused(self) -> list[LayerRecord]:
        layers = self._library.layers
        if not await layers.unused():
            return []
        await self._library.settled()
        return await layers.unused()

    async def _forget(self, record: LayerRecord) -> None:
        """The record goes, so that the next pull makes the layer anew."""
        records, driver = self._library.records, self._library.layers.driver
        await records.commit(delete(records.layers, record.chain_id))
        # What a driver keeps elsewhere of a layer whose directory is gone.
        await asyncio.to_thread(driver.remove, record.storage_id)
