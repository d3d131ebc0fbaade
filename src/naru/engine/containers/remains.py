"""What containers leave on the disk: found, and removed with the mounts that are still inside."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from naru.engine.containers.containers import Containers
from naru.kernel import mounts


def remove_tree(directory: Path) -> None:
    """Unmount what is mounted below `mounts/`, then delete; one that is gone is no error."""
    own_mounts = directory / "mounts"
    # The mount table is long on a busy host: it is read for those few that may have mounts.
    if own_mounts.exists():
        for mounted in mounts.mounts_below(own_mounts):
            mounts.unmount(mounted)
    if not directory.exists():
        return
    shutil.rmtree(directory, onerror=_gone_is_fine)


async def unrecorded(containers: Containers, folder: Path) -> list[str]:
    """The containers that have an entry in `folder`, no record, and nobody at work on them."""
    names = await asyncio.to_thread(_names_in, folder)
    busy = containers.unrecorded()
    unknown = [name for name in names if containers.get(name) is None and name not in busy]
    if not unknown:
        return []
    # Once more: a removal that was under way is through by now.
    here = await asyncio.to_thread(_names_in, folder)
    return [name for name in unknown if name in here]


def _names_in(folder: Path) -> list[str]:
    """What files are named after, their suffixes left out."""
    if not folder.exists():
        return []
    return sorted({name.partition(".")[0] for name in os.listdir(folder)})


def _gone_is_fine(
    function: Callable[..., Any],
    path: str,
    error: tuple[type[BaseException], BaseException, TracebackType | None],
) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
