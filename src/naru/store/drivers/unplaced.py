"""Layers of a union that are unpacked before their parent is known, or there.

What is still to be known of such a layer, when it gets one, is on the disk: the process that
unpacked it may not be the one that places it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from naru.store.extract import Extractor
from naru.store.skeleton import TarKeeper
from naru.store.treecopy import copy_root_attributes
from naru.store.upper import UpperDiff
from naru.store.whiteouts import Whiteouts

_FILE = "unplaced"


class _Unplaced(NamedTuple):
    implied: list[str]
    """Directories that its tar did not speak of: they take after those of the layers below."""
    root_named: bool
    """Whether its tar spoke of the root."""


def unpack(home: Path, tar: BinaryIO, whiteouts: Whiteouts, upper: UpperDiff | None) -> int:
    """Unpack into `home/diff`, and keep what makes the tar again -> bytes of its files.

    `upper` is the layer over those below it, None where they are not known yet.
    """
    with (
        TarKeeper(tar, home, home / "diff") as kept,
        Extractor(home / "diff", whiteouts=whiteouts, witness=kept) as extractor,
    ):
        written = extractor.extract(cast(BinaryIO, kept))
    if upper is not None:
        upper.adopt(extractor.implied)
    else:
        unplaced = _Unplaced(sorted(extractor.implied), root_named=extractor.root_named)
        (home / _FILE).write_text(json.dumps(unplaced))
    return written


def take_after(home: Path, parent: Path, upper: UpperDiff) -> None:
    """What its tar did not say, a layer that was just put over `parent` has of those below it."""
    unplaced = _Unplaced(*json.loads((home / _FILE).read_text()))
    if not unplaced.root_named:
        copy_root_attributes(parent / "diff", home / "diff")
    upper.adopt(unplaced.implied)


def placed(home: Path) -> None:
    (home / _FILE).unlink()
