"""Threads of their own, for work that goes at a client's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(
    work: Callable[[], T], name: str, *, cancel: Callable[[], object] | None = None
) -> T:
    """`work()` -> its result, as `asyncio.to_thread`, but not in one of the shared threads: clients
    that send or read nothing for long would have all of them, and the daemon none.

    Cancelled, it calls `cancel`, which is to end the work, and waits for that end; without it,
    whoever calls sees to both.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    working = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        working.add_done_callback(lambda ended: ended.exception())  # no news to anybody
        if cancel is not None:
            cancel()
            await asyncio.wait([working])
        raise
    finally:
        executor.shutdown(wait=False)
