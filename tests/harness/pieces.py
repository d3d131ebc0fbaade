"""Streams of pieces, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator

from naru.kernel.pipes import Piped, unpiped


async def joined(pieces: AsyncIterator[bytes | Piped]) -> bytes:
    return b"".join([piece async for piece in unpiped(pieces)])
