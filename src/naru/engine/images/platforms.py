"""Several platforms under one name: images that came by the same index share its names.

A name leads to the image for this machine where there is one, and to the others when they are asked
for by platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from naru.spec import oci
from naru.spec.errors import NotFound
from naru.spec.images import ImageRecord, TagRecord
from naru.spec.oci import Platform
from naru.store.records import Records


def platform_of(image: ImageRecord) -> Platform:
    return Platform(image.architecture, image.os, variant=image.variant)


def named(name: str, image: ImageRecord, known: TagRecord | None, records: Records) -> TagRecord:
    """The record of a name that an image gets; who shares its index with it keeps the name."""
    sharing = [image]
    if known is not None and image.index:
        others = (records.images.get(each) for each in (known.image_id, *known.others))
        sharing += [o for o in others if o and o.id != image.id and o.index == image.index]
    first = preferred(sharing)
    rest = [each.id for each in sharing if each.id != first.id]
    return TagRecord(name=name, image_id=first.id, others=rest)


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
    return msgspec.structs.replace(tag, image_id=first.id, others=rest)


def companions(image: ImageRecord, records: Records) -> list[ImageRecord]:
    """The image and those of other platforms that share a name with it."""
    found = {image.id: image}
    for tag in records.tags.values():
        ids = (tag.image_id, *tag.others)
        if tag.others and image.id in ids:
            found |= {each: other for each in ids if (other := records.images.get(each))}
    return list(found.values())


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
