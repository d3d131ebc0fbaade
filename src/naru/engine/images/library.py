"""The images that are here: found by id, name or digest, added and named."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import msgspec

from naru.engine.images import arrivals, events, platforms
from naru.engine.images.sweeper import Sweeper
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter, NotFound, no_such_image
from naru.spec.events import Event
from naru.spec.images import Arrival, BlobRecord, ImageRecord, TagRecord
from naru.spec.layers import chains
from naru.spec.oci import Descriptor, ImageConfig, Platform, digest_of, parse_time, read_config
from naru.spec.reference import Reference
from naru.store.blobs import BlobStore, Lease
from naru.store.layers import LayerStore
from naru.store.recipes import Recipes
from naru.store.records import Change, Records, put

_HEX = re.compile(r"[0-9a-f]{1,64}")
_WHOLE_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")
_CONFIGS_KEPT = 256


class Library:
    def __init__(self, *, records: Records, blobs: BlobStore, layers: LayerStore) -> None:
        self.records = records
        self.blobs = blobs
        self.layers = layers
        self.recipes = Recipes(blobs, layers.workers)
        self._configs: OrderedDict[str, ImageConfig] = OrderedDict()
        self.changing = asyncio.Lock()
        """Held while names and images change: what is decided on them stays true meanwhile."""
        self.sweeper = Sweeper(records=records, blobs=blobs, layers=layers, changing=self.changing)

    # -- finding --------------------------------------------------------------------------------

    def find(self, ref: str, platform: Platform | None = None) -> ImageRecord:
        """By `sha256:...`, name, name@digest, or the first digits of an id; by a name, as the
        image came under it."""
        if platform is None:
            return self._find(ref)[0]
        return platforms.choose(ref, self.find_all(ref), platform)

    def find_all(self, ref: str) -> list[ImageRecord]:
        """As `find`, and behind it the images of other platforms that came with it."""
        image, tag = self._find(ref)
        if tag is None:
            return platforms.companions(image, self.records)
        return arrivals.under(tag, self.records)

    def is_name(self, ref: str) -> bool:
        """Whether what `find` finds is found by a name, and not by an id."""
        return self._find(ref)[1] is not None

    def _find(self, ref: str) -> tuple[ImageRecord, TagRecord | None]:
        images = self.records.images
        if ref.startswith("sha256:") and (image := images.get(ref)) is not None:
            return image, None
        if len(ref) == 64 and (image := images.get(f"sha256:{ref}")) is not None:
            return image, None
        if _WHOLE_ID.fullmatch(ref):
            raise no_such_image(f"sha256:{ref.removeprefix('sha256:')}")
        named = references.parse(ref)
        known = self._named(named)
        if known is not None and known.image_id in images:
            return arrivals.under(known, self.records)[0], known
        digits = ref.removeprefix("sha256:")
        if _HEX.fullmatch(digits):
            found = [i for i in images.values() if i.id.startswith(f"sha256:{digits}")]
            if len(found) == 1:
                return found[0], None
        raise no_such_image(named.tagged().familiar)

    def _named(self, named: Reference) -> TagRecord | None:
        if named.digest:
            return self.records.tags.get(f"{named.name}@{named.digest}")
        return self.records.tags.get(str(named.tagged()))

    def config(self, image_id: str) -> ImageConfig:
        """An image's config document, parsed. Small reads from the disk, the last ones kept."""
        if (config := self._configs.get(image_id)) is not None:
            self._configs.move_to_end(image_id)
            return config
        config = read_config(self.blobs.read(image_id))
        self._configs[image_id] = config
        if len(self._configs) > _CONFIGS_KEPT:
            self._configs.popitem(last=False)
        return config

    def names(self) -> dict[str, list[Reference]]:
        """Every name (with tag or with digest) by image id, in the order of the alphabet."""
        names: dict[str, list[Reference]] = {}
        for tag in sorted(self.records.tags.values(), key=lambda tag: tag.name):
            names.setdefault(tag.image_id, []).append(references.parse(tag.name))
        return names

    def names_of(self, image_id: str, *, shared: bool = False) -> list[Reference]:
        """`shared`: also names that lead first to the image of another platform."""
        own = sorted(
            tag.name
            for tag in self.records.tags.values()
            if tag.image_id == image_id or (shared and image_id in tag.others)
        )
        return [references.parse(name) for name in own]

    def layer_blob(self, diff_id: str) -> BlobRecord | None:
        """A kept blob whose content inflates to this tar."""
        for blob in self.records.blobs.values():
            if blob.diff_id == diff_id and self.blobs.has(blob.id):
                return blob
        return None

    # -- adding ---------------------------------------------------------------------------------

    async def add(
        self,
        config: bytes,
        *,
        names: Sequence[Reference] = (),
        manifest: bytes | None = None,
        index: bytes | None = None,
        layers: Sequence[Descriptor] = (),
        blobs: Iterable[BlobRecord] = (),
        attestations: Sequence[str] = (),
        archived: bool = False,
        origin: str = "",
        parent: str = "",
        said: Sequence[Event] = (),
    ) -> ImageRecord:
        """Make an image whose layers are registered; documents become blobs, names are moved.

        Without a manifest, one that is here already stays as it came before. One transaction:
        after a crash the image is there with all its names, or not at all.
        """
        documents = [document for document in (config, manifest, index) if document]
        arrival = None
        if manifest:
            arrival = Arrival(
                manifest=digest_of(manifest), index=digest_of(index) if index else "",
                layers=list(layers), attestations=list(attestations), archived=archived,
            )  # fmt: skip
        async with self.sweeper.sweeping():
            with self.blobs.lease(digest_of(document) for document in documents):
                for document in documents:
                    await asyncio.to_thread(self.blobs.put, document)
                return await self._add(
                    config, names, arrival, list(blobs), [origin] if origin else [], parent, said
                )

    async def _add(
        self,
        config: bytes,
        names: Sequence[Reference],
        arrival: Arrival | None,
        blobs: list[BlobRecord],
        origins: list[str],
        parent: str,
        said: Sequence[Event],
    ) -> ImageRecord:
        parsed = read_config(config)
        image_id = digest_of(config)
        now = time.time_ns()
        async with self.changing:
            known = self.records.images.get(image_id)
            if known is not None:
                image = msgspec.structs.replace(
                    known,
                    last_tagged=now if names else known.last_tagged,
                    origins=list(dict.fromkeys((*known.origins, *origins))),
                )
            else:
                image = ImageRecord(
                    id=image_id,
                    created=parse_time(parsed.created),
                    stored=now,
                    last_tagged=now if names else 0,
                    chain_id=self._chain(parsed.rootfs.diff_ids),
                    diff_ids=parsed.rootfs.diff_ids,
                    size=self._size(parsed.rootfs.diff_ids),
                    os=parsed.os or "linux",
                    architecture=parsed.architecture,
                    variant=parsed.variant,
                    labels=parsed.config.labels,
                    parent=parent,
                    origins=origins,
                )
            if arrival is not None:
                image = arrivals.by(image, arrival)
            changes: list[Change] = [put(self.records.images, image)]
            changes += [self._blob(blob) for blob in blobs]
            changes += [self._name(name, image, arrival is not None, now) for name in names]
            await self.records.commit(*changes, events=said)
        return image

    def _name(self, name: Reference, image: ImageRecord, came: bool, now: int) -> Change:
        """`came`: by a manifest, else the name keeps that by which it came before."""
        known = self.records.tags.get(str(name))
        before = arrivals.under(known, self.records) if known else []
        if not came:
            image = next((each for each in before if each.id == image.id), image)
        tag = platforms.named(str(name), image, before)
        return put(self.records.tags, msgspec.structs.replace(tag, created=now))

    def _blob(self, blob: BlobRecord) -> Change:
        known = self.records.blobs.get(blob.id)
        if known is not None:
            places = list(dict.fromkeys((*known.repositories, *blob.repositories)))
            blob = msgspec.structs.replace(known, repositories=places)
        return put(self.records.blobs, msgspec.structs.replace(blob, kept=self.blobs.has(blob.id)))

    def _chain(self, diff_ids: Sequence[str]) -> str:
        chain = ""
        for diff_id, chain in zip(diff_ids, chains(diff_ids), strict=True):
            if self.layers.get(chain) is None:
                raise NotFound(f"layer {diff_id} of the image is not here")
        return chain

    def _size(self, diff_ids: Sequence[str]) -> int:
        found = (self.layers.get(chain) for chain in chains(diff_ids))
        return sum(layer.size for layer in found if layer)

    async def tag(self, source: str, name: Reference) -> None:
        """Give an image another name; it is taken from whatever had it."""
        if name.digest:
            raise InvalidParameter("refusing to create a tag with a digest reference")
        name = name.tagged()
        if name.familiar_name == "sha256":
            raise InvalidParameter(
                "refusing to create an ambiguous tag using digest algorithm as name"
            )
        async with self.sweeper.sweeping(), self.changing:
            found = self.find_all(source)
            image = self.find(found[0].id)  # as it is stored
            now = time.time_ns()
            tag = arrivals.tagged(str(name), found, now)
            await self.records.commit(
                put(self.records.images, msgspec.structs.replace(image, last_tagged=now)),
                put(self.records.tags, tag),
                events=[events.of_image("tag", image, name.familiar)],
            )

    @contextlib.asynccontextmanager
    async def used_or_swept(self) -> AsyncIterator[contextlib.AsyncExitStack]:
        """Where new layers are held until an image's record needs them; after a failure, what
        was unpacked for nothing goes at once."""
        try:
            async with contextlib.AsyncExitStack() as held:
                yield held
        except BaseException:
            await self.layers.release_unused()
            raise

    @contextlib.asynccontextmanager
    async def taking_in(self) -> AsyncIterator[Lease]:
        """Where blobs come before it is known what needs them; what nothing does goes at once."""
        taken: set[str] = set()
        try:
            with self.blobs.lease() as lease:
                try:
                    yield lease
                finally:
                    taken.update(lease.held)
        finally:
            if taken - self.sweeper.needed_blobs():
                await self.sweeper.sweep()

    @contextlib.contextmanager
    def held(self) -> Iterator[Callable[[ImageRecord], None]]:
        """Keep the layers of images that the block names, whatever is removed meanwhile."""
        chains: list[str] = []

        def hold(image: ImageRecord) -> None:
            if image.chain_id:
                self.layers.acquire(image.chain_id)
                chains.append(image.chain_id)

        try:
            yield hold
        finally:
            for chain in chains:
                self.layers.release(chain)
