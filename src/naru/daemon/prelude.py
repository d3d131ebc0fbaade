"""What the daemon sets going before it imports the rest of itself.

A supervisor is a process with a start of its own: it comes up while the engine's modules are read.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from naru.daemon.config import Config
from naru.kernel import cgroup_hybrid, cgroups, process
from naru.kernel.cgroup_hybrid import HybridMounts
from naru.runtime import supervisor_launch

_SOCKET = "supervisor.sock"


class Prelude(msgspec.Struct, frozen=True, kw_only=True):
    hybrid: HybridMounts
    hierarchies: cgroups.Hierarchies
    hidden_mount: Path | None  # a cgroup mount that runtimes must not see
    launching: asyncio.Task[process.Finished] | None  # None: there seems to be a supervisor

    async def abandon(self, exec_root: Path) -> None:
        """The daemon did not come up: its supervisor ends, unless it keeps containers."""
        if self.launching is not None:
            await self.launching
        if (exec_root / _SOCKET).exists():
            from naru.runtime.supervisor import Supervisor

            supervisor = Supervisor(exec_root, hidden_mount=self.hidden_mount)
            await supervisor.connect()
            if await supervisor.quit():
                await asyncio.to_thread(self.hybrid.release)
            await supervisor.close()


async def begin(config: Config) -> Prelude:
    """Make the machine's cgroups usable, and launch the supervisor unless one is there."""
    hybrid = HybridMounts()
    stuck = hybrid.prepare()
    hierarchies = cgroups.detect()
    hidden = hierarchies.v2 if stuck else None
    if hidden is not None:
        for root in (config.data_root, config.exec_root):
            root.mkdir(mode=0o711, parents=True, exist_ok=True)
            cgroup_hybrid.share(root)
    launching = None
    if not (config.exec_root / _SOCKET).exists():
        launch = supervisor_launch.launch(config.exec_root, hidden)
        launching = asyncio.create_task(launch, name="launch of the supervisor")
        await asyncio.sleep(0)  # the task's first step spawns it
    return Prelude(hybrid=hybrid, hierarchies=hierarchies, hidden_mount=hidden, launching=launching)
