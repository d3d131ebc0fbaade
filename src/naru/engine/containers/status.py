"""A container's state in the words of `docker ps` and the fields of inspect. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from naru.spec.containers import ContainerState, Health, Status
from naru.spec.durations import in_words
from naru.spec.oci import format_time

_SECOND = 10**9


def in_words_of_ps(state: ContainerState, now: int) -> str:
    """`Status` of a listing; `now` is ns since the epoch."""
    since_start = in_words(max(0, now - state.started_at) / _SECOND)
    since_end = in_words(max(0, now - state.finished_at) / _SECOND)
    match state.status:
        case Status.PAUSED:
            return f"Up {since_start} (Paused)"
        case Status.RESTARTING:
            return f"Restarting ({state.exit_code}) {since_end} ago"
        case Status.RUNNING:
            health = health_of(state)
            if health == "none":
                return f"Up {since_start}"
            words = "health: starting" if health == "starting" else health
            return f"Up {since_start} ({words})"
        case Status.REMOVING:
            return "Removal In Progress"
        case Status.DEAD:
            return "Dead"
        case Status.CREATED:
            return "Created"
        case Status.EXITED:
            return f"Exited ({state.exit_code}) {since_end} ago"


def health_of(state: ContainerState) -> str:
    return state.health.status if state.health is not None else "none"


def health_summary(state: ContainerState) -> dict[str, Any]:
    """`Health` of a listing: that of a container that runs."""
    if state.status not in (Status.RUNNING, Status.PAUSED) or state.health is None:
        return {"Status": "none", "FailingStreak": 0}
    return {"Status": state.health.status, "FailingStreak": state.health.failing_streak}


def as_inspected(state: ContainerState) -> dict[str, Any]:
    """`State` of inspect. Docker calls a container that waits for its restart running as well."""
    restarting = state.status is Status.RESTARTING
    inspected: dict[str, Any] = {
        "Status": state.status.value,
        "Running": state.status in (Status.RUNNING, Status.PAUSED) or restarting,
        "Paused": state.status is Status.PAUSED,
        "Restarting": restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status is Status.DEAD,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": _time(state.started_at),
        "FinishedAt": _time(state.finished_at),
    }
    if state.health is not None:
        inspected["Health"] = _health(state.health)
    return inspected


def _health(health: Health) -> dict[str, Any]:
    builtins: dict[str, Any] = msgspec.to_builtins(health)
    return builtins


def _time(ns: int) -> str:
    return format_time(ns) if ns else "0001-01-01T00:00:00Z"
