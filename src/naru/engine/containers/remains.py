"""Removal of a container's directories: idempotent, and safe against mounts left inside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

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


def _gone_is_fine(
    function: Callable[..., Any],
    path: str,
    error: tuple[type[BaseException], BaseException, TracebackType | None],
) -> None:
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
