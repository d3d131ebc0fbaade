"""Starts the supervisor process; apart from its client, so that a daemon can do it first of all."""

from __future__ import annotations

import os
from pathlib import Path

from naru.kernel import process
from naru.runtime.supervisor_process import program


def command(exec_root: Path, hidden_mount: Path | None) -> list[str]:
    hidden = None if hidden_mount is None else str(hidden_mount)
    return program.command(str(exec_root.absolute()), hidden)


async def launch(exec_root: Path, hidden_mount: Path | None) -> process.Finished:
    """Done when it can be connected to, or has said why not (3: there is one already)."""
    for name in ("", "exits"):
        (exec_root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    return await process.run(command(exec_root, hidden_mount), env=environment)
