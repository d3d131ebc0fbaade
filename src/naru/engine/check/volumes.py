"""Volumes: each has its directory, and each directory its volume."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

from naru.engine.check.finding import Finding
from naru.engine.volumes import Volumes


class VolumeInspection:
    def __init__(self, *, volumes: Volumes) -> None:
        self._volumes = volumes

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        for name, reason in await self._volumes.leftovers():
            if reason:
                yield Finding(
                    "orphan-volume", name, f"it {reason}", remedy="move it away, or remove it"
                )
            else:
                yield Finding(
                    "half-done", f"volumes/{name}", "a volume half made or half removed",
                    functools.partial(self._volumes.discard, name), "remove it",
                )  # fmt: skip
        for name in await self._volumes.missing():
            yield Finding(
                "missing-volume", name, "its directory is gone", remedy="remove the volume"
            )
