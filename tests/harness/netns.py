"""A network namespace of a test's own: what a daemon does to the network stays in there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


class NetworkNamespace:
    """A namespace kept by a bind mount, its loopback up. Gone, links and rules too, on `close()`.

    Not `ip netns`: that leaves a mount on /run/netns, and its `exec` hides mounts from the host.
    """

    def __init__(self) -> None:
        descriptor, path = tempfile.mkstemp(prefix="naru-test-netns-")
        os.close(descriptor)
        self.path = Path(path)
        try:
            subprocess.run(["unshare", f"--net={self.path}", "true"], check=True)
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def command(self, *argv: str) -> list[str]:
        """`argv`, run inside."""
        return ["nsenter", f"--net={self.path}", *argv]

    def run(self, *argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=timeout, check=False
        )

    def close(self) -> None:
        subprocess.run(["umount", str(self.path)], check=False)
        self.path.unlink(missing_ok=True)
