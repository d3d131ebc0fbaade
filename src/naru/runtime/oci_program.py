"""An OCI runtime's program: where it is, and how its commands are run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from naru.kernel import process
from naru.runtime import complaints
from naru.spec.errors import InternalError


class OciProgram:
    """`path` is looked for at each call; `args` go before every command (`--add-runtime`'s
    runtimeArgs). `entering` says how to run an argv where the runtime is to run."""

    def __init__(
        self,
        path: str,
        args: Sequence[str],
        *,
        state_root: Path,
        systemd_cgroup: bool,
        entering: Callable[[Sequence[str]], list[str]],
    ) -> None:
        self._path = path
        self._args = args
        self._state_root = state_root
        self._systemd_cgroup = systemd_cgroup
        self._entering = entering

    @property
    def found(self) -> str:
        found = shutil.which(self._path)
        if found is None:
            raise InternalError(
                f'unable to retrieve OCI runtime error: exec: "{self._path}": '
                "executable file not found in $PATH: unknown"
            )
        return found

    @property
    def is_crun(self) -> bool:
        return Path(self._path).name == "crun"

    def knows(self, container_id: str) -> bool:
        return (self._state_root / container_id).exists()

    def argv(self, *arguments: str) -> list[str]:
        systemd = ["--systemd-cgroup"] if self._systemd_cgroup else []
        root = ["--root", str(self._state_root)]
        return [self.found, *self._args, *root, *systemd, *arguments]

    async def finish(self, *arguments: str, stdin: bytes | None = None) -> process.Finished:
        """Run a command to its end, whatever its status."""
        argv = self._entering(self.argv(*arguments))
        return await process.run(argv, env=environment(), stdin=stdin)

    async def run(self, *arguments: str, stdin: bytes | None = None) -> process.Finished:
        """The same, raising `complaints.RuntimeFailed` for a status other than 0."""
        finished = await self.finish(*arguments, stdin=stdin)
        if finished.status != 0:
            raise complaints.RuntimeFailed(complaints.of_output(finished.output, finished.status))
        return finished

    async def version(self) -> str:
        """The first line of `--version`, such as "crun version 1.8.1"."""
        finished = await process.run([self.found, "--version"], env=environment())
        return finished.output.decode(errors="replace").partition("\n")[0]


def environment() -> dict[str, str]:
    # Not ours: NOTIFY_SOCKET and LISTEN_FDS would be taken for the container's.
    kept = ("PATH", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
    return {"PATH": os.defpath, **{name: os.environ[name] for name in kept if name in os.environ}}
