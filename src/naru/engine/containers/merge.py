"""An image's defaults under what the user asked for, as dockerd merges them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from naru.engine.containers.ports import expanded
from naru.spec.containers import ContainerConfig, HealthConfig
from naru.spec.errors import InvalidParameter


def merged(config: ContainerConfig, image: ContainerConfig) -> ContainerConfig:
    """`config` with the image's values where it says nothing."""
    entrypoint, cmd = words(config.entrypoint), words(config.cmd)
    if not entrypoint:
        cmd = cmd or words(image.cmd)
        if entrypoint is None:
            entrypoint = words(image.entrypoint)
    if entrypoint == [""]:  # `--entrypoint ""` takes the image's away
        entrypoint = None
    return msgspec.structs.replace(
        config,
        entrypoint=entrypoint,
        cmd=cmd,
        user=config.user or image.user,
        env=merged_env(config.env, image.env),
        labels={**image.labels, **config.labels},
        exposed_ports={
            port: {} for port in (*expanded(image.exposed_ports), *expanded(config.exposed_ports))
        },
        volumes={**image.volumes, **config.volumes},
        working_dir=config.working_dir or image.working_dir,
        stop_signal=config.stop_signal or image.stop_signal,
        stop_timeout=image.stop_timeout if config.stop_timeout is None else config.stop_timeout,
        healthcheck=_merged_health(config.healthcheck, image.healthcheck),
        on_build=config.on_build if config.on_build is not None else image.on_build,
        shell=config.shell or image.shell,
    )


def command(config: ContainerConfig) -> tuple[str, list[str]]:
    """The program to run and its arguments."""
    argv = [*(words(config.entrypoint) or []), *(words(config.cmd) or [])]
    if not argv:
        raise InvalidParameter("no command specified")
    return argv[0], argv[1:]


def words(value: list[str] | str | None) -> list[str] | None:
    """Docker reads a plain string as a list of one."""
    return [value] if isinstance(value, str) else value


def merged_env(asked: Iterable[str], defaults: Iterable[str]) -> list[str]:
    """What was asked for, then the defaults whose names it leaves free: dockerd's order."""
    asked = list(asked)
    names = {entry.partition("=")[0] for entry in asked}
    return asked + [entry for entry in defaults if entry.partition("=")[0] not in names]


def _merged_health(asked: HealthConfig | None, image: HealthConfig | None) -> HealthConfig | None:
    if asked is None or image is None:
        return asked or image
    return HealthConfig(
        test=asked.test or image.test,
        interval=asked.interval or image.interval,
        timeout=asked.timeout or image.timeout,
        retries=asked.retries or image.retries,
        start_period=asked.start_period or image.start_period,
        start_interval=asked.start_interval or image.start_interval,
    )
