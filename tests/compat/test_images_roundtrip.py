"""Images go between naru, dockerd, podman and skopeo: equal digests, and equal trees."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import zstandard
from bench.dockerd import Dockerd
from tests.harness.daemon import Daemon
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry
from tests.system.images.archives import docker_archive, layers, oci_archive

from naru.store.tarstream import TarReader

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, ("docker", "dockerd", "docker-registry", "skopeo", "podman"))),
    reason="needs root, docker, dockerd, docker-registry, skopeo and podman",
)

SECRET = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
"""htpasswd's line for ann, whose password is `secret`."""


class Engine(Protocol):
    def run(self, *argv: str, input: bytes | None = None) -> bytes: ...

    def image_id(self, name: str) -> str: ...


class Docker:
    """The stock client on one of the daemons."""

    def __init__(self, host: str, config: Path) -> None:
        self._argv = ["docker", "--config", str(config), "-H", host]

    def run(self, *argv: str, input: bytes | None = None) -> bytes:
        return _run([*self._argv, *argv], input)

    def fails(self, *argv: str) -> str:
        done = subprocess.run(
            [*self._argv, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr.decode()

    def image_id(self, name: str) -> str:
        return self.run("image", "inspect", "-f", "{{.Id}}", name).decode().strip()


class Podman:
    def __init__(self, root: Path, netns: NetworkNamespace) -> None:
        self._argv = netns.command(
            "podman", "--root", f"{root}/root", "--runroot", f"{root}/run",
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
        )  # fmt: skip

    def run(self, *argv: str, input: bytes | None = None) -> bytes:
        return _run([*self._argv, *argv], input)

    def image_id(self, name: str) -> str:
        found = self.run("image", "inspect", "-f", "{{.Id}}", name).decode().strip()
        return f"sha256:{found.removeprefix('sha256:')}"


class World:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.netns = NetworkNamespace()
        self.registry = Registry(root / "registry", self.netns)
        self._naru = Daemon(netns=self.netns)
        self._dockerd = Dockerd("--bridge=none", "--iptables=false", netns=self.netns)
        self.naru = Docker(self._naru.host, root / "naru-client")
        self.dockerd = Docker(self._dockerd.host, root / "docker-client")
        self.podman = Podman(root / "podman", self.netns)

    def start(self) -> None:
        self._naru.start()
        self._dockerd.start()

    def stop(self) -> None:
        try:
            self.podman.run("rm", "-fa")
            self.podman.run("rmi", "-fa")
        finally:
            self._naru.stop()
            self._dockerd.stop()
            self.registry.close()
            self.netns.close()

    def engine(self, name: str) -> Engine:
        found: Engine = getattr(self, name)
        return found

    def name(self, path: str) -> str:
        return f"{self.registry.address}/{path}"

    def skopeo(self, *argv: str) -> bytes:
        return _run(self.netns.command("skopeo", "--insecure-policy", *argv), None)

    def digest(self, name: str) -> str:
        raw = self.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
        return "sha256:" + hashlib.sha256(raw).hexdigest()

    def pull(self, engine: str, name: str) -> None:
        insecure = ["--tls-verify=false"] if engine == "podman" else []
        self.engine(engine).run("pull", "-q", *insecure, name)

    def push(self, engine: str, name: str) -> None:
        insecure = ["--tls-verify=false"] if engine == "podman" else []
        self.engine(engine).run("push", "-q", *insecure, name)


def _run(argv: list[str], input: bytes | None) -> bytes:
    done = subprocess.run(argv, input=input, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.decode()}"
    return done.stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("roundtrip"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


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
        capture_output=True, check=False, timeout=60, env={**os.environ, "HOME": str(world.root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["layers"] == json.loads(shown)["layers"]
    world.naru.run("rmi", name)


_HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")


def said(docker: Docker, script: str) -> list[str]:
    """What each command of the script says, ids by the order in which they turn up."""
    known: dict[str, str] = {}

    def shorter(found: re.Match[str]) -> str:
        return known.setdefault(found[0][:12], f"id{len(known)}")

    lines = []
    for line in script.strip().splitlines():
        done = subprocess.run(
            [*docker._argv, *line.split()], capture_output=True, check=False, timeout=60, text=True
        )
        # Layers are deleted in an order of their own.
        told = sorted((done.stdout + done.stderr).splitlines())
        told = [t for t in told if not t.startswith("Deleted: ")]
        lines.append(f"{line} -> {done.returncode}: " + _HEX.sub(shorter, " | ".join(told)))
    return lines


@pytest.mark.parametrize("script", [
    pytest.param("rmi one:1\nrmi one:1", id="last name"),
    pytest.param("tag one:1 two:1\nrmi one:1\nrmi two:1", id="two names"),
    pytest.param("tag one:1 two:1\nrmi {id}\nrmi -f {id}", id="id of several repositories"),
    pytest.param("tag one:1 one:2\nrmi {id}", id="id of one repository"),
    pytest.param("create --name c one:1 x\nrmi one:1\nrmi {id}\nrmi -f one:1\nrm c", id="in use"),
    pytest.param(
        "create --name c one:1 x\ntag one:1 two:1\nrmi one:1\nrmi two:1\nrm c\nrmi two:1",
        id="in use, two names",
    ),
    pytest.param(
        "create --name c one:1 x\ncommit c child:1\nrmi one:1\nrmi {id}\nrm c\nrmi child:1",
        id="with a child",
    ),
    pytest.param("rmi nobody\nrmi nobody:7\nimage rm sha256:{id}", id="not there"),
    pytest.param("tag nobody two:1\ntag one:1 sha256:abc", id="bad tags"),
    pytest.param("images -q -f before=nobody\nimages -q -f label=tier", id="lists"),
    pytest.param("history -q one:1\nhistory nobody", id="history"),
    pytest.param("save nobody -o /dev/null\npush nobody", id="others"),
])  # fmt: skip
def test_the_words_are_dockerds(world: World, script: str) -> None:
    found = {}
    for name in ("naru", "dockerd"):
        docker: Docker = getattr(world, name)
        docker.run("load", "-q", input=docker_archive("one:1"))
        image_id = docker.image_id("one:1")
        found[name] = said(docker, script.format(id=image_id.removeprefix("sha256:")))
        for container in docker.run("ps", "-aq").decode().split():
            docker.run("rm", "-f", container)
        for image in dict.fromkeys(docker.run("images", "-aq").decode().split()):
            docker.run("rmi", "-f", image)
    assert found["naru"] == found["dockerd"]
