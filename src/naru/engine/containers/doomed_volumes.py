"""A note in a container's directory: the volumes that go when the directory has no record.

Written before anonymous volumes are made, and before a record is deleted, so that a kill in
between leaves no volume that nobody knows of. It means nothing while there is a record.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_NAME = "volumes-to-remove"


def note(directory: Path, volumes: Iterable[str]) -> None:
    """Replace the note; no volumes, no note. Nothing to do where the directory is gone."""
    text = "\n".join(volumes)
    if text and directory.is_dir():
        partial = directory / f"{_NAME}~"
        partial.write_text(text)
        partial.rename(directory / _NAME)
    else:
        (directory / _NAME).unlink(missing_ok=True)


def noted(directory: Path) -> list[str]:
    try:
        return (directory / _NAME).read_text().split()
    except FileNotFoundError:
        return []
