"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.kernel.workers import Workers


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    here = Workers(tmp_path / "workers.lock")
    try:
        yield here
    finally:
        here.close()
