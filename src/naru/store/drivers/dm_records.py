"""Which thin device belongs to which layer, written down so that no kill can lose one.

A number is on disk before its device is made, and off the disk only after its device is gone, so
every device in the pool has a record; one whose layer was never finished is removed like any other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

R = TypeVar("R")


class DeviceRecord(msgspec.Struct, frozen=True):
    number: int
    size: int  # bytes
    writable: bool = False
    parent: str | None = None


class BaseRecord(msgspec.Struct, frozen=True):
    """The device with an empty file system that every first layer is a snapshot of."""

    number: int
    size: int
    filesystem: str
    made: bool = False  # formatted, and the pool's transaction id says so too


def read_device(path: Path) -> DeviceRecord | None:
    return _read(path, DeviceRecord)


def read_base(path: Path) -> BaseRecord | None:
    return _read(path, BaseRecord)


def write(path: Path, record: msgspec.Struct) -> None:
    """The whole record, durable, or nothing of it."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as out:
        out.write(msgspec.json.encode(record))
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    sync_directory(path.parent)
    # The layer's own directory may be as new as the record.
    sync_directory(path.parent.parent)


def erase(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
