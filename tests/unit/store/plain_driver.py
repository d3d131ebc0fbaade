"""A driver that unpacks layers into directories, and has nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO

from tests.unit.store.test_layers import Directories

from naru.store.extract import Extractor


class PlainDriver(Directories):
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def remove(self, layer: str) -> None:
        shutil.rmtree(self.root / layer, ignore_errors=True)

    def apply(self, layer: str, diff: BinaryIO) -> int:
        with Extractor(self.root / layer) as extractor:
            return extractor.extract(diff)
