"""What is known of an exec, and what follows from it. Pure but for the time."""

from __future__ import annotations

import base64
import time
from typing import Any

import msgspec

from naru.engine.containers import detach_keys
from naru.engine.containers.attachment import AttachOptions
from naru.engine.containers.exec_process import ExecConfig


class ExecRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code` None: it has not ended. Times are ns since the epoch."""

    id: str
    container_id: str
    config: ExecConfig
    detach_keys: bytes
    started: bool = False
    pid: int = 0
    exit_code: int | None = None
    ended_at: int = 0

    @property
    def running(self) -> bool:
        return self.started and self.exit_code is None

    def ended(self, exit_code: int, *, at: int | None = None) -> ExecRecord:
        ended_at = time.time_ns() if at is None else at
        return msgspec.structs.replace(
            self, started=True, exit_code=exit_code, pid=0, ended_at=ended_at
        )

    def attach_options(self) -> AttachOptions:
        config = self.config
        return AttachOptions(
            stdin=config.attach_stdin,
            stdout=config.attach_stdout,
            stderr=config.attach_stderr,
            detach_keys=self.detach_keys or detach_keys.DEFAULT,
            mux=not config.tty,
        )

    def inspected(self) -> dict[str, Any]:
        """The body of `GET /exec/{id}/json`."""
        config = self.config
        process: dict[str, Any] = {
            "tty": config.tty,
            "entrypoint": config.cmd[0],
            "arguments": config.cmd[1:],
            "privileged": config.privileged,
        }
        if config.user:
            process["user"] = config.user
        return {
            "ID": self.id,
            "Running": self.running,
            "ExitCode": self.exit_code,
            "ProcessConfig": process,
            "OpenStdin": config.attach_stdin,
            "OpenStderr": config.attach_stderr,
            "OpenStdout": config.attach_stdout,
            "CanRemove": self.exit_code is not None,
            "ContainerID": self.container_id,
            "DetachKeys": base64.b64encode(self.detach_keys).decode(),
            "Pid": self.pid,
        }
