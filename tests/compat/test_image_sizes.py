"""What images take, together and alone: `docker system df -v` of naru beside that of dockerd."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from bench.dockerd import DOCKERD
from tests.harness.beside import Docker, World
from tests.system.images.archives import sha, tar

from naru.store.tarentry import CHARDEV, DIRECTORY, HARDLINK, SYMLINK, Entry

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, ("docker", DOCKERD, "docker-registry", "skopeo", "podman"))),
    reason="needs root, docker, dockerd, docker-registry, skopeo and podman",
)

BASE = tar([
    (Entry("d", DIRECTORY, mode=0o755), b""),
    (Entry("d/hidden"), b"h" * 700_000),
    (Entry("data"), b"b" * 2_000_000),
    (Entry("alias", HARDLINK, linkname="data"), b""),
    (Entry("null", CHARDEV, devmajor=1, devminor=3), b""),
])  # fmt: skip
MIDDLE = tar([
    (Entry("d", DIRECTORY, mode=0o755), b""),
    (Entry("d/.wh..wh..opq"), b""),
    (Entry("d/new"), b"n" * 300_000),
    (Entry(".wh.null"), b""),
    (Entry("data", mode=0o600), b"m" * 50_000),  # once more, in a layer of its own
])  # fmt: skip
OWN = tar([(Entry("own"), b"o" * 7_000_000)])
LONE = tar([
    (Entry("lone"), b"l" * 4_321),
    (Entry("link", SYMLINK, linkname="t" * 70), b""),  # its target's length counts
])  # fmt: skip

IMAGES = {
    "deep": [BASE, MIDDLE, OWN],
    "middle": [BASE, MIDDLE],
    "other": [BASE, OWN],  # OWN over another layer is another layer
    "lone": [LONE],
}
"""Three that share layers, and one that shares none."""


def archive() -> bytes:
    members = []
    manifest = []
    for name, parts in IMAGES.items():
        document = json.dumps({
            "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": {"Cmd": [f"/{name}"]},
            "rootfs": {"type": "layers", "diff_ids": [sha(part) for part in parts]},
            "history": [{"created_by": f"step {index}"} for index in range(len(parts))],
        }).encode()  # fmt: skip
        members.append((Entry(f"{sha(document)[7:]}.json"), document))
        layers = []
        for index, part in enumerate(parts):
            layers.append(f"{name}-{index}/layer.tar")
            members.append((Entry(layers[-1]), part))
        manifest.append({
            "Config": f"{sha(document)[7:]}.json", "RepoTags": [f"sizes/{name}:1"],
            "Layers": layers,
        })  # fmt: skip
    return tar([*members, (Entry("manifest.json"), json.dumps(manifest).encode())])


def shown(engine: Docker) -> dict[str, tuple[str, str, str]]:
    """SIZE, SHARED SIZE and UNIQUE SIZE of each image, as the stock client writes them."""
    usage = json.loads(engine.run("system", "df", "-v", "--format", "json"))
    return {
        image["Repository"]: (image["Size"], image["SharedSize"], image["UniqueSize"])
        for image in usage["Images"]
        if image["Repository"].startswith("sizes/")
    }


def summed(engine: Docker) -> dict[str, object]:
    """The row of images in the short form, and their bytes one by one."""
    rows = map(json.loads, engine.run("system", "df", "--format", "json").splitlines())
    row = next(row for row in rows if row["Type"] == "Images")
    sizes = {
        name: engine.run("image", "inspect", "-f", "{{.Size}}", f"sizes/{name}:1")
        for name in IMAGES
    }
    return {"count": row["TotalCount"], "active": row["Active"], **sizes}


def test_shared_and_unique_sizes_are_dockerd_s(world: World) -> None:
    images = archive()
    for engine in (world.naru, world.dockerd):
        engine.run("load", "-q", input=images)
    found = shown(world.naru)
    assert found == shown(world.dockerd)
    assert found == {
        # BASE is 2.7 MB, its alias counting once; MIDDLE 350 kB, what it hides counting for BASE.
        "sizes/deep": ("10.1MB", "3.05MB", "7MB"),
        "sizes/middle": ("3.05MB", "3.05MB", "0B"),
        "sizes/other": ("9.7MB", "2.7MB", "7MB"),
        "sizes/lone": ("4.39kB", "0B", "4.391kB"),
    }
    assert summed(world.naru) == summed(world.dockerd)
    # What was shared by two is the other's alone when one of them goes.
    for engine in (world.naru, world.dockerd):
        engine.run("rmi", "sizes/deep:1")
    assert shown(world.naru) == shown(world.dockerd)
    assert shown(world.naru)["sizes/middle"] == ("3.05MB", "2.7MB", "350kB")
    for engine in (world.naru, world.dockerd):
        engine.run("rmi", "sizes/middle:1", "sizes/other:1", "sizes/lone:1")
    assert shown(world.naru) == shown(world.dockerd) == {}
