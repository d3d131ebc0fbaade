"""Images go between naru, dockerd, podman and skopeo: equal digests, and equal trees."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from bench.dockerd import DOCKERD
from tests.harness.beside import Engine, World
from tests.harness.registry import Registry
from tests.system.images.archives import docker_archive, layers, oci_archive, oci_index_archive

from naru.spec.oci import host_platform
from naru.store.tarstream import TarReader

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, ("docker", DOCKERD, "docker-registry", "skopeo", "podman"))),
    reason="needs root, docker, dockerd, docker-registry, skopeo and podman",
)

SECRET = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""htpasswd's line for ann, whose password is `secret`."""


def tree(engine: Engine, name: str) -> dict[str, tuple[object, ...]]:
    """What a container of the image sees of it: names to all that a tar says of them."""
    container = engine.run("create", name, "true").decode().split()[-1]
    try:
        exported = engine.run("export", container)
    finally:
        engine.run("rm", container)
    found: dict[str, tuple[object, ...]] = {}
    reader = TarReader(io.BytesIO(exported))
    for entry in reader:
        path = entry.name.strip("/").removeprefix("./")
        data = hashlib.sha256(b"".join(reader.data())).hexdigest()
        if path.startswith(("bin", "etc/owned", "etc/capable", "etc/new", "etc/gone")):
            # Of two names of one file either may be the first: both are told by their link.
            kind = "file" if entry.kind in "01" else entry.kind
            # dockerd's export has whole seconds.
            found[path] = (
                kind, entry.mode, entry.uid, entry.gid, entry.mtime // 10**9,
                entry.linkname if entry.kind == "2" else "",
                entry.xattrs or {}, data if entry.kind == "0" else "",
            )  # fmt: skip
    return {path: what for path, what in found.items() if what[0] != "file" or path != "bin/alias"}


ENGINES = ("naru", "dockerd", "podman")


@pytest.mark.parametrize("source", ENGINES)
def test_pushed_by_one_and_pulled_by_the_others(world: World, source: str) -> None:
    name = world.name(f"pushed/{source}:1")
    world.engine(source).run("load", "-q", input=docker_archive(name))
    world.push(source, name)
    digest, own = world.digest(name), tree(world.engine(source), name)
    assert "etc/gone" not in own
    for other in ENGINES:
        engine = world.engine(other)
        if other == source:
            continue
        world.pull(other, name)
        assert engine.image_id(name) == world.engine(source).image_id(name)
        assert tree(engine, name) == own
        again = world.name(f"again/{source}-{other}:1")
        engine.run("tag", name, again)
        world.push(other, again)
        if "podman" not in (source, other):  # podman packs anew what it pushes
            assert world.digest(again) == digest
    for other in ENGINES:
        world.engine(other).run("rmi", "-f", world.engine(other).image_id(name))


@pytest.mark.parametrize("source", ENGINES)
def test_saved_by_one_and_loaded_by_the_others(world: World, source: str) -> None:
    name = f"localhost/saved-{source}:1"
    world.engine(source).run("load", "-q", input=docker_archive(name))
    own, image_id = tree(world.engine(source), name), world.engine(source).image_id(name)
    for form in ("docker-archive", "oci-archive") if source == "podman" else ("",):
        options = ["--format", form] if form else []
        saved = world.engine(source).run("save", *options, name)
        for other in ENGINES:
            if other == source:
                continue
            if form == "oci-archive" and other == "dockerd":
                continue  # 20.10 reads no OCI layouts
            world.engine(other).run("load", "-q", input=saved)
            assert world.engine(other).image_id(name) == image_id or form == "oci-archive"
            assert tree(world.engine(other), name) == own
            world.engine(other).run("rmi", "-f", world.engine(other).image_id(name))
    world.engine(source).run("rmi", "-f", image_id)


def _packed(kind: str) -> list[bytes]:
    if kind == "zstd":
        return [zstandard.ZstdCompressor(level=5).compress(part) for part in layers()]
    return [gzip.compress(part, 5) if kind else part for part in layers()]


