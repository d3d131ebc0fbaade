"""Which storage driver a daemon uses: the one asked for, the one whose layers are there already, or
the first that works here. As dockerd, with errors that say what was looked for.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from naru.spec.errors import NaruError, Unsupported
from naru.store.driver import Copies, StorageDriver
from naru.store.room import Room

_log = logging.getLogger(__name__)

# Imported when chosen: each brings what only it needs.
_DRIVERS: dict[str, str] = {
    "erofs": "naru.store.drivers.erofs:Erofs",
    "aufs": "naru.store.drivers.aufs:Aufs",
    "btrfs": "naru.store.drivers.btrfs:Btrfs",
    "devicemapper": "naru.store.drivers.devicemapper:DeviceMapper",
    "fuse-overlayfs": "naru.store.drivers.fuse_overlayfs:FuseOverlayfs",
    "overlay": "naru.store.drivers.overlay:Overlay",
    "overlay2": "naru.store.drivers.overlay2:Overlay2",
    "vfs": "naru.store.drivers.vfs:Vfs",
}
NAMES = frozenset(_DRIVERS)
PRIORITY: tuple[str, ...] = ("overlay2", "fuse-overlayfs", "btrfs", "vfs")
"""What the automatic choice tries; a driver that is not in it must be asked for."""


def choose(
    name: str | None,
    root: Path,
    options: Sequence[str] | Mapping[str, str] = (),
    *,
    room: Room | None = None,
) -> StorageDriver:
    """The driver `name`, or None or "" for the automatic choice; layers are under `root/<driver>`.

    `options` are `--storage-opt` values, `room` is what must stay free of the disk below `root`.
    `Unsupported` says why there is none.
    """
    driver = _chosen(name, root, options)
    if isinstance(driver, Copies):
        driver.room = room
    return driver


def _chosen(
    name: str | None, root: Path, options: Sequence[str] | Mapping[str, str]
) -> StorageDriver:
    given = _as_mapping(options)
    if name:
        return _start(name, root, given)
    found = prior(root)
    if len(found) > 1:
        names = ", ".join(found)
        raise Unsupported(
            f"{root} contains several valid graphdrivers: {names};"
            " cleanup or explicitly choose storage driver (-s <DRIVER>)"
        )
    if found:
        _log.info("storage: %s, because its layers are in %s", found[0], root)
        try:
            return _start(found[0], root, given)
        except NaruError as error:
            raise Unsupported(
                f"[graphdriver] prior storage driver {found[0]} failed: {error}"
            ) from error
    refusals = []
    for candidate in PRIORITY:
        try:
            return _start(candidate, root, _for(candidate, given))
        except Unsupported as error:
            refusals.append(str(error))
            _log.debug("storage: %s", error)
    raise Unsupported("no supported storage driver found: " + "; ".join(refusals))


def prior(root: Path) -> list[str]:
    """Drivers that have layers below `root`."""
    return [
        name
        for name in sorted(_DRIVERS)
        if (root / name).is_dir() and any(len(entry) >= 64 for entry in os.listdir(root / name))
    ]


def known() -> list[str]:
    return sorted(_DRIVERS)


def _start(name: str, root: Path, options: Mapping[str, str]) -> StorageDriver:
    where = _DRIVERS.get(name)
    if where is None:
        raise Unsupported(
            f"error initializing graphdriver: driver not supported: {name}"
            f" (known: {', '.join(known())})"
        )
    module, _, class_name = where.partition(":")
    factory = getattr(importlib.import_module(module), class_name)
    return cast(StorageDriver, factory(root / name, options))


def _for(name: str, options: Mapping[str, str]) -> Mapping[str, str]:
    """An automatic choice leaves out options that carry another driver's name."""
    others = [other for other in _DRIVERS if other != name]
    return {key: value for key, value in options.items() if key.partition(".")[0] not in others}


def _as_mapping(options: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(options, Mapping):
        return {key.lower(): value for key, value in options.items()}
    given = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise Unsupported(f"Unable to parse key/value option: '{option}'")
        given[key.strip().lower()] = value.strip()
    return given
