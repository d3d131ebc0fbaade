"""Layers that come as streams (import, load, commit), before it is known what they belong to.

A plain tar is unpacked at once where the storage driver can do that and give the very tar back:
then nothing else of it needs to be kept. Else it is kept as a deflated blob, and unpacked from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple, cast

from naru.engine.images.layer_tars import LayerTars
from naru.engine.images.library import Library
from naru.engine.tasks import Tasks
from naru.spec.images import BlobRecord
from naru.spec.layers import chains_over
from naru.spec.oci import DOCKER_LAYER_GZIP
from naru.store.blobs import BlobStore, Lease
from naru.store.compression import GzipWriter, Inflated, Readable
from naru.store.driver import KeepsTars, Stages
from naru.store.handover import Handover
from naru.store.piece_reader import PieceReader
from naru.store.shared_layers import StagedLayer
from naru.store.unpack import check_digest

_PIECE = 1 << 20
_AT_ONCE = 2
"""Layers of one stream that are unpacked at the same time."""


class KeptLayer(NamedTuple):
    """A layer as a blob that inflates to its tar; `diff_id` "" is one not yet known."""

    diff_id: str
    blob: str
    plain_size: int = 0

    def record(self, blobs: BlobStore) -> BlobRecord:
        return BlobRecord(
            id=self.blob, size=blobs.size(self.blob), media_type=DOCKER_LAYER_GZIP,
            diff_id=self.diff_id, plain_size=self.plain_size, created=time.time_ns(),
        )  # fmt: skip


class KnownLayer(NamedTuple):
    """A layer that is here already, in whatever place."""

    diff_id: str


Arrived = KeptLayer | StagedLayer | KnownLayer


class LayerIntake:
    """For one request; a context at whose end what no image took up is removed."""

    def __init__(self, library: Library, lease: Lease) -> None:
        self._library = library
        self._lease = lease
        self._staged: list[StagedLayer] = []
        self._takers: ThreadPoolExecutor | None = None
        self._held: dict[str, list[str]] = defaultdict(list)  # chain ids by diff id

    async def __aenter__(self) -> LayerIntake:
        # What may be known is held before a name is heard, for it is heard in another thread; the
        # driver is asked then, and of that one alone: for each layer it has to read a file.
        if isinstance(self._library.layers.driver, KeepsTars):
            for record in self._library.records.layers.values():
                if record.diff_id:
                    self._held[record.diff_id].append(record.chain_id)
                    self._library.layers.acquire(record.chain_id)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._takers is not None:
            await asyncio.to_thread(self._takers.shutdown)
        for chain in itertools.chain.from_iterable(self._held.values()):
            self._library.layers.release(chain)
        for staged in self._staged:
            await self._library.layers.discard(staged)

    def take(self, tar: Readable, named: str = "") -> Arrived:
        """Take in a plain tar; `named` is the digest that it should have. For worker threads."""
        if self._is_known(named):
            hashed = hashlib.sha256()
            for piece in _pieces(tar):
                hashed.update(piece)
            check_digest(named, "sha256:" + hashed.hexdigest())
            return KnownLayer(named)
        layers = self._library.layers
        with layers.reading_in_thread(on_behalf=True) as driver:
            if isinstance(driver, Stages) and isinstance(driver, KeepsTars):
                staged = layers.stage(tar)
                self._staged.append(staged)
                return staged
        return keep(self._library.blobs, _pieces(tar), self._lease)

    def take_soon(self, tar: Readable, named: str = "") -> Future[Arrived]:
        """As `take`, but what comes behind `tar` in its stream need not wait for its end."""
        if self._takers is None:
            self._takers = ThreadPoolExecutor(_AT_ONCE, "layer intake")
        between = Handover()
        taking = self._takers.submit(self._take_from, between, named)
        try:
            for piece in _pieces(tar):
                between.writer.write(piece)
            between.finish()
        except BrokenPipeError:
            taking.result()  # raises why nobody reads any more
            raise
        except BaseException as error:
            between.fail(error)
            raise
        return taking

    def _take_from(self, between: Handover, named: str) -> Arrived:
        try:
            return self.take(between.reader, named)
        finally:
            between.leave()

    def _is_known(self, diff_id: str) -> bool:
        """Whether a held layer's tar can be had from the driver. Blocks."""
        tars, layers = LayerTars(self._library), self._library.layers
        held = (layers.get(chain) for chain in self._held.get(diff_id, ()))
        return any(layer is not None and tars.keeps(layer) for layer in held)

    async def unpack_all(
        self,
        held: contextlib.AsyncExitStack,
        parent: str | None,
        layers: Sequence[tuple[str, Arrived]],
    ) -> list[str]:
        """As `unpack` of each (diff id, layer) over the one before -> chain ids."""
        staged = {each for _, each in layers if isinstance(each, StagedLayer)}
        if len(staged & set(self._staged)) == len(layers):
            # Each is begun before the one over it.
            parents = [parent, *chains_over(parent, (diff_id for diff_id, _ in layers))]
            return await Tasks.together(
                self.unpack(held, below, diff_id, arrived)
                for below, (diff_id, arrived) in zip(parents, layers, strict=False)
            )
        # Who has yet to open its tar may come late; and one that is there twice comes from its
        # first place to its second.
        chains: list[str] = []
        for diff_id, arrived in layers:
            parent = await self.unpack(held, parent, diff_id, arrived)
            chains.append(parent)
        return chains

    async def unpack(
        self,
        held: contextlib.AsyncExitStack,
        parent: str | None,
        diff_id: str,
        arrived: Arrived,
    ) -> str:
        """Make it a layer over `parent` -> its chain id, held as long as `held` is open."""
        layers = self._library.layers
        if isinstance(arrived, StagedLayer) and arrived in self._staged:
            self._staged.remove(arrived)
            record = await layers.adopt(parent, arrived)
        elif not isinstance(arrived, KeptLayer):  # here, but maybe over another parent
            pieces = LayerTars(self._library, inside=True).pieces(diff_id)
            record = await layers.register(parent, diff_id, cast(BinaryIO, PieceReader(pieces)))
        else:
            source = await asyncio.to_thread(self._library.blobs.open, arrived.blob)
            try:
                tar = cast(BinaryIO, Inflated(source))
                record = await layers.register(parent, diff_id, tar)
            finally:
                source.close()
        held.callback(layers.release, record.chain_id)
        return record.chain_id


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


def _pieces(source: Readable) -> Iterable[bytes]:
    while piece := source.read(_PIECE):
        yield piece
