"""Images with attestations go between Naru and a Docker with containerd's image store, unchanged.

That store names an image by the digest of its index, so a load tells at once what it was given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import containerd_docker
from tests.harness.beside import Docker
from tests.harness.containerd_docker import ContainerdDocker
from tests.harness.daemon import Daemon
from tests.harness.netns import NetworkNamespace
from tests.harness.registry import Registry
from tests.system.images.archives import members_of, oci_index_archive, sha

from naru.spec.oci import host_platform

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or containerd_docker.folder() is None
    or not all(map(shutil.which, ("docker", "docker-registry", "skopeo"))),
    reason=f"needs root, docker, docker-registry, skopeo, and a newer Docker in the folder that"
    f" {containerd_docker.VARIABLE} names",
)

HERE = str(host_platform())
OTHER = "linux/s390x" if "s390x" not in HERE else "linux/amd64"
STATEMENTS = {
    platform: json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "for": platform}).encode()
    for platform in (HERE, OTHER)
}


class Both:
    """Naru and Docker beside a registry."""

    def __init__(self, root: Path) -> None:
        with contextlib.ExitStack() as undo:
            self.netns = undo.enter_context(contextlib.closing(NetworkNamespace()))
            self.registry = undo.enter_context(
                contextlib.closing(Registry(root / "registry", self.netns))
            )
            naru = Daemon(netns=self.netns)
            undo.callback(naru.stop)
            naru.start()
            self.naru = Docker(naru.host, root / "client")
            self.docker = ContainerdDocker(root / "docker", self.netns)
            undo.callback(self.docker.stop)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def name(self, path: str) -> str:
        return f"{self.registry.address}/{path}"

    def pushed(self, engine: Docker | ContainerdDocker, source: str, path: str) -> str:
        """Push what `source` names by another name -> the digest of what the registry has then.

        Of an index all is there: the registry takes none of which a manifest is missing.
        """
        name = self.name(path)
        engine.run("tag", source, name)
        engine.run("push", "-q", name)
        return sha(self.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))

    def skopeo(self, *argv: str) -> bytes:
        return subprocess.run(
            self.netns.command("skopeo", "--insecure-policy", *argv),
            capture_output=True, check=True, timeout=60,
        ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with contextlib.closing(Both(tmp_path_factory.mktemp("store"))) as made:
        yield made


def blobs(archive: bytes) -> dict[str, bytes]:
    return {n: data for n, data in members_of(archive).items() if n.startswith("blobs/")}


def test_a_build_goes_to_naru_and_back(both: Both) -> None:
    """What BuildKit says of it goes along, in both archives."""
    name = "built:1"
    context = both.docker.files / "context"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /etc/\nCMD ["x"]\n')
    both.docker.run("buildx", "build", "--provenance=mode=min", "-t", name, "/mnt/context")
    index = both.docker.image_id(name)
    saved = both.docker.run("save", name)
    assert any(b"https://slsa.dev/provenance" in blob for blob in blobs(saved).values())

    both.naru.run("load", input=saved)
    assert both.pushed(both.naru, name, "from-naru:1") == index
    again = both.naru.run("save", name)
    assert blobs(again) == blobs(saved)
    both.docker.run("rmi", name)
    both.docker.run("load", input=again)
    assert both.docker.image_id(name) == index
    assert both.pushed(both.docker, name, "from-docker:1") == index


def test_a_build_that_nothing_attests_to(both: Both) -> None:
    """Its archive names a manifest alone, beside Docker's own manifest.json."""
    name = "alone:1"
    context = both.docker.files / "alone"
    context.mkdir()
    (context / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /\nCMD ["x"]\n')
    both.docker.run("buildx", "build", "--provenance=false", "-t", name, "/mnt/alone")
    manifest = both.docker.image_id(name)
    both.naru.run("load", input=both.docker.run("save", name))
    assert both.pushed(both.naru, name, "alone-from-naru:1") == manifest
    again = both.naru.run("save", name)
    both.docker.run("rmi", name)
    both.docker.run("load", input=again)
    assert both.docker.image_id(name) == manifest


def test_several_platforms(both: Both) -> None:
    name = "several:1"
    both.naru.run("load", input=oci_index_archive(name, [HERE, OTHER], STATEMENTS))
    index = both.pushed(both.naru, name, "several-from-naru:1")
    saved = both.naru.run("save", name)
    both.docker.run("load", input=saved)
    assert both.docker.image_id(name) == index
    assert both.pushed(both.docker, name, "several-from-docker:1") == index
    assert blobs(both.docker.run("save", name)) == blobs(saved)


def test_what_docker_leaves_out(both: Both, tmp_path: Path) -> None:
    """It pulls no attestations. Its archive has an index of more than it holds; naru takes it, and
    a pull brings the rest.
    """
    name, statement = both.name("left-out:1"), b'{"for": "none but this test"}'
    archive = tmp_path / "archive.tar"
    archive.write_bytes(oci_index_archive(name, [HERE], {HERE: statement}))
    both.skopeo("copy", "--all", "--dest-tls-verify=false", f"oci-archive:{archive}",
                f"docker://{name}")  # fmt: skip
    both.docker.run("pull", "-q", name)
    saved = both.docker.run("save", name)
    assert statement not in members_of(saved).values()

    index = both.docker.image_id(name)
    both.naru.run("load", input=saved)
    assert both.pushed(both.naru, name, "without:1") != index
    both.naru.run("pull", "-q", name)
    assert both.pushed(both.naru, name, "with:1") == index
    assert statement in members_of(both.naru.run("save", name)).values()
