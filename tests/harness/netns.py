"""A network namespace of a test's own: what a daemon does to the network stays in there."""

from __future__ import annotations

import subprocess
import uuid


class NetworkNamespace:
    """A named namespace with its loopback up. Gone, with all links and rules, on `close()`."""

    def __init__(self) -> None:
        self.name = f"naru-test-{uuid.uuid4().hex[:8]}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def command(self, *argv: str) -> list[str]:
        """`argv`, run inside. Not `ip netns exec`: that hides mounts from the host."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *argv]

    def run(self, *argv: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=timeout, check=False
        )

    def close(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
