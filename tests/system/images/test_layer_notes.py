"""Layers that dockerd and skopeo pushed are not kept twice, and go out again to the byte."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bench.dockerd import DOCKERD, Dockerd

from naru.engine.images.layer_blobs import LayerBlobs
from naru.spec.reference import parse
from naru.store.deflate import work
from naru.store.recipes import notes_of
from naru.store.tarentry import Entry
from tests.harness.netns import NetworkNamespace
from tests.harness.pieces import joined
from tests.system.images.archives import collect, docker_archive, sha, tar
from tests.system.images.conftest import Images
from tests.system.images.loopback_registry import loopback_registry
from tests.system.images.test_faults import problems
from tests.unit.store.test_deflate import sample

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, (DOCKERD, "docker", "docker-registry", "skopeo"))),
    reason="needs root, dockerd, docker-registry and skopeo",
)


class HostNetwork(NetworkNamespace):
    """None of its own: the registry is on the loopback of the tests."""

    def __init__(self) -> None:
        self.path = Path("/proc/self/ns/net")

    def close(self) -> None:
        pass


def parts() -> list[bytes]:
    files = [(Entry(f"file{n}"), sample(300_000, n)) for n in range(4)]
    return [tar(files), tar([(Entry("other"), sample(300_000, 9))])]


@pytest.fixture(scope="module")
def pushed(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image that dockerd pushed."""
    name = f"{registry}/go/app:1"
    dockerd = Dockerd("--bridge=none", "--iptables=false", netns=HostNetwork())
    try:
        dockerd.start()
        dockerd.docker("load", input=docker_archive(name, parts()))
        dockerd.docker("push", "-q", name)
    finally:
        dockerd.stop()
    return name


@pytest.fixture(scope="module")
def copied(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image that skopeo pushed: pgzip, which podman and buildah have too."""
    name = f"{registry}/copied/app:1"
    archive = tmp_path_factory.mktemp("copied") / "archive.tar"
    archive.write_bytes(docker_archive(name, parts()))
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false",
         f"docker-archive:{archive}", f"docker://{name}"],
        check=True,
    )  # fmt: skip
    return name


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that has nothing yet."""
    with loopback_registry(tmp_path_factory.mktemp("elsewhere")) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def dropping(tmp_path: Path) -> AsyncIterator[Images]:
    root = tmp_path / "dropping"
    root.mkdir()
    made = await Images(root, drop=True).open()
    yield made
    await made.close()


def digest(name: str) -> str:
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    return sha(raw)


async def pulled(images: Images, name: str) -> int:
    """-> bytes of blobs before the compressed layers went."""
    await collect(images.puller.pull(parse(name)))
    size = images.blobs.disk_usage()
    await images.tasks.settled()
    return size


async def pushed_to(images: Images, name: str, other: str) -> str:
    await images.library.tag(name, parse(other))
    told = await collect(images.pusher.push(parse(other)))
    assert not [m for m in told if "error" in m]
    await images.tasks.settled()
    return digest(other)


@pytest.mark.parametrize(("driver", "source"), [("overlay2", "pushed"), ("erofs", "copied")])
async def test_it_is_dropped_and_made_again(
    tmp_path: Path, request: pytest.FixtureRequest, elsewhere: str, driver: str, source: str
) -> None:
    pushed = request.getfixturevalue(source)
    (tmp_path / driver).mkdir()
    images = await Images(tmp_path / driver, driver=driver, drop=True).open()
    try:
        before = await pulled(images, pushed)
        layers = {b.id: b for b in images.records.blobs.values() if b.diff_id}
        assert len(layers) == 2
        for blob in layers.values():
            assert not blob.kept
            assert images.blobs.size(notes_of(blob.recipe)) < blob.size / 50
            assert not images.blobs.has(blob.id)
        assert images.blobs.disk_usage() < before / 10
        assert await problems(images) == []
        saved = await joined(images.saver.save([pushed]))
        assert all(part in saved for part in parts())
        # A registry that has them takes nothing; an empty one gets them under the same digest.
        again = await pushed_to(images, pushed, f"{elsewhere}/{driver}/app:1")
        assert again == digest(pushed)
        assert images.blobs.disk_usage() < before / 10
        await images.removal.remove(pushed)
        await images.removal.remove(f"{elsewhere}/{driver}/app:1")
        assert list(images.blobs.digests()) == []
    finally:
        await images.close()


@pytest.mark.parametrize("step", ["commit", "remove"])
async def test_killed_between_the_steps(
    dropping: Images, pushed: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """After the notes are there, and after the record says that the blob is not."""
    at: list[object] = []

    def killed(*args: object) -> None:
        at.append(args)
        raise InterruptedError

    await collect(dropping.puller.pull(parse(pushed)))
    monkeypatch.setattr(dropping.records if step == "commit" else dropping.blobs, step, killed)
    await dropping.tasks.settled()
    monkeypatch.undo()
    assert at
    await dropping.close()
    again = await Images(dropping.root, drop=True).open()
    try:
        assert await problems(again) == []
        recipes = {b.id: b.recipe for b in again.records.blobs.values() if b.diff_id}
        for blob, recipe in recipes.items():
            assert again.blobs.has(blob) != bool(recipe)
            assert not recipe or again.blobs.has(notes_of(recipe))
        assert any(recipes.values()) == (step == "remove")
        manifest = again.library.find(pushed)
        await again.layer_blobs.settle(manifest)
        assert not any(map(again.blobs.has, recipes))
    finally:
        await again.close()
        await dropping.open()


async def test_lost_notes_are_found(dropping: Images, pushed: str, elsewhere: str) -> None:
    await pulled(dropping, pushed)
    notes = {notes_of(b.recipe) for b in dropping.records.blobs.values() if b.recipe}
    first, second = sorted(notes)
    dropping.blobs.path(first).unlink()
    dropping.blobs.path(second).write_bytes(b"damaged")
    found = {problem.what: problem.kind for problem in await problems(dropping)}
    assert found == {first: "missing-blob", second: "damaged-blob"}
    await problems(dropping, repair=True)
    await problems(dropping, repair=True)
    assert await problems(dropping) == []
    # The layers are all there: the image gets a manifest of new blobs.
    again = await pushed_to(dropping, pushed, f"{elsewhere}/lost/app:1")
    assert again != digest(pushed)


async def test_without_numba(
    dropping: Images, pushed: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    await pulled(dropping, pushed)
    monkeypatch.setattr(work, "available", lambda: False)
    again = await pushed_to(dropping, pushed, f"{elsewhere}/without/app:1")
    assert again != digest(pushed)
    await dropping.removal.remove(pushed)
    await dropping.removal.remove(f"{elsewhere}/without/app:1")
    with caplog.at_level(logging.INFO):
        LayerBlobs(library=dropping.library, drop=True)
    assert "numba" in caplog.text
    before = await pulled(dropping, pushed)
    assert dropping.blobs.disk_usage() == before
    assert await problems(dropping) == []
