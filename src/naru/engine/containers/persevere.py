"""Clean-up that a passing shortage (descriptors, memory, a busy mount) must not end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds between attempts; what fails after the last is left to the next start's recovery."""


async def persevere(work: Callable[[], Awaitable[None]], what: str) -> None:
    """Await `work()`, idempotent, until an attempt succeeds; raises what the last one raised."""
    for pause in PAUSES:
        try:
            await work()
        except Exception as error:
            log.warning("%s failed, again in %s s: %s", what, pause, error)
        else:
            return
        await asyncio.sleep(pause)
    await work()
