"""Work that a passing shortage (descriptors, memory) or a busy mount must not end."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator

log = logging.getLogger(__name__)

PAUSES = (0.1, 0.5, 2.0, 5.0)
"""Seconds between attempts; what fails after the last is left to the next start's recovery."""

_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


async def persevere(
    work: Callable[[], Awaitable[None]], what: str, *, endless: bool = False
) -> None:
    """Await `work()`, idempotent, until an attempt succeeds; raises what the last one raised.

    A shortage has no last attempt: nothing else works either until it has passed. Nor has what is
    `endless`, whatever it fails of.
    """
    failed = 0
    while True:
        try:
            return await work()
        except Exception as error:
            told = failed < len(PAUSES)
            if not told and not endless and not _is_shortage(error):
                raise
            pause = PAUSES[min(failed, len(PAUSES) - 1)]
            # What lasts for hours does not fill the log.
            level = logging.WARNING if told else logging.DEBUG
            log.log(level, "%s failed, again in %s s: %s", what, pause, error)
        failed += 1
        await asyncio.sleep(pause)


def _is_shortage(error: BaseException) -> bool:
    return any(isinstance(e, OSError) and e.errno in _SHORTAGES for e in _with_causes(error))


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
