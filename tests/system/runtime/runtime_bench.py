"""One daemon's view of the runtime layer, for the tests that drive it."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from naru.kernel import cgroups
from naru.runtime import capabilities
from naru.runtime.oci import OciRuntime
from naru.runtime.seccomp_bpf import SeccompCache
from naru.runtime.supervised import Exit, Stdio
from naru.runtime.supervisor import Supervisor
from naru.runtime.warmth import CgroupWarmth

DEADLINE = 60.0


class Bench:
    """One daemon's view: a supervisor client, a runtime, and the exits it hears of."""

    def __init__(
        self,
        exec_root: Path,
        rootfs: Path,
        *,
        runtime: str = "crun",
        hidden_mount: Path | None = None,
        systemd_cgroup: bool = False,
    ) -> None:
        self.exec_root = exec_root
        self.rootfs = rootfs
        self.supervisor = Supervisor(exec_root, hidden_mount=hidden_mount)
        self.supervisor.on_exit = self._heard
        self.exits: dict[tuple[str, str | None], list[Exit]] = {}
        self._changed = asyncio.Event()
        self.runtime = OciRuntime(
            name=runtime,
            path=runtime,
            exec_root=exec_root,
            supervisor=self.supervisor,
            seccomp=SeccompCache(),
            warmth=CgroupWarmth.for_this_machine(),
            systemd_cgroup=systemd_cgroup,
        )
        self.runtime.recover()
        self.systemd_cgroup = systemd_cgroup
        self.cgroup = f"/naru-test-{os.getpid()}-{exec_root.parent.name}"

    def _heard(self, ended: Exit) -> None:
        self.exits.setdefault((ended.container_id, ended.exec_id), []).append(ended)
        self._changed.set()

    def config(self, container_id: str, *args: str, tty: bool = False, **extra: Any) -> Any:
        return {
            "ociVersion": "1.0.2",
            "process": self.process(*args, tty=tty),
            "root": {"path": str(self.rootfs), "readonly": True},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755", "size=65536k"],
                },
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
                },
            ],
            "linux": {
                "cgroupsPath": self._cgroup_path(container_id),
                "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")],
                "resources": {},
                **extra.pop("linux", {}),
            },
            **extra,
        }

    def _cgroup_path(self, container_id: str) -> str:
        if self.systemd_cgroup:
            return f"system.slice:naru:{container_id}"
        return f"{self.cgroup}/{container_id}"

    def process(self, *args: str, tty: bool = False, cwd: str = "/") -> dict[str, Any]:
        granted = capabilities.effective([], [])
        return {
            "terminal": tty,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin"],
            "cwd": cwd,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
        }

    async def run(
        self, container_id: str, *args: str, tty: bool = False, stdin: bool = False, **extra: Any
    ) -> tuple[int, Stdio]:
        bundle = self.exec_root / "bundles" / container_id
        bundle.mkdir(parents=True, exist_ok=True)
        config = self.config(container_id, *args, tty=tty, **extra)
        return await self.runtime.run(container_id, bundle, tty=tty, stdin=stdin, config=config)

    async def exit_of(self, container_id: str, exec_id: str | None = None) -> Exit:
        async with asyncio.timeout(DEADLINE):
            while not self.exits.get((container_id, exec_id)):
                self._changed.clear()
                await self._changed.wait()
        return self.exits[container_id, exec_id][-1]

    async def finish(self, container_id: str, stdio: Stdio | None = None) -> Exit:
        """Await the exit, acknowledge it and delete the container."""
        ended = await self.exit_of(container_id)
        if stdio is not None:
            stdio.close()
        await self.supervisor.acknowledge(ended)
        await self.runtime.delete(container_id)
        return ended

    async def close(self) -> None:
        await self.supervisor.close()


async def read_all(fd: int | None) -> bytes:
    """Everything up to the end of a pipe or a pty."""
    assert fd is not None

    def collect() -> bytes:
        found = b""
        with suppress(OSError):  # a pty ends with EIO
            while chunk := os.read(fd, 65536):
                found += chunk
        return found

    return await asyncio.wait_for(asyncio.to_thread(collect), DEADLINE)


async def ended(pid: int) -> None:
    """Await the end of any process."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, event.set)
    try:
        await asyncio.wait_for(event.wait(), DEADLINE)
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def group_of(pid: int) -> cgroups.Group:
    """The group that a running process is in (the memory controller's, on v1)."""
    hierarchies = cgroups.detect()
    paths: dict[str, str] = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    unified = hierarchies.mode is cgroups.Mode.UNIFIED
    return cgroups.Group(hierarchies, paths["" if unified else "memory"])
