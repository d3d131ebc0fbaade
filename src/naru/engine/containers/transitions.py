"""What a container may do next: pure decisions over states, tested as a table.

Each function answers a `Verdict`; an error carries Docker's text. Nothing here does I/O.
"""

from __future__ import annotations

from enum import Enum

from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict


class Verdict(Enum):
    GO = "go"
    NOTHING_TO_DO = "nothing to do"


def may_start(record: ContainerRecord) -> Verdict:
    match record.state.status:
        case Status.PAUSED:
            raise Conflict("cannot start a paused container, try unpause instead")
        case Status.RUNNING:
            return Verdict.NOTHING_TO_DO
        case Status.RESTARTING | Status.CREATED | Status.EXITED:
            return Verdict.GO
        case Status.REMOVING | Status.DEAD:
            raise Conflict("container is marked for removal and cannot be started")


def may_stop(record: ContainerRecord) -> Verdict:
    match record.state.status:
        case Status.RUNNING | Status.PAUSED | Status.RESTARTING:
            return Verdict.GO
        case _:
            return Verdict.NOTHING_TO_DO


def may_kill(record: ContainerRecord) -> Verdict:
    match record.state.status:
        case Status.RUNNING | Status.PAUSED:
            return Verdict.GO
        case Status.RESTARTING:
            # Nothing runs between two attempts: the kill ends the attempts.
            return Verdict.NOTHING_TO_DO
        case _:
            raise Conflict(not_running(record))


def may_pause(record: ContainerRecord) -> Verdict:
    match record.state.status:
        case Status.RUNNING:
            return Verdict.GO
        case Status.PAUSED:
            raise Conflict(f"Container {record.id} is already paused")
        case Status.RESTARTING:
            raise Conflict(restarting(record))
        case _:
            raise Conflict(not_running(record))


def may_unpause(record: ContainerRecord) -> Verdict:
    if record.state.status is Status.PAUSED:
        return Verdict.GO
    raise Conflict(f"Container {record.id} is not paused")


def may_remove(record: ContainerRecord, *, force: bool) -> Verdict:
    """`force` turns every refusal but that of a removal under way into GO."""
    state = record.state.status
    if state is Status.REMOVING:
        raise Conflict(f"removal of container {record.name} is already in progress")
    if force:
        return Verdict.GO
    why = {
        Status.RUNNING: "container is running: stop the container before removing or force remove",
        Status.RESTARTING: (
            "container is restarting: stop the container before removing or force remove"
        ),
        Status.PAUSED: (
            "container is paused and must be unpaused first: unpause the container before "
            "removing or force remove"
        ),
    }.get(state)
    if why is not None:
        raise Conflict(f'cannot remove container "/{record.name}": {why}')
    return Verdict.GO


def must_run(record: ContainerRecord) -> None:
    """For verbs that need a process: top, attach, exec, resize."""
    match record.state.status:
        case Status.RUNNING | Status.PAUSED:
            return
        case Status.RESTARTING:
            raise Conflict(restarting(record))
        case _:
            raise Conflict(not_running(record))


def restarting(record: ContainerRecord) -> str:
    return f"Container {record.id} is restarting, wait until the container is running"


def not_running(record: ContainerRecord) -> str:
    return f"container {record.id} is not running"
