from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.containers.world import World

from naru.engine.containers import doomed_volumes, persevere
from naru.engine.containers.devices import block_limits
from naru.engine.containers.update import DeviceLimits
from naru.runtime.supervisor_link import LinkLost
from naru.spec.containers import HostConfig, RestartPolicy, Status, ThrottleDevice, WeightDevice
from naru.spec.errors import Conflict, InternalError, InvalidParameter, NotFound, Unsupported

DEADLINE = 60


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.exits.begin()
    try:
        async with asyncio.timeout(DEADLINE):
            yield world
    finally:
        await world.close()


async def test_from_create_to_remove(world: World) -> None:
    record = await world.create("web_1")
    assert await world.lifecycle.start("web_1")
    assert not await world.lifecycle.start("web_1")
    running = world.now(record)
    assert running.state.status is Status.RUNNING
    assert running.state.pid == world.runtime.running[record.id]
    exited = world.lifecycle.wait("web_1")
    world.runtime.die(record.id, 7)
    assert (await exited).exit_code == 7
    assert world.now(record).state.status is Status.EXITED
    await world.lifecycle.remove("web_1")
    await world.tasks.settled()
    assert world.actions(record.id) == ["create", "start", "die", "destroy"]
    assert world.left_behind() == []
    assert len(world.acknowledged) == 1
    with pytest.raises(NotFound):
        world.containers.find("web_1")


async def test_names_are_unique_and_prefixes_find(world: World) -> None:
    record = await world.create("name")
    with pytest.raises(Conflict) as raised:
        await world.create("name")
    assert f'already in use by container "{record.id}"' in str(raised.value)
    assert world.containers.find(record.id[:12]) == record
    assert world.containers.find("/name") == record
    other = await world.create()
    await world.lifecycle.rename(other.name, "other")
    with pytest.raises(Conflict, match="Error when allocating new name"):
        await world.lifecycle.rename("other", "name")
    with pytest.raises(InvalidParameter):
        await world.lifecycle.rename("other", "-")
    assert world.now(other).name == "other"


async def test_two_creates_of_one_name_at_once(world: World) -> None:
    results = await asyncio.gather(
        world.create("same"), world.create("same"), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in results) == ["Conflict", "ContainerRecord"]
    assert len(world.containers.all()) == 1


async def test_a_failed_create_leaves_nothing(world: World) -> None:
    world.layers.fails = InternalError("no space")
    with pytest.raises(InternalError, match="no space"):
        await world.create("nn", volumes={"/data": {}})
    assert world.left_behind() == []
    assert world.volumes.known == {}
    assert world.containers.name_is_free("nn")


@pytest.mark.parametrize("culprit", ["network", "runtime"])
async def test_a_failed_start_undoes_everything(world: World, culprit: str) -> None:
    record = await world.create()
    failure = InternalError("it does not go")
    if culprit == "network":
        world.networks.fails = failure
    else:
        failure.exit_code = 127  # type: ignore[attr-defined]
        world.runtime.fails = failure
    with pytest.raises(InternalError, match="it does not go"):
        await world.lifecycle.start(record.id)
    failed = world.now(record)
    assert failed.state.status is Status.CREATED
    assert failed.state.error == "it does not go"
    assert failed.state.exit_code == (127 if culprit == "runtime" else 128)
    await world.tasks.settled()
    assert world.layers.mounted == set()
    assert world.networks.attached == set()
    assert not world.paths.bundle(record.id).exists()
    world.networks.fails = world.runtime.fails = None
    assert await world.lifecycle.start(record.id)
    assert world.now(record).state.error == ""


async def test_a_failed_start_removes_what_removes_itself(world: World) -> None:
    record = await world.create(auto_remove=True)
    world.runtime.fails = InternalError("no")
    with pytest.raises(InternalError):
        await world.lifecycle.start(record.id)
    await world.tasks.settled()
    assert world.containers.get(record.id) is None
    assert world.left_behind() == []


