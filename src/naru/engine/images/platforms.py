"""Several platforms under one name: images that came by the same index share its names.

A name leads to the image for this machine where there is one, and to the others when they are asked
for by platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from naru.engine.images import arrivals
from naru.spec import oci
from naru.spec.errors import NotFound
from naru.spec.images import ImageRecord, TagRecord
from naru.spec.oci import Platform
from naru.store.records import Records


def platform_of(image: ImageRecord) -> Platform:
    return Platform(image.architecture, image.os, variant=image.variant)


def named(name: str, image: ImageRecord, before: Sequence[ImageRecord]) -> TagRecord:
    """The record of a name that an image gets; of those that had it `before`, who came by the same
    index keeps it."""
    sharing = [image]
    if image.index:
        sharing += [o for o in before if o.id != image.id and o.index == image.index]
    first = preferred(sharing)
    return arrivals.tagged(name, [first, *(each for each in sharing if each.id != first.id)])


def preferred(images: Sequence[ImageRecord]) -> ImageRecord:
    """The one for this machine, else the first."""
    here = oci.host_platform()
    return next((i for i in images if oci.platform_matches(here, platform_of(i))), images[0])


def without(tag: TagRecord, gone: str, records: Records) -> TagRecord | None:
    """The name once one of its images is gone; None for a name of nothing."""
    ids = [each for each in (tag.image_id, *tag.others) if each != gone]
    left = [image for each in ids if (image := records.images.get(each)) is not None]
    if not left:
        return None
    first = preferred(left)
    rest = [each.id for each in left if each.id != first.id]
    kept = {each: arrival for each, arrival in tag.arrivals.items() if each in ids}
    return msgspec.structs.replace(tag, image_id=first.id, others=rest, arrivals=kept)


def companions(image: ImageRecord, records: Records) -> list[ImageRecord]:
    """The image, and those of other platforms that came with it, by the same index."""
    found = {image.id: image}
    for tag in records.tags.values():
        if tag.others and image.id in (tag.image_id, *tag.others):
            came = arrivals.under(tag, records)
            if any(each.id == image.id and each.index == image.index for each in came):
                found = {each.id: each for each in came} | found
    return [image, *(each for each in found.values() if each.id != image.id)]


def secondary(records: Records) -> set[str]:
    """Images that have their names by another platform's image."""
    return {other for tag in records.tags.values() for other in tag.others}


def choose(ref: str, images: Iterable[ImageRecord], wanted: Platform) -> ImageRecord:
    """That of the wanted platform; `NotFound` in Docker's words, by which a client pulls it."""
    offered = list(images)
    found = [i for i in offered if oci.platform_matches(wanted, platform_of(i))]
    exact = [i for i in found if i.variant == wanted.variant]
    if found:
        return (exact or found)[0]
    if len(offered) > 1:
        raise NotFound(
            f"image with reference {ref} was found but does not provide the specified platform"
            f" ({wanted})"
        )
    raise NotFound(
        f"image with reference {ref} was found but its platform ({platform_of(offered[0])}) does"
        f" not match the specified platform ({wanted})"
    )
