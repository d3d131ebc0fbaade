"""Layers whose compressed blobs were dropped go through a migration, and out as they came."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.dockerd import DOCKERD, Dockerd
from tests.harness.daemon import Daemon
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry
from tests.system.disk.place import problems
from tests.system.images.archives import docker_archive
from tests.system.images.test_layer_notes import parts
from tests.system.storage.stage import Stage

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, (DOCKERD, "docker", "docker-registry", "skopeo"))),
    reason="needs root, dockerd, docker-registry and skopeo",
)

EMPTY = 5001
"""The port of a registry that has nothing yet, so that all layers must be made for it."""


@pytest.fixture
def dropped(tmp_path: Path) -> Iterator[tuple[Stage, str]]:
    """A daemon with an image that dockerd pushed, and no compressed layer; the image's name."""
    with contextlib.ExitStack() as undo:
        netns = undo.enter_context(contextlib.closing(NetworkNamespace()))
        registry = undo.enter_context(contextlib.closing(Registry(tmp_path / "registry", netns)))
        empty = Registry(tmp_path / "empty", netns, EMPTY)
        undo.callback(empty.close)
        name = f"{registry.address}/app:1"
        dockerd = Dockerd("--bridge=none", "--iptables=false", netns=netns)
        undo.callback(dockerd.stop)
        dockerd.start()
        dockerd.docker("load", input=docker_archive(name, parts()))
        dockerd.docker("push", "-q", name)
        naru = Daemon(netns=netns, options=("-s", "overlay2", "--layer-blobs", "drop"))
        undo.callback(naru.stop)
        naru.start()
        naru.docker("pull", "-q", name)
        _await_dropped(naru)
        yield Stage(naru), name


def _await_dropped(daemon: Daemon) -> None:
    deadline = time.monotonic() + 60
    while _gzip_blobs(daemon):
        assert time.monotonic() < deadline, daemon.log.read_text()
        time.sleep(0.05)


def _gzip_blobs(daemon: Daemon) -> list[Path]:
    found = []
    for path in (daemon.data_root / "blobs/sha256").iterdir():
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                found.append(path)
    return found


def _digest(daemon: Daemon, name: str) -> str:
    argv = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]
    raw = daemon.netns.run(*argv).stdout
    return hashlib.sha256(raw.encode()).hexdigest()


def test_a_push_after_it_has_the_digest(dropped: tuple[Stage, str]) -> None:
    here, name = dropped
    daemon = here.daemon
    here.migrate("--to", "vfs")
    # That cannot give the tar back, and has a blob of it instead; not the one that came.
    assert len(_gzip_blobs(daemon)) == len(parts())
    saved = daemon.root / "saved.tar"
    daemon.docker("save", "-o", str(saved), name)
    assert all(part in saved.read_bytes() for part in parts())
    other = f"127.0.0.1:{EMPTY}/app:1"
    daemon.docker("tag", name, other)
    daemon.docker("push", "-q", other)
    assert _digest(daemon, other) == _digest(daemon, name)
    assert problems(daemon, "--verify") == []
