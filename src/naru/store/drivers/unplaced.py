"""What is still to be known of a layer that was unpacked before its parent, when it gets one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_FILE = "unplaced"


class Unplaced(NamedTuple):
    implied: list[str]
    """Directories that its tar did not speak of: they take after those of the layers below."""
    root_named: bool
    """Whether its tar spoke of the root."""


def note(home: Path, unplaced: Unplaced) -> None:
    """On the disk: the process that unpacked the layer may not be the one that places it."""
    (home / _FILE).write_text(json.dumps(unplaced))


def noted(home: Path) -> Unplaced:
    implied, root_named = json.loads((home / _FILE).read_text())
    return Unplaced(implied, root_named=root_named)


def placed(home: Path) -> None:
    (home / _FILE).unlink()
