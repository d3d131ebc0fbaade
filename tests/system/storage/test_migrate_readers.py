"""Who reads images while the storage driver is exchanged gets every byte, however slowly."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.system.disk.place import problems, root_tar
from tests.system.storage.stage import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=[("overlay2", "vfs"), ("overlay2", "overlay"), ("vfs", "overlay2")])
def stage(request: pytest.FixtureRequest) -> Iterator[tuple[Stage, str]]:
    first, second = request.param
    here = Stage(Daemon(options=("-s", first)).start())
    try:
        # More than all that is between a driver and a client can hold.
        here.daemon.docker("import", "-", "big", input=root_tar(9_000_000, *[50_000] * 200))
        yield here, second
    finally:
        here.daemon.stop()


@contextmanager
def saving(daemon: Daemon, image: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a save, of which nothing but the beginning has been read."""
    connection = http.client.HTTPConnection("narud")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(120)
        connection.sock.connect(str(daemon.socket))
        connection.request("GET", f"/images/{image}/get")
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer
    finally:
        connection.close()


def check(archive: bytes) -> None:
    """Every blob is what it is named, and all that the manifest names is there."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        blobs = {
            member.name: hashlib.sha256(tar.extractfile(member).read()).hexdigest()  # type: ignore[union-attr]
            for member in tar
            if member.isfile() and member.name.startswith("blobs/")
        }
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert blobs
    assert all(name.endswith(digest) for name, digest in blobs.items())
    assert {manifest[0]["Config"], *manifest[0]["Layers"]} <= blobs.keys()


def test_slow_saves_across_a_switch(stage: tuple[Stage, str]) -> None:
    here, second = stage
    with saving(here.daemon, "big") as one, saving(here.daemon, "big") as two:
        begun = one.read(100_000), two.read(3_000_000)
        here.migrate("--to", second)
        assert here.driver() == second
        rest = one.read(), two.read()
    for first_half, second_half in zip(begun, rest, strict=True):
        check(first_half + second_half)
    with saving(here.daemon, "big") as again:
        check(again.read())
    assert problems(here.daemon, "--verify") == []


def test_a_push_after_it(stage: tuple[Stage, str]) -> None:
    here, second = stage
    registry = Registry(here.daemon.root / "registry", here.daemon.netns)
    try:
        name = f"{registry.address}/big"
        here.daemon.docker("tag", "big", name)
        here.migrate("--to", second)
        here.daemon.docker("push", name)
        image = here.daemon.docker("images", "-q", "--no-trunc", name).stdout
        here.daemon.docker("rmi", "big", name)
        here.daemon.docker("pull", name)
        assert here.daemon.docker("images", "-q", "--no-trunc", name).stdout == image
    finally:
        registry.close()


def test_a_client_that_goes_away_in_the_middle(stage: tuple[Stage, str]) -> None:
    here, second = stage
    with saving(here.daemon, "big") as answer:
        answer.read(100_000)
    here.migrate("--to", second)
    assert problems(here.daemon, "--verify") == []
