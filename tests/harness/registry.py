"""Debian's docker-registry on a loopback port of a test's own network namespace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.harness.listening import await_listening
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
        auth: Mapping[str, Any] | None = None,
    ) -> None:
        """`users`: lines of an htpasswd file; `tls`: certificate and key; `auth`: the section."""
        self.address = f"127.0.0.1:{port}"
        root.mkdir(parents=True, exist_ok=True)
        config = root / "config.yml"
        text = _CONFIG.format(root=root, port=port)
        if users:
            (root / "users").write_text(users)
            auth = {"htpasswd": {"realm": "naru", "path": f"{root}/users"}}
        if tls:
            text = text.rstrip().removesuffix("}")
            text += f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}}}\n"
        if auth:
            text += f"auth: {json.dumps(auth)}\n"
        config.write_text(text)
        self._log = (root / "registry.log").open("ab")
        self._process = subprocess.Popen(
            netns.command("docker-registry", "serve", str(config)),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            await_listening(self._process, netns, port)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        self._log.close()
