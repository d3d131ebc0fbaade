"""Debian's docker-registry on a loopback port of a test's own network namespace."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

from tests.harness.netns import NetworkNamespace

_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {root}/blobs}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry:
    """`address` is what goes before the repository's name: 127.0.0.1:PORT."""

    def __init__(
        self,
        root: Path,
        netns: NetworkNamespace,
        port: int = 5000,
        *,
        users: str = "",
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        """`users`: lines of an htpasswd file; `tls`: certificate and key."""
        self.address = f"127.0.0.1:{port}"
        self._netns = netns
        root.mkdir(parents=True, exist_ok=True)
        config = root / "config.yml"
        text = _CONFIG.format(root=root, port=port)
        if users:
            (root / "users").write_text(users)
            text += f"auth: {{htpasswd: {{realm: naru, path: {root}/users}}}}\n"
        if tls:
            text = text.rstrip().removesuffix("}")
            text += f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}}}\n"
        config.write_text(text)
        self._log = (root / "registry.log").open("ab")
        self._process = subprocess.Popen(
            netns.command("docker-registry", "serve", str(config)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._await_ready(port)

    def _await_ready(self, port: int) -> None:
        needle = f":{port:04X} "
        pidfd = os.pidfd_open(self._process.pid)
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if needle in self._netns.run("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout:
                    return
                if select.select([pidfd], [], [], 0.05)[0]:
                    break
        finally:
            os.close(pidfd)
        raise RuntimeError("docker-registry did not start")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        self._log.close()
