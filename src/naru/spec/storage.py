"""Naru's records of a move from one storage driver to another, for the daemon that comes after."""

from __future__ import annotations

import msgspec

MIGRATION = "migration"
"""The id of the one migration that there can be."""


class MigrationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A migration under way, or interrupted: it exists from the first layer to the last removal."""

    id: str = MIGRATION
    source: str  # the driver that held everything when it began
    source_options: list[str] = []
    target: str
    target_options: list[str] = []
    switched: bool = False  # the target's layers are in use, the source's are being removed
    stopped: list[str] = []  # ids of the containers that it has stopped, and starts again
    paused: list[str] = []  # those of them that were paused, and become so again
    started: int = 0  # ns since the epoch


class CarriedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is complete in the target driver, and not in use there yet."""

    name: str  # chain id, "init:" and a chain id, or a container's id
    storage_id: str  # the target driver's name for it
    size: int  # bytes of the regular files in it
