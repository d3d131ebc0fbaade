"""A further process in a running container, as the OCI runtime takes it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field

from naru.engine.containers import oci_config
from naru.engine.containers.oci_config import Setting
from naru.engine.containers.users import User
from naru.spec.api import Api
from naru.spec.containers import ContainerRecord


class ExecConfig(Api, frozen=True, kw_only=True):
    """The body of `POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] = field(default_factory=list)
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach_keys: str = ""
    env: list[str] = field(default_factory=list)
    working_dir: str = ""
    cmd: list[str] = field(default_factory=list)


def exec_process(
    record: ContainerRecord,
    config: ExecConfig,
    *,
    user: User,
    capabilities: Sequence[str],
    apparmor: str,
    no_new_privileges: bool,
    console_size: Sequence[int] = (),
) -> dict[str, Any]:
    """The container's own process with what the exec asks for in its place."""
    replaced = msgspec.structs.replace(
        record,
        path=config.cmd[0],
        args=config.cmd[1:],
        config=msgspec.structs.replace(
            record.config,
            tty=config.tty,
            env=[*record.config.env, *config.env],
            working_dir=config.working_dir or record.config.working_dir,
        ),
        host_config=msgspec.structs.replace(record.host_config, console_size=list(console_size)),
    )
    setting = Setting(
        rootfs=Path("/"),
        user=user,
        capabilities=capabilities,
        cgroups_path="",
        apparmor=apparmor,
        no_new_privileges=no_new_privileges,
    )
    return oci_config.process(replaced, setting)
