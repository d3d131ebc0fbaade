"""A further process in a running container, as the OCI runtime takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field

from naru.engine.containers import oci_config, security, transitions, users
from naru.engine.containers.oci_config import Setting
from naru.runtime import capabilities
from naru.spec.api import Api
from naru.spec.containers import ContainerRecord
from naru.spec.errors import Conflict


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
    console_size: Sequence[int],
    *,
    apparmor_profile: str,
    no_new_privileges: bool,
) -> dict[str, Any]:
    """The container's own process with what the exec asks for in its place.

    Blocks: reads the container's own /etc/passwd and /etc/group. The last two are the daemon's.
    """
    host = record.host_config
    # By the process's root, not the layer's: mounts may lie over the files.
    try:
        accounts = users.read_accounts(Path(f"/proc/{record.state.pid}/root"))
    except FileNotFoundError as error:  # it has just ended
        raise Conflict(transitions.not_running(record)) from error
    options = security.parse(host.security_opt, no_new_privileges=no_new_privileges)
    privileged = config.privileged or host.privileged
    apparmor = options.apparmor or ("" if privileged else apparmor_profile)
    setting = Setting(
        rootfs=Path("/"),
        user=users.resolve(config.user or record.config.user, host.group_add, accounts),
        capabilities=capabilities.effective(host.cap_add, host.cap_drop, privileged=privileged),
        cgroups_path="",
        apparmor="" if config.privileged or apparmor == "unconfined" else apparmor,
        no_new_privileges=options.no_new_privileges,
    )
    return oci_config.process(_replaced(record, config, console_size), setting)


def _replaced(
    record: ContainerRecord, config: ExecConfig, console_size: Sequence[int]
) -> ContainerRecord:
    return msgspec.structs.replace(
        record,
        path=config.cmd[0],
        args=config.cmd[1:],
        config=msgspec.structs.replace(
            record.config,
            tty=config.tty,
            env=[*record.config.env, *config.env],
            working_dir=config.working_dir or record.config.working_dir,
        ),
        host_config=msgspec.structs.replace(
            record.host_config, console_size=list(console_size) if config.tty else []
        ),
    )
