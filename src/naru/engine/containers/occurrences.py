"""The container events of the Engine API: action and attributes as dockerd gives them."""

from __future__ import annotations

from naru.spec.containers import ContainerRecord
from naru.spec.events import Event


def occurrence(record: ContainerRecord, action: str, **attributes: str) -> Event:
    """`attributes` with "_" inside are no Docker names; dockerd's are camelCase (`exitCode`)."""
    return Event(
        type="container",
        action=action,
        actor_id=record.id,
        attributes={
            **record.config.labels,
            "image": record.config.image,
            "name": record.name,
            **attributes,
        },
    )