@pytest.mark.parametrize("kind", ["gzip", "zstd", ""])
def test_skopeo_between_naru_and_the_registry(world: World, tmp_path: Path, kind: str) -> None:
    """Layers of each compression, and of none, come and go under the same digests."""
    path = f"skopeo/{kind or 'plain'}"
    name, back = world.name(f"{path}:1"), world.name(f"{path}-back:1")
    # Not by skopeo: it sends what its cache knows of the registry, whatever it was given.
    world.naru.run("load", "-q", input=oci_archive(name, _packed(kind), layers(), kind))
    world.push("naru", name)
    world.naru.run("rmi", name)
    raw = json.loads(world.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    assert {layer["mediaType"].partition("+")[2] for layer in raw["layers"]} == {kind}
    for engine in ("naru", "podman"):
        world.pull(engine, name)
    assert tree(world.naru, name) == tree(world.podman, name)
    assert world.naru.image_id(name) == world.podman.image_id(name)
    world.naru.run("tag", name, back)
    world.push("naru", back)
    assert world.digest(back) == world.digest(name)
    saved = tmp_path / "saved.tar"
    saved.write_bytes(world.naru.run("save", name))
    for form in ("docker-archive", "oci-archive"):
        copied = tmp_path / form
        world.skopeo("copy", f"{form}:{saved}", f"dir:{copied}")
        config = json.loads((copied / "manifest.json").read_text())["config"]
        assert config["digest"] == world.naru.image_id(name)
    for engine in (world.naru, world.podman):
        engine.run("rmi", "-f", engine.image_id(name))


def test_a_registry_that_asks_for_a_password(world: World, tmp_path: Path) -> None:
    closed = Registry(tmp_path / "closed", world.netns, 5001, users=SECRET)
    name = f"{closed.address}/private/app:1"
    naru = world.naru
    try:
        naru.run("load", "-q", input=docker_archive(name))
        assert "no basic auth credentials" in naru.fails("push", name)
        wrong = naru.fails("login", "-u", "ann", "-p", "wrong", closed.address)
        assert "login attempt to http" in wrong
        assert "failed with status: 401 Unauthorized" in wrong
        told = naru.run("login", "-u", "ann", "--password-stdin", closed.address, input=b"secret")
        assert b"Login Succeeded" in told
        naru.run("push", "-q", name)
        image_id = naru.image_id(name)
        naru.run("rmi", name)
        naru.run("pull", "-q", name)
        assert naru.image_id(name) == image_id
        naru.run("rmi", name)
        naru.run("logout", closed.address)
        assert "no basic auth credentials" in naru.fails("pull", name)
    finally:
        closed.close()


def test_manifests_are_shown(world: World) -> None:
    """`docker manifest inspect` asks the registry itself; `--verbose` and push need no more."""
    name = world.name("manifest/app:1")
    world.naru.run("load", "-q", input=docker_archive(name))
    world.push("naru", name)
    shown = world.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    done = subprocess.run(
        world.netns.command("docker", "manifest", "inspect", "--insecure", name),
        capture_output=True, check=False, timeout=100, env={**os.environ, "HOME": str(world.root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"] == json.loads(shown)["layers"]
    world.naru.run("rmi", name)


@pytest.mark.parametrize("reader", ["dockerd", "podman"])
def test_saved_with_attestations_and_loaded_by_others(world: World, reader: str) -> None:
    """Such an archive has compressed layers, and an index with manifests that are no images."""
    name = f"docker.io/attested/{reader}:1"
    platform = str(host_platform())
    archive = oci_index_archive(name, [platform], {platform: b'{"_type": "statement"}'})
    naru, other = world.engine("naru"), world.engine(reader)
    naru.run("load", "-q", input=archive)
    saved = naru.run("save", name)
    assert b'{"_type": "statement"}' in saved
    other.run("load", "-q", input=saved)
    assert other.image_id(name) == naru.image_id(name)
    assert tree(other, name) == tree(naru, name)
    for engine in (naru, other):
        engine.run("rmi", "-f", engine.image_id(name))
