"""Waiting for a daemon's own word that it serves."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

READY = b"API listen on"
_STEP = 0.005  # seconds between looks; one for all, since benchmarks compare starts


def await_ready(
    process: subprocess.Popen[bytes], log: Path, *, after: int = 0, timeout: float = 60.0
) -> None:
    """Return once `log`, from byte `after` on, has the line; `RuntimeError` with the log's end when
    the process ends first or takes too long."""
    deadline = time.monotonic() + timeout
    pidfd = os.pidfd_open(process.pid)
    try:
        with log.open("rb") as file:
            file.seek(after)
            seen = b""
            while time.monotonic() < deadline:
                seen += file.read()
                if READY in seen:
                    return
                if select.select([pidfd], [], [], _STEP)[0]:
                    break
    finally:
        os.close(pidfd)
    text = log.read_text(errors="replace")[-4000:]
    raise RuntimeError(f"{process.args} did not start:\n{text}")
