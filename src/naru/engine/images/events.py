"""The image events of `GET /events`, with the attributes that Docker gives them."""

from __future__ import annotations

from naru.spec.events import Event
from naru.spec.images import ImageRecord
from naru.spec.reference import Reference


def of_image(action: str, image: ImageRecord, name: str = "") -> Event:
    """An event about an image that is (or was) here; `name` is the id where none is given."""
    attributes = {**image.labels, "name": name or image.id}
    return Event(type="image", action=action, actor_id=image.id, attributes=attributes)


def of_reference(action: str, reference: Reference, labels: dict[str, str] | None = None) -> Event:
    """An event about a name: pull and push."""
    attributes = {**(labels or {}), "name": reference.familiar_name}
    return Event(type="image", action=action, actor_id=reference.familiar, attributes=attributes)


def of_id(action: str, image_id: str, labels: dict[str, str], name: str = "") -> Event:
    """Like `of_image`, for an image whose record is being written with the event."""
    attributes = {**labels, "name": name or image_id}
    return Event(type="image", action=action, actor_id=image_id, attributes=attributes)
