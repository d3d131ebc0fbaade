"""Naru's record of a volume (Engine API `Volume`)."""

from __future__ import annotations

import msgspec


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    driver: str  # "local"
    mountpoint: str
    created: int  # ns since the epoch
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    anonymous: bool = False  # made for a container; goes with `rm -v`
