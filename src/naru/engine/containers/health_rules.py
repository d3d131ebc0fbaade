"""When a container counts as healthy: pure decisions over its probes' results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from naru.spec.containers import ContainerConfig, Health, HealthConfig, HealthProbe

STARTING: Final = "starting"
HEALTHY: Final = "healthy"
UNHEALTHY: Final = "unhealthy"

MOST_OUTPUT: Final = 4096
"""Bytes of a probe's output that are kept."""

_KEPT_PROBES: Final = 5
_SECOND: Final = 10**9
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")


class Check(msgspec.Struct, frozen=True):
    """What to run, and how its failures count. Times are seconds."""

    command: Sequence[str]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int


def check_of(config: ContainerConfig) -> Check | None:
    """None when the container has no health check, or `NONE`."""
    asked: HealthConfig | None = config.healthcheck
    if asked is None or not asked.test:
        return None
    kind, *words = asked.test
    match kind:
        case "CMD":
            command = words
        case "CMD-SHELL":
            command = [*(config.shell or _DEFAULT_SHELL), *words[:1]]
        case _:
            return None
    return Check(
        command=command,
        interval=(asked.interval or 30 * _SECOND) / _SECOND,
        timeout=(asked.timeout or 30 * _SECOND) / _SECOND,
        start_period=asked.start_period / _SECOND,
        start_interval=(asked.start_interval or 5 * _SECOND) / _SECOND,
        retries=asked.retries or 3,
    )


def initial(config: ContainerConfig) -> Health | None:
    """`State.Health` of a container that just started."""
    return Health(status=STARTING) if check_of(config) is not None else None


def after(health: Health, probe: HealthProbe, check: Check, *, running_for: float) -> Health:
    """`running_for`: seconds from the container's start to the probe's."""
    log = [*health.log, probe][-_KEPT_PROBES:]
    if probe.exit_code == 0:
        return Health(status=HEALTHY, failing_streak=0, log=log)
    if health.status == STARTING and running_for < check.start_period:
        return Health(status=STARTING, failing_streak=health.failing_streak, log=log)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= check.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


def pause_before(health: Health, check: Check, *, running_for: float) -> float:
    """Seconds until the next probe: more often while the container starts."""
    if health.status == STARTING and running_for < check.start_period:
        return min(check.start_interval, check.interval)
    return check.interval


def go_duration(seconds: float) -> str:
    """Go's text for a duration: "500ms", "30s", "1m30s", "2h0m0s"."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
