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
    attempts = 5  # somebody else may be given the port before the registry binds it
    while True:
        port = _free_port()
        process = _serve(folder, port, storage or {}, tls)
        try:
            if _listens(process, port):
                break
        except BaseException:
            _end(process)
            raise
        attempts -= 1
        assert attempts, (folder / "log").read_text()
    try:
        yield port
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _serve(
    folder: Path, port: int, storage: Mapping[str, Any], tls: Mapping[str, Any] | None
) -> subprocess.Popen[bytes]:
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}, **storage},
        "http": {"addr": f"127.0.0.1:{port}", **({"tls": tls} if tls else {})},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        )


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it does -> False when it has ended instead."""
    deadline = time.monotonic() + 60
    needle = f"0100007F:{port:04X} 00000000:0000 0A"  # not by a connection: see self-connects
    while needle not in Path("/proc/net/tcp").read_text():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "the registry does not start"
        time.sleep(0.05)
    return process.poll() is None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)
