"""Threads of their own, for work that goes at a client's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T], name: str) -> T:
    """`work()` -> its result, as `asyncio.to_thread`, but not in one of the shared threads: clients
    that send or read nothing for long would have all of them, and the daemon none.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)
