"""Drives an OCI runtime program: crun (the default), runc, or any that has runc's command line.

Starts go through the supervisor, which owns the processes; everything else is a short-lived
command of the daemon. State lives in `<exec-root>/runtime-<name>`, so that a restarted daemon
finds every container again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec

from naru.kernel import process
from naru.runtime import complaints
from naru.runtime.oci_program import OciProgram, environment
from naru.runtime.seccomp_bpf import SeccompCache
from naru.runtime.supervised import Stdio
from naru.runtime.supervisor import SpawnFailed, Supervisor
from naru.runtime.supervisor_link import LinkLost
from naru.runtime.warmth import CgroupWarmth
from naru.spec.errors import InternalError

log = logging.getLogger(__name__)

_PID_FILE = ".pid"
_FREEZE_SECONDS = 10.0  # a process in an uninterruptible call freezes at its end, or never
_BPF_ANNOTATION = "run.oci.seccomp_bpf_data"


class RuntimeState(msgspec.Struct, frozen=True):
    status: str  # created, running, paused, stopped
    pid: int


class OciRuntime:
    """What the verbs ask of a runtime. Failures are `complaints.RuntimeFailed` errors.

    `path` and `args` are those of its `OciProgram`.
    """

    def __init__(
        self,
        *,
        name: str,
        path: str,
        args: Sequence[str] = (),
        exec_root: Path,
        supervisor: Supervisor,
        seccomp: SeccompCache,
        warmth: CgroupWarmth,
        systemd_cgroup: bool = False,
    ) -> None:
        self.name = name
        self._program = OciProgram(
            path,
            args,
            state_root=exec_root / f"runtime-{name}",
            systemd_cgroup=systemd_cgroup,
            entering=supervisor.entering,
        )
        self._supervisor = supervisor
        self._seccomp = seccomp
        self._warmth = warmth
        self._scratch_root = exec_root / f"starts-{name}"
        self._scratches = itertools.count(1)

    def recover(self) -> None:
        """Call it once, before the first start: clear what a killed daemon has left. Blocking."""
        self._scratch_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._scratch_root.iterdir():
            # A pid file belongs to the supervisor: a start of the former daemon may still be under
            # way, and without the file its process would not be found.
            if left.suffix != _PID_FILE:
                left.unlink(missing_ok=True)

    # -- starting ---------------------------------------------------------------------------

    def expect_start(self) -> None:
        """A start is being prepared: call it early (at API create, and at start); costs nothing."""
        self._warmth.expect()

    async def run(
        self,
        container_id: str,
        bundle: Path,
        *,
        tty: bool,
        stdin: bool,
        config: Mapping[str, Any] | None = None,
    ) -> tuple[int, Stdio]:
        """Start the container of `bundle` -> its init's pid and stdio. With `config`, write it as
        `bundle/config.json` first."""
        self.expect_start()
        program = await asyncio.to_thread(self._write_config, bundle, config)
        return await self._spawn(
            container_id,
            None,
            ["run", "--detach", "--bundle", str(bundle)],
            program=program,
            tty=tty,
            stdin=stdin,
        )

    async def exec(
        self,
        container_id: str,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        tty: bool,
        stdin: bool,
    ) -> tuple[int, Stdio]:
        """Start another process (OCI `process`) in a running container -> its pid and stdio."""
        self.expect_start()
        description = self._scratch(".json")
        description.write_bytes(msgspec.json.encode(process))
        try:
            return await self._spawn(
                container_id,
                exec_id,
                ["exec", "--detach", "--process", str(description)],
                program=process["args"][0],
                tty=tty,
                stdin=stdin,
            )
        finally:
            description.unlink(missing_ok=True)

    async def _spawn(
        self,
        container_id: str,
        exec_id: str | None,
        command: list[str],
        *,
        program: str,
        tty: bool,
        stdin: bool,
    ) -> tuple[int, Stdio]:
        error_log, pid_file = self._scratch(".log"), self._scratch(_PID_FILE)
        argv = [*self._program.argv("--log", str(error_log), "--log-format", "json"), *command]
        argv += ["--pid-file", str(pid_file)]
        if tty:
            argv += ["--console-socket", "{console}"]
        try:
            # Nothing is awaited after this one: on_exit promises to come later than we return.
            return await self._supervisor.spawn(
                container_id,
                exec_id,
                path=self._program.found,
                argv=[*argv, container_id],
                env=environment(),
                pid_file=pid_file,
                tty=tty,
                stdin=stdin,
                sealed=self._program.is_crun,
            )
        except SpawnFailed as error:
            text = complaints.last_complaint(error_log) if error.status is not None else str(error)
            if exec_id is None and error.status is not None:
                await self._delete_quietly(container_id)
            raise complaints.translated(text, command=program, exec_=exec_id is not None) from error
        except LinkLost:
            # The process may be there, but its stdio is lost.
            pidfd = await self._supervisor.abandon(container_id, exec_id)
            if exec_id is None:
                await self._delete_quietly(container_id)
            elif pidfd is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(pidfd, SIGKILL)
            raise
        finally:
            error_log.unlink(missing_ok=True)

    def _scratch(self, suffix: str) -> Path:
        """A new name for a file that lives as long as one start."""
        return self._scratch_root / f"{os.getpid()}-{next(self._scratches)}{suffix}"

    def _write_config(self, bundle: Path, config: Mapping[str, Any] | None) -> str:
        """-> argv[0] of the container."""
        path = bundle / "config.json"
        given = config is not None
        if config is None:
            config = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        profile = config.get("linux", {}).get("seccomp")
        program = self._seccomp.program(profile) if profile and self._program.is_crun else None
        if program is not None:
            linux = {key: value for key, value in config["linux"].items() if key != "seccomp"}
            annotations = {**config.get("annotations", {}), _BPF_ANNOTATION: program}
            config = {**config, "linux": linux, "annotations": annotations}
        if given or program is not None:
            path.write_bytes(msgspec.json.encode(config))
        return str(config["process"]["args"][0])

    # -- the rest of a container's life -----------------------------------------------------

    async def kill(self, container_id: str, signal: int, *, all: bool = False) -> None:
        """Signal the init, or with `all` every process of the container; nothing to do when it
        has ended meanwhile."""
        if self._supervisor.has_ended(container_id):
            return
        pidfd = self._supervisor.pidfd(container_id)
        if pidfd is not None and not all:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(pidfd, signal)
            return
        await self._program.run("kill", *(["--all"] if all else []), container_id, str(signal))

    async def pause(self, container_id: str) -> None:
        """Every process stands still when this returns."""
        await self._program.run("pause", container_id)
        # With cgroup v1 crun does not wait for that, and the kernel tells nobody when it is done.
        try:
            async with asyncio.timeout(_FREEZE_SECONDS):
                while (state := await self.state(container_id)) and state.status == "running":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            await self.resume(container_id)
            raise complaints.RuntimeFailed("unable to freeze") from None

    async def resume(self, container_id: str) -> None:
        await self._program.run("resume", container_id)

    async def delete(self, container_id: str) -> None:
        """Forget an ended container (kill a running one) and remove its cgroups; idempotent."""
        if not self._program.knows(container_id):
            return
        finished = await self._program.finish("delete", "--force", container_id)
        if finished.status != 0 and self._program.knows(container_id):
            raise complaints.RuntimeFailed(complaints.of_output(finished.output, finished.status))

    async def _delete_quietly(self, container_id: str) -> None:
        try:
            await self.delete(container_id)
        except InternalError as error:
            log.warning("removing what is left of %s: %s", container_id, error)

    async def update(self, container_id: str, resources: Mapping[str, Any]) -> None:
        """Change the limits (OCI `linux.resources`) of a running container."""
        await self._program.run(
            "update", "--resources", "-", container_id, stdin=msgspec.json.encode(resources)
        )

    async def pids(self, container_id: str) -> list[int]:
        """The container's processes, as the host numbers them."""
        finished = await self._program.run("ps", "--format", "json", container_id)
        return msgspec.json.decode(finished.output, type=list[int])

    async def state(self, container_id: str) -> RuntimeState | None:
        """What the runtime thinks of the container; None when it does not know it."""
        if not self._program.knows(container_id):
            return None
        finished = await self._program.finish("state", container_id)
        if finished.status != 0:
            return None
        state = msgspec.json.decode(finished.output, type=dict[str, Any])
        return RuntimeState(state["status"], state["pid"])

    async def resize(self, container_id: str, exec_id: str | None, height: int, width: int) -> None:
        self._supervisor.resize(container_id, exec_id, height, width)

    async def close_stdin(self, container_id: str, exec_id: str | None = None) -> None:
        await self._supervisor.close_stdin(container_id, exec_id)

    async def version(self) -> str:
        """The first line of `--version`, such as "crun version 1.8.1"."""
        return await self._program.version()
