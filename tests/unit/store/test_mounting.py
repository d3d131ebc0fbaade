"""Layers mounted for a while: a driver that wants to hear of the end does, whoever mounted them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.unit.store.plain_driver import PlainDriver

from naru.engine.storage.trials import Bench
from naru.kernel import mounts
from naru.kernel.mounts import Mount
from naru.spec.errors import InternalError
from naru.store.carry import Carrier
from naru.store.mounting import shown
from naru.store.records import Records
from naru.store.switchable_layers import SwitchableLayers


class Releasing(PlainDriver):
    """Tells what happens to its layers; `told` is [(what, layer)]."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.told: list[tuple[str, str]] = []

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        self.told.append(("mount", layer))
        return []

    def release(self, layer: str) -> None:
        self.told.append(("release", layer))

    def remove(self, layer: str) -> None:
        self.told.append(("remove", layer))
        super().remove(layer)

    @property
    def balance(self) -> int:
        """Mounts that the driver has heard no end of."""
        what = [what for what, _ in self.told]
        return what.count("mount") - what.count("release")


def clear(directory: Path) -> None:
    for each in directory.iterdir():
        shutil.rmtree(each)


@pytest.fixture
def driver(tmp_path: Path) -> Releasing:
    return Releasing(tmp_path / "layers")


def test_a_driver_hears_of_the_end_when_the_mount_has_gone(
    driver: Releasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked: list[Path] = []

    def unmount(target: Path) -> None:
        stacked.remove(target)
        driver.told.append(("unmount", target.name))

    monkeypatch.setattr(mounts, "is_mounted", lambda target: target in stacked)
    monkeypatch.setattr(mounts, "unmount", unmount)
    with shown(driver, "one", tmp_path) as tree:
        stacked += [tree, tree]
    assert driver.told == [
        ("mount", "one"), ("unmount", tree.name), ("unmount", tree.name), ("release", "one"),
    ]  # fmt: skip
    assert not tree.exists()


def test_a_block_that_fails_leaves_nothing(driver: Releasing, tmp_path: Path) -> None:
    with pytest.raises(KeyError), shown(driver, "one", tmp_path) as tree:
        raise KeyError
    assert driver.told == [("mount", "one"), ("release", "one")]
    assert not tree.exists()


def test_a_migration_tells_both_drivers_of_each_mounts_end(tmp_path: Path) -> None:
    source, target = Releasing(tmp_path / "from"), Releasing(tmp_path / "to")
    source.create("old", None, writable=True)
    # Nothing is mounted here, so each tree is another directory, of another time.
    with pytest.raises(InternalError, match="is not the same"):
        Carrier(source, target, tmp_path).writable("old", "new", None, None)
    assert {("mount", "old"), ("release", "old")} == set(source.told)
    assert {("mount", "new"), ("release", "new")} == set(target.told)
    assert source.balance == target.balance == 0


def test_a_benchmark_tells_of_each_mounts_end(
    driver: Releasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is mounted here: what a trial writes is in the very directory, and would stay.
    monkeypatch.setattr(mounts, "is_mounted", lambda target: any(target.iterdir()))
    monkeypatch.setattr(mounts, "unmount", clear)
    bench = Bench(driver, tmp_path, large=1 << 20, small=200)
    bench.prepare()
    for trial in (bench.container, bench.small_files):
        driver.told.clear()
        assert trial() > 0
        # What is in use still could not be removed.
        assert [what for what, _ in driver.told] == ["mount", "release", "remove"]


@pytest.fixture
async def layers(driver: Releasing, tmp_path: Path) -> AsyncIterator[SwitchableLayers]:
    records = Records.open(tmp_path / "records.db")
    made = SwitchableLayers(
        root=tmp_path, records=records, driver=driver, run_root=tmp_path / "run"
    )
    yield made
    await made.close()
    await records.close()


async def test_a_look_at_a_layer_tells_of_its_end(
    layers: SwitchableLayers, driver: Releasing
) -> None:
    with layers.peek("one"):
        assert driver.told == [("mount", "one")]
    assert driver.told == [("mount", "one"), ("release", "one")]
