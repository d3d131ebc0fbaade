"""In which form an image came under a name: one image may have come in several.

Two tags whose images have the same config are names of one image; yet each may have its own index,
with other attestations, and keeps it. What finds an image by a name gets the record as that name
has it; what finds it by its id, as it came last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from naru.spec.images import Arrival, ImageRecord, TagRecord
from naru.store.records import Records


def of(image: ImageRecord) -> Arrival:
    """That which the record has."""
    return Arrival(
        manifest=image.manifest, index=image.index, layers=image.layers,
        attestations=image.attestations, archived=image.archived,
    )  # fmt: skip


def by(image: ImageRecord, arrival: Arrival) -> ImageRecord:
    """The image as it came so."""
    return msgspec.structs.replace(image, **msgspec.structs.asdict(arrival))


def under(tag: TagRecord, records: Records) -> list[ImageRecord]:
    """The images of a name, first that to which it leads, as they came under it."""
    found = ((each, records.images.get(each)) for each in (tag.image_id, *tag.others))
    return [
        by(image, tag.arrivals[each]) if each in tag.arrivals else image
        for each, image in found
        if image is not None
    ]


def tagged(name: str, images: Sequence[ImageRecord], created: int = 0) -> TagRecord:
    """A name of images of several platforms, or of one, with the forms in which these came.

    One that was made here has none, until a push makes it one: for all of its names.
    """
    first, *others = images
    return TagRecord(
        name=name, image_id=first.id, created=created, others=[each.id for each in others],
        arrivals={each.id: of(each) for each in images if each.manifest},
    )  # fmt: skip


def digests(arrival: Arrival | ImageRecord) -> Iterator[str]:
    """Of all the blobs by which it goes out in that form."""
    named = (arrival.manifest, arrival.index, *arrival.attestations)
    yield from (digest for digest in named if digest)
    yield from (layer.digest for layer in arrival.layers)
