"""Layers whose driver may be exchanged: what is under way is either before the switch or after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.unit.store.test_layers import Directories

from naru.store.records import Records
from naru.store.switchable_layers import SwitchableLayers


class Layers(SwitchableLayers):
    @asynccontextmanager
    async def base(self, chain: str) -> AsyncIterator[str]:
        yield ""


async def test_no_switch_comes_between_a_layer_and_its_record(tmp_path: Path) -> None:
    """A migration would not know of it, and the container would have lost its files."""
    records = Records.open(tmp_path / "records.db")
    layers = Layers(
        root=tmp_path, records=records, driver=Directories(tmp_path), run_root=tmp_path / "run"
    )
    there: list[bool] = []

    async def record() -> None:
        there.append((tmp_path / "directories" / ("c" * 64)).exists())
        with pytest.raises(TimeoutError):
            async with layers.still(seconds=0):
                there.append(False)

    await layers.create_writable("c" * 64, "", record=record)
    assert there == [True]
    async with layers.still(seconds=10):
        pass
    await layers.close()
    await records.close()
