"""Debian's docker-registry on a port of the loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def loopback_registry(
    folder: Path, *, storage: Mapping[str, Any] | None = None, tls: Mapping[str, Any] | None = None
) -> Iterator[int]:
    """-> its port. Blobs, configuration and log are in `folder`; the options are its own words."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}, **(storage or {})},
        "http": {"addr": f"127.0.0.1:{port}", **({"tls": tls} if tls else {})},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry does not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
