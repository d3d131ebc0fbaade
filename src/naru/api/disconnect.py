"""Ending an endless answer when its client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def until_gone(pieces: AsyncIterator[T], gone: asyncio.Future[None]) -> AsyncIterator[T]:
    """`pieces` until they end or `gone` is done; a step that is under way then is cancelled."""
    try:
        while not gone.done():
            step = asyncio.ensure_future(anext(pieces))
            either: set[asyncio.Future[Any]] = {step, gone}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    return
                try:
                    piece = step.result()
                except StopAsyncIteration:
                    return
            finally:
                if not step.done():
                    step.cancel()
                    with suppress(asyncio.CancelledError, StopAsyncIteration):
                        await step
            yield piece
    finally:
        gone.cancel()
        if (close := getattr(pieces, "aclose", None)) is not None:
            await close()
