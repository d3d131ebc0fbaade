"""Whether and when a container that ended is started again. Pure; docker's restart manager."""

from __future__ import annotations

from naru.spec.containers import RestartPolicy

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
HEALTHY_AFTER = 10.0
"""Seconds of running after which the back-off begins anew."""


def restarts(
    policy: RestartPolicy, *, exit_code: int, restart_count: int, stopped_by_user: bool
) -> bool:
    """After an exit, while the daemon runs."""
    if stopped_by_user:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            limit = policy.maximum_retry_count
            return exit_code != 0 and (limit == 0 or restart_count < limit)
        case _:
            return False


def starts_with_daemon(policy: RestartPolicy, *, stopped_by_user: bool) -> bool:
    """For a container that does not run when the daemon starts, such as after a reboot."""
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stopped_by_user
        case _:
            return False


def next_delay(last: float, *, ran_for: float) -> float:
    """Seconds to wait; `last` is the wait before, 0 for none."""
    if last == 0 or ran_for >= HEALTHY_AFTER:
        return FIRST_DELAY
    return min(last * 2, LONGEST_DELAY)
