from __future__ import annotations

import pytest

from naru.engine.containers import restart_policy, transitions
from naru.engine.containers.transitions import Verdict
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    RestartPolicy,
    Status,
)
from naru.spec.errors import Conflict

GO, NOTHING, NO = Verdict.GO, Verdict.NOTHING_TO_DO, None


def record(status: Status) -> ContainerRecord:
    return ContainerRecord(
        id="i" * 64,
        name="n",
        created=1,
        image_id="",
        chain_id="",
        driver="vfs",
        config=ContainerConfig(),
        host_config=HostConfig(),
        path="p",
        args=[],
        state=ContainerState(status=status),
    )


TABLE = {
    # status: start, stop, kill, pause, unpause, remove, forced remove
    Status.CREATED: (GO, NOTHING, NO, NO, NO, GO, GO),
    Status.RUNNING: (NOTHING, GO, GO, GO, NO, NO, GO),
    Status.PAUSED: (NO, GO, GO, NO, GO, NO, GO),
    Status.RESTARTING: (GO, GO, NOTHING, NO, NO, NO, GO),
    Status.EXITED: (GO, NOTHING, NO, NO, NO, GO, GO),
    Status.REMOVING: (NO, NOTHING, NO, NO, NO, NO, NO),
    Status.DEAD: (NO, NOTHING, NO, NO, NO, GO, GO),
}


@pytest.mark.parametrize("status", list(Status))
def test_the_table(status: Status) -> None:
    it = record(status)
    asked = (
        lambda: transitions.may_start(it),
        lambda: transitions.may_stop(it),
        lambda: transitions.may_kill(it),
        lambda: transitions.may_pause(it),
        lambda: transitions.may_unpause(it),
        lambda: transitions.may_remove(it, force=False),
        lambda: transitions.may_remove(it, force=True),
    )
    for ask, expected in zip(asked, TABLE[status], strict=True):
        if expected is NO:
            with pytest.raises(Conflict):
                ask()
        else:
            assert ask() is expected


def test_dockers_words() -> None:
    with pytest.raises(Conflict) as raised:
        transitions.may_remove(record(Status.RUNNING), force=False)
    assert str(raised.value) == (
        'cannot remove container "/n": container is running: stop the container before removing '
        "or force remove"
    )
    with pytest.raises(Conflict, match="is not running"):
        transitions.must_run(record(Status.EXITED))
    with pytest.raises(Conflict, match="is not paused"):
        transitions.may_unpause(record(Status.RUNNING))


@pytest.mark.parametrize(
    ("policy", "code", "count", "stopped", "expected"),
    [
        (RestartPolicy(name="no"), 1, 0, False, False),
        (RestartPolicy(name="always"), 0, 99, False, True),
        (RestartPolicy(name="always"), 0, 0, True, False),
        (RestartPolicy(name="unless-stopped"), 0, 0, False, True),
        (RestartPolicy(name="on-failure"), 0, 0, False, False),
        (RestartPolicy(name="on-failure"), 1, 99, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=2), 1, 1, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=2), 1, 2, False, False),
    ],
)
def test_restarts(
    policy: RestartPolicy, code: int, count: int, stopped: bool, expected: bool
) -> None:
    assert (
        restart_policy.restarts(
            policy, exit_code=code, restart_count=count, stopped_by_user=stopped
        )
        is expected
    )


@pytest.mark.parametrize(
    ("name", "stopped", "expected"),
    [
        ("no", False, False),
        ("always", True, True),
        ("unless-stopped", False, True),
        ("unless-stopped", True, False),
        ("on-failure", False, False),
    ],
)
def test_with_the_daemon(name: str, stopped: bool, expected: bool) -> None:
    policy = RestartPolicy(name=name)
    assert restart_policy.starts_with_daemon(policy, stopped_by_user=stopped) is expected


def test_the_back_off_doubles_to_a_minute_and_begins_anew() -> None:
    delay, delays = 0.0, []
    for _ in range(12):
        delay = restart_policy.next_delay(delay, ran_for=0.1)
        delays.append(delay)
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 60.0
    assert restart_policy.next_delay(60.0, ran_for=10.0) == 0.1
