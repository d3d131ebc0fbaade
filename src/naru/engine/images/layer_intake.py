"""Layers that come as streams (import, load, commit): kept as compressed blobs, then unpacked.

One pass over the incoming tar hashes and deflates it; what is kept is what a push sends and a save
inflates again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple, cast

from naru.engine.images.library import Library
from naru.spec.images import BlobRecord
from naru.spec.oci import DOCKER_LAYER_GZIP
from naru.store.blobs import BlobStore, Lease
from naru.store.compression import GzipWriter, Inflated

_PIECE = 1 << 20


class KeptLayer(NamedTuple):
    """A layer's tar, by the digest of its plain bytes, and the blob that inflates to it."""

    diff_id: str
    blob: str
    plain_size: int

    def record(self, blobs: BlobStore) -> BlobRecord:
        return BlobRecord(
            id=self.blob, size=blobs.size(self.blob), media_type=DOCKER_LAYER_GZIP,
            diff_id=self.diff_id, plain_size=self.plain_size, created=time.time_ns(),
        )  # fmt: skip


def keep(blobs: BlobStore, pieces: Iterable[bytes | memoryview], lease: Lease) -> KeptLayer:
    """Deflate a plain tar into the blob store. Blocks: for worker threads."""
    plain = hashlib.sha256()
    size = 0
    with blobs.ingest() as ingest:
        deflated = GzipWriter(ingest)
        for piece in pieces:
            plain.update(piece)
            size += deflated.write(piece)
        deflated.close()
        lease.add(ingest.digest)
        return KeptLayer("sha256:" + plain.hexdigest(), ingest.commit(), size)


async def unpack(
    library: Library,
    held: contextlib.AsyncExitStack,
    parent: str | None,
    diff_id: str,
    blob: str,
) -> str:
    """Register a layer from its blob -> its chain id, held as long as `held` is open."""
    source = await asyncio.to_thread(library.blobs.open, blob)
    try:
        tar = cast(BinaryIO, Inflated(source))
        record = await library.layers.register(parent, diff_id, tar)
    finally:
        source.close()
    held.callback(library.layers.release, record.chain_id)
    return record.chain_id


def pieces_of(source: BinaryIO) -> Iterable[bytes]:
    while piece := source.read(_PIECE):
        yield piece
