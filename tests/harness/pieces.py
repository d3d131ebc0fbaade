"""Streams of pieces, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator

from naru.kernel.pipes import Piped


async def joined(pieces: AsyncIterator[bytes | Piped]) -> bytes:
    found: list[bytes] = []
    async for piece in pieces:
        found += [each async for each in piece] if isinstance(piece, Piped) else [piece]
    return b"".join(found)
