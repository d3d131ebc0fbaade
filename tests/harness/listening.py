"""Waiting until a program listens on a port of a network namespace."""

from __future__ import annotations

import os
import select
import subprocess
import time

from tests.harness.netns import NetworkNamespace


def await_listening(
    process: subprocess.Popen[bytes], netns: NetworkNamespace, port: int, timeout: float = 20
) -> None:
    """`RuntimeError` where it ends before it listens, or does not listen in time (seconds)."""
    needle = f":{port:04X} "
    pidfd = os.pidfd_open(process.pid)
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline:
            if needle in netns.run("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout:
                return
            if select.select([pidfd], [], [], 0.05)[0]:
                break
    finally:
        os.close(pidfd)
    raise RuntimeError(f"{process.args} does not listen on port {port}")