async def test_a_shortage_at_the_end_of_a_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the address nor the container that should go stays for ever."""
    monkeypatch.setattr(persevere, "PAUSES", (0,))
    record = await world.create(auto_remove=True, volumes={"/data": {}})
    await world.lifecycle.start(record.id)
    world.networks.short = 3
    notes = iter([OSError(errno.EMFILE, "too many"), OSError(errno.EMFILE, "too many")])
    note = doomed_volumes.note

    def short(directory: Path, doomed: Sequence[str]) -> None:
        if (error := next(notes, None)) is not None:
            raise error
        note(directory, doomed)

    monkeypatch.setattr(doomed_volumes, "note", short)
    exited = world.lifecycle.wait(record.id)
    world.runtime.die(record.id, 5)
    assert (await exited).exit_code == 5
    await world.tasks.settled()
    assert world.containers.get(record.id) is None
    assert world.networks.attached == set()
    assert world.left_behind() == []


async def test_wait_answers_after_the_container_removed_itself(world: World) -> None:
    record = await world.create(auto_remove=True, volumes={"/data": {}})
    removed = world.lifecycle.wait(record.id, "removed")
    exited = world.lifecycle.wait(record.id, "next-exit")
    await world.lifecycle.start(record.id)
    world.runtime.die(record.id, 3)
    assert (await exited).exit_code == 3
    assert (await removed).exit_code == 3
    assert world.volumes.known == {}
    await world.tasks.settled()
    assert world.left_behind() == []
    assert world.actions(record.id) == ["create", "start", "die", "destroy"]


async def test_waiting_for_what_does_not_run(world: World) -> None:
    record = await world.create()
    assert (await world.lifecycle.wait(record.id)).exit_code == 0
    with pytest.raises(InvalidParameter):
        world.lifecycle.wait(record.id, "never")


async def test_stop_escalates_to_a_kill(world: World) -> None:
    record = await world.create()
    await world.lifecycle.start(record.id)
    world.runtime.fatal = {9}
    assert await world.lifecycle.stop(record.id, timeout=0)
    assert world.runtime.signals == [15, 9]
    assert world.now(record).state.exit_code == 137
    assert not await world.lifecycle.stop(record.id)
    assert world.actions(record.id)[2:] == ["kill", "kill", "die", "stop"]


async def test_stop_races_with_an_exit(world: World) -> None:
    record = await world.create()
    await world.lifecycle.start(record.id)
    stopping = asyncio.ensure_future(world.lifecycle.stop(record.id))
    world.runtime.die(record.id, 5)
    await stopping
    assert world.now(record).state.exit_code == 5
    assert world.now(record).state.status is Status.EXITED


async def test_remove_races_with_a_start(world: World) -> None:
    record = await world.create()
    world.runtime.gate.clear()
    starting = asyncio.ensure_future(world.lifecycle.start(record.id))
    await world.runtime.reached.wait()
    removing = asyncio.ensure_future(world.lifecycle.remove(record.id, force=True))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="already in progress"):
        await world.lifecycle.remove(record.id)
    world.runtime.gate.set()
    assert await starting
    await removing
    await world.tasks.settled()
    assert world.runtime.running == {}
    assert world.containers.get(record.id) is None
    assert world.left_behind() == []


async def test_a_running_container_is_removed_by_force_only(world: World) -> None:
    record = await world.create(restart_policy=RestartPolicy(name="always"))
    await world.lifecycle.start(record.id)
    with pytest.raises(Conflict, match="container is running"):
        await world.lifecycle.remove(record.id)
    await world.lifecycle.remove(record.id, force=True)
    await world.tasks.settled()
    assert world.left_behind() == []


async def test_a_client_that_hangs_up_does_not_abort_a_start(world: World) -> None:
    record = await world.create()
    world.runtime.gate.clear()
    starting = asyncio.ensure_future(world.lifecycle.start(record.id))
    await world.runtime.reached.wait()
    starting.cancel()
    world.runtime.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await world.tasks.settled()
    assert world.now(record).state.status is Status.RUNNING


async def test_the_restart_policy_starts_it_again(world: World) -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=1)
    record = await world.create(restart_policy=policy)
    await world.lifecycle.start(record.id)
    world.runtime.die(record.id, 1)
    await world.until(lambda: world.runtime.runs == 2 and world.now(record).running)
    assert world.now(record).restart_count == 1
    exited = world.lifecycle.wait(record.id)
    world.runtime.die(record.id, 1)
    await exited
    assert world.now(record).state.status is Status.EXITED


async def test_a_stop_ends_the_waiting_for_a_restart(world: World) -> None:
    record = await world.create(restart_policy=RestartPolicy(name="always"))
    await world.lifecycle.start(record.id)
    exited = world.lifecycle.wait(record.id)
    world.runtime.die(record.id, 1)
    await exited
    assert world.now(record).state.status is Status.RESTARTING
    assert await world.lifecycle.stop(record.id)
    await world.tasks.settled()
    assert world.now(record).state.status is Status.EXITED
    assert world.runtime.runs == 1


async def test_restart_keeps_what_removes_itself(world: World) -> None:
    record = await world.create(auto_remove=True)
    await world.lifecycle.start(record.id)
    await world.lifecycle.restart(record.id)
    assert world.now(record).state.status is Status.RUNNING
    assert world.runtime.runs == 2


async def test_pause_and_kill(world: World) -> None:
    record = await world.create()
    with pytest.raises(Conflict, match="is not running"):
        await world.lifecycle.kill(record.id)
    await world.lifecycle.start(record.id)
    await world.lifecycle.pause(record.id)
    assert world.now(record).state.status is Status.PAUSED
    with pytest.raises(Conflict, match="already paused"):
        await world.lifecycle.pause(record.id)
    with pytest.raises(InvalidParameter, match="invalid signal: NOPE"):
        await world.lifecycle.kill(record.id, signal="NOPE")
    await world.lifecycle.kill(record.id, signal="USR1")
    assert world.now(record).running
    await world.lifecycle.kill(record.id)
    assert world.now(record).state.exit_code == 137


async def test_a_new_daemon_takes_up_what_runs(world: World) -> None:
    runs = await world.create("runs")
    ends = await world.create("ends")
    lost = await world.create("lost", restart_policy=RestartPolicy(name="always"))
    for record in (runs, ends, lost):
        await world.lifecycle.start(record.id)
    world.boot()
    world.runtime.die(ends.id, 4)
    del world.runtime.running[lost.id]  # as after a reboot
    orphan = world.paths.directory("f" * 64)
    orphan.mkdir()
    await asyncio.sleep(0)
    await world.recovery()
    assert world.now(runs).state.status is Status.RUNNING
    assert world.now(ends).state.exit_code == 4
    assert not orphan.exists()
    await world.until(lambda: world.now(lost).running)
    exited = world.lifecycle.wait("runs")
    world.runtime.die(runs.id, 0)
    await exited


async def test_a_new_daemon_undoes_a_start_that_was_not_recorded(world: World) -> None:
    record = await world.create()
    await world.lifecycle.start(record.id)
    await world.containers.save(record)  # as if the daemon had died before it could record
    world.boot()
    await world.recovery()
    await world.tasks.settled()
    assert world.runtime.running == {}
    assert world.now(record).state.status is Status.CREATED


async def test_a_new_daemon_removes_what_removes_itself_and_does_not_run(world: World) -> None:
    created = await world.create("created", auto_remove=True)
    runs = await world.create("runs", auto_remove=True)
    await world.lifecycle.start(runs.id)
    world.boot()
    await world.recovery()
    await world.tasks.settled()
    assert world.containers.get(created.id) is None
    assert world.now(runs).running
    await world.lifecycle.remove(runs.id, force=True)
    await world.tasks.settled()
    assert world.left_behind() == []


async def test_a_supervisor_that_dies_during_a_restart_does_not_end_the_restarts(
    world: World,
) -> None:
    record = await world.create(restart_policy=RestartPolicy("on-failure", 2))
    await world.lifecycle.start(record.id)
    world.runtime.fails = LinkLost("the supervisor went away")
    world.runtime.reached.clear()
    world.runtime.die(record.id, 1)
    await world.runtime.reached.wait()
    world.runtime.fails = None
    await world.until(lambda: world.now(record).running)
    assert world.now(record).restart_count == 1


async def test_an_end_during_the_recovery_is_no_lost_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.create()
    await world.lifecycle.start(record.id)
    world.boot()
    begin = world.exits.begin

    async def begin_late() -> None:
        await begin()
        world.runtime.die(record.id, 4)

    monkeypatch.setattr(world.exits, "begin", begin_late)
    await world.recovery()
    await world.until(lambda: not world.now(record).running)
    assert world.now(record).state.exit_code == 4


async def test_a_new_daemon_clears_up_before_it_restarts(world: World) -> None:
    record = await world.create(restart_policy=RestartPolicy("always"))
    await world.lifecycle.start(record.id)
    exited = world.lifecycle.wait(record.id)
    world.runtime.die(record.id, 1)
    await exited
    await world.tasks.close(grace=0)  # the daemon dies before the teardown
    world.paths.bundle(record.id).mkdir(exist_ok=True)
    stale = world.paths.bundle(record.id) / "of-the-former-run"
    stale.touch()
    world.boot()
    await world.recovery()
    await world.until(lambda: world.now(record).running)
    assert not stale.exists()


async def test_update_reaches_a_running_container(world: World) -> None:
    record = await world.create()
    await world.lifecycle.start(record.id)
    asked = record.host_config.__class__(memory=10**7, cpu_shares=5)
    assert await world.lifecycle.update(record.id, asked) == []
    assert world.runtime.updated["memory"] == {"limit": 10**7}
    assert world.now(record).host_config.cpu_shares == 5


async def test_update_of_the_limits_of_devices(world: World) -> None:
    null, zero = (os.stat(path).st_rdev for path in ("/dev/null", "/dev/zero"))
    record = await world.create()
    await world.lifecycle.start(record.id)

    async def update(**limits: list[Any]) -> dict[str, dict[int, int]]:
        """-> what devices are limited to now, by kind."""
        await world.lifecycle.update(record.id, HostConfig(), DeviceLimits(**limits))
        assert "blockIO" not in world.runtime.updated
        held = block_limits(world.held)
        return {
            kind: {os.makedev(*device): value for device, value in limited.items()}
            for kind in held.__struct_fields__
            if (limited := getattr(held, kind))
        }

    one = ThrottleDevice(path="/dev/null", rate=1000)
    other = ThrottleDevice(path="/dev/zero", rate=2000)
    none = ThrottleDevice(path="/dev/zero", rate=0)
    weight = WeightDevice(path="/dev/null", weight=100)
    assert await update(blkio_device_read_bps=[one]) == {"read_bps": {null: 1000}}
    # What is not named stays; a device that is named no more is unlimited.
    assert await update(blkio_device_write_iops=[other], blkio_weight_device=[weight]) == {
        "read_bps": {null: 1000}, "write_iops": {zero: 2000}, "weight": {null: 100},
    }  # fmt: skip
    assert await update(blkio_device_read_bps=[other], blkio_weight_device=[]) == {
        "read_bps": {zero: 2000}, "write_iops": {zero: 2000},
    }  # fmt: skip
    assert await update(blkio_device_read_bps=[none]) == {"write_iops": {zero: 2000}}
    assert world.now(record).host_config.blkio_device_read_bps == []
    assert await update(blkio_device_write_iops=[]) == {}
    assert await update() == {}


async def test_limits_of_devices_of_a_client_that_knows_no_such_update(world: World) -> None:
    record = await world.create()
    asked = HostConfig(blkio_device_read_bps=[ThrottleDevice(path="/dev/null", rate=1000)])
    with pytest.raises(Unsupported, match="blkio_device_read_bps"):
        await world.lifecycle.update(record.id, asked)


async def test_volumes_of_an_interrupted_create_go_with_it(world: World) -> None:
    kept = await world.create("kept", volumes={"/data": {}})
    gone = await world.create("gone", volumes={"/data": {}})
    # As if the daemon had died before the record was written.
    await world.records.commit(world.records.delete(world.records.containers, gone.id))
    world.boot()
    await world.recovery()
    assert list(world.volumes.known) == [kept.mounts[0].name]
    await world.lifecycle.remove(kept.id)
    await world.tasks.settled()
    assert list(world.volumes.known) == [kept.mounts[0].name]
    assert world.left_behind() == []
