from __future__ import annotations

import pytest

from naru.engine.containers import health_rules
from naru.engine.containers.health_rules import Check, after, check_of, go_duration
from naru.spec.containers import ContainerConfig, Health, HealthConfig, HealthProbe

CHECK = Check(["x"], interval=30, timeout=5, start_period=10, start_interval=2, retries=2)
GOOD, BAD = HealthProbe(exit_code=0), HealthProbe(exit_code=1)


def run(*probes: HealthProbe, at: float = 100) -> Health:
    health = Health()
    for probe in probes:
        health = after(health, probe, CHECK, running_for=at)
    return health


@pytest.mark.parametrize(
    ("probes", "status", "streak"),
    [
        ([], "starting", 0),
        ([GOOD], "healthy", 0),
        ([BAD], "starting", 1),
        ([BAD, BAD], "unhealthy", 2),
        ([GOOD, BAD], "healthy", 1),
        ([GOOD, BAD, BAD], "unhealthy", 2),
        ([BAD, BAD, GOOD], "healthy", 0),
    ],
)
def test_status(probes: list[HealthProbe], status: str, streak: int) -> None:
    health = run(*probes)
    assert (health.status, health.failing_streak) == (status, streak)


def test_failures_while_it_starts_do_not_count() -> None:
    assert run(BAD, BAD, BAD, at=5) == Health(log=[BAD] * 3)


def test_only_the_last_five_probes_are_kept() -> None:
    assert len(run(*[BAD] * 9).log) == 5


def test_probes_are_more_frequent_while_it_starts() -> None:
    assert health_rules.pause_before(Health(), CHECK, running_for=1) == 2
    assert health_rules.pause_before(Health(), CHECK, running_for=11) == 30
    assert health_rules.pause_before(Health(status="healthy"), CHECK, running_for=1) == 30


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (["CMD", "a", "b"], ["a", "b"]),
        (["CMD-SHELL", "a | b"], ["/bin/sh", "-c", "a | b"]),
        (["NONE"], None),
        ([], None),
    ],
)
def test_commands(test: list[str], command: list[str] | None) -> None:
    check = check_of(ContainerConfig(healthcheck=HealthConfig(test=test)))
    assert (check and list(check.command)) == command
    if check is not None:
        assert (check.interval, check.timeout, check.retries) == (30, 30, 3)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (30, "30s"), (90, "1m30s"), (7200, "2h0m0s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
