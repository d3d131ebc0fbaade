"""An event of `GET /events`; durable, numbered in the order it became true."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`type`: container, image, network, volume, daemon, builder; `action`: Docker's verbs."""

    type: str
    action: str
    actor_id: str
    attributes: dict[str, str] = {}
    time: int = 0  # ns since the epoch, given by the records when 0
    seq: int = 0  # given by the records
    scope: str = "local"
