"""Mounting a layer as its driver describes it, and letting it go as the driver wants it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from naru.kernel import mounts
from naru.kernel.mounts import Mount
from naru.store.driver import Releases, StorageDriver, Widens


def mount_all(plan: Sequence[Mount]) -> None:
    """Carry out what a driver describes. The last one is the layer's own; others may stay."""
    for number, mount in enumerate(plan):
        try:
            mounts.mount(mount)
        except BaseException:
            if any(earlier.target == mount.target for earlier in plan[:number]):
                unmount_all(mount.target)
            raise


def mount_writable(
    driver: StorageDriver, layer: str, target: Path, plan: Sequence[Mount] | None = None
) -> None:
    """Mount a container's layer. `plan`: what the driver has described of it already."""
    plan = driver.mounts(layer, target) if plan is None else plan
    mount_all(plan)
    if mounts.is_read_only(target) and isinstance(driver, Widens):
        unmount_all(target)
        with driver.widened(layer):
            mount_all(plan)


def unmount_all(target: Path) -> None:
    """Unmount `target`, however many mounts are stacked on it."""
    while mounts.is_mounted(target):
        mounts.unmount(target)


def unmount_layer(driver: StorageDriver, layer: str, target: Path) -> None:
    """Take a layer's tree down, and tell the driver of it. Idempotent."""
    unmount_all(target)
    if isinstance(driver, Releases):
        driver.release(layer)


@contextmanager
def shown(
    driver: StorageDriver, layer: str, below: Path, *, read_only: bool = False
) -> Iterator[Path]:
    """A layer's tree, in a new directory `below`, until the end of the block."""
    below.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as undo:
        target = Path(tempfile.mkdtemp(prefix="tree-", dir=below))
        undo.callback(os.rmdir, target)
        undo.callback(unmount_layer, driver, layer, target)
        mount_all(driver.mounts(layer, target, read_only=read_only))
        yield target
