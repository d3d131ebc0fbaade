from __future__ import annotations

import pytest

from naru.engine.storage import planning
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    Status,
)
from naru.spec.errors import Conflict, InvalidParameter
from naru.spec.layers import LayerRecord
from naru.spec.storage import MigrationRecord

MB = 1 << 20


def layer(name: str, parent: str | None = None, size: int = MB) -> LayerRecord:
    return LayerRecord(
        chain_id=name, diff_id=name, parent=parent, driver="overlay2", storage_id=name, size=size,
        created=0,
    )  # fmt: skip


def container(
    name: str, status: Status = Status.EXITED, chain: str = "", *, auto_remove: bool = False
) -> ContainerRecord:
    return ContainerRecord(
        id=name, name=name, created=0, image_id="", chain_id=chain, driver="overlay2",
        config=ContainerConfig(), host_config=HostConfig(auto_remove=auto_remove), path="", args=[],
        state=ContainerState(status=status),
    )  # fmt: skip


def test_parents_come_first() -> None:
    given = [layer("c", "b"), layer("x"), layer("init:c", "c"), layer("b", "a"), layer("a")]
    names = [each.chain_id for each in planning.order(given)]
    assert sorted(names) == sorted(each.chain_id for each in given)
    for each in given:
        if each.parent:
            assert names.index(each.parent) < names.index(each.chain_id)


def test_an_orphan_is_not_lost() -> None:
    assert [each.chain_id for each in planning.order([layer("b", "gone")])] == ["b"]


def test_room_for_a_driver_that_shares_and_for_one_that_copies() -> None:
    layers = [layer("a", size=10), layer("b", "a", size=5), layer("init:b", "b", size=0)]
    containers = [container("one", chain="b")]
    own = {"one": 3}
    assert planning.room_needed(layers, own, containers, copies=False) == 18
    # a 10; b with a 15; its mount points 15; the container 15 and its own 3
    assert planning.room_needed(layers, own, containers, copies=True) == 58


def test_a_disk_that_would_be_full_is_refused() -> None:
    planning.check_room(100 * MB, 200 * MB)
    with pytest.raises(Conflict, match="not enough disk space"):
        planning.check_room(150 * MB, 200 * MB)


def test_what_is_pending_goes_first() -> None:
    pending = MigrationRecord(source="overlay2", target="vfs")
    planning.check_pending(None, "overlay2", "vfs")
    planning.check_pending(pending, "overlay2", "vfs")
    with pytest.raises(InvalidParameter, match="is vfs already"):
        planning.check_pending(None, "vfs", "vfs")
    with pytest.raises(Conflict, match="a migration to vfs was begun"):
        planning.check_pending(pending, "overlay2", "erofs")
    done = MigrationRecord(source="overlay2", target="vfs", switched=True)
    planning.check_pending(done, "vfs", "vfs")
    with pytest.raises(Conflict, match="not all removed"):
        planning.check_pending(done, "vfs", "overlay2")


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED, Status.RESTARTING])
def test_those_that_run_are_named(status: Status) -> None:
    active = planning.must_stop(
        [container("web", status), container("old"), container("db", status)]
    )
    with pytest.raises(Conflict, match="containers are running: web, db: stop them first"):
        planning.check_running(active, stop=False)
    planning.check_running(active, stop=True)
    planning.check_running([], stop=False)


def test_stopping_must_not_remove() -> None:
    active = [container("web", Status.RUNNING), container("gone", Status.RUNNING, auto_remove=True)]
    with pytest.raises(Conflict, match="with --rm: gone: stopping would remove"):
        planning.check_running(active, stop=True)


def test_advice_for_the_next_start() -> None:
    def advice(**given: object) -> str:
        settings = {"named": "", "options": [], "given": [], **given}
        return "\n".join(planning.advice("vfs", **settings))  # type: ignore[arg-type]

    assert advice() == ""
    assert advice(named="vfs", options=["vfs.size=1G"], given=["vfs.size=1G"]) == ""
    assert "names the storage driver overlay2: set it to vfs" in advice(named="overlay2")
    assert "meant for the former driver: overlay2.size=1G" in advice(options=["overlay2.size=1G"])
    assert "add to the daemon's storage-opts what holds for vfs: size=1G" in advice(
        given=["size=1G"]
    )


def test_who_is_stopped_is_remembered_until_brought_back() -> None:
    pending = MigrationRecord(source="overlay2", target="vfs", stopped=["old"], paused=["old"])
    active = [container("runs", Status.RUNNING), container("frozen", Status.PAUSED)]
    halted = planning.halted(pending, active)
    assert (halted.stopped, halted.paused) == (["old", "runs", "frozen"], ["old", "frozen"])
    assert planning.halted(halted, active) == halted
    back = planning.brought_back(planning.brought_back(halted, "old"), "runs")
    assert (back.stopped, back.paused) == (["frozen"], ["frozen"])
    assert planning.brought_back(back, "frozen").stopped == []
