"""Archives that are a docker-archive and an OCI layout at once: the layout's manifest is the
image's, so that it keeps its digest, where it names what the docker-archive has."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from naru.registry.repository import Repository
from naru.spec.reference import parse
from tests.system.images.archives import (
    collect,
    docker_archive,
    layers,
    members_of,
    oci_archive,
    pieces,
    sha,
)
from tests.system.images.conftest import Images
from tests.system.images.test_attestations_saved import remove, repacked, save

PARTS = layers()
PACKED = [gzip.compress(part, mtime=0) for part in PARTS]

Edit = Callable[[dict[str, Any]], object]


def both(name: str, blobs: list[bytes], kind: str = "gzip", edit: Edit = len) -> tuple[str, bytes]:
    """As Docker saves since 25 -> the digest of the manifest, and the archive; `edit` changes the
    manifest."""
    members = members_of(oci_archive(name, blobs, PARTS, kind))
    top = json.loads(members["index.json"])
    [entry] = top["manifests"]
    manifest = json.loads(members.pop(_path(entry["digest"])))
    edit(manifest)
    data = json.dumps(manifest).encode()
    entry |= {"digest": sha(data), "size": len(data)}
    item = {
        "Config": _path(manifest["config"]["digest"]),
        "RepoTags": [name],
        "Layers": [_path(sha(blob)) for blob in blobs],
    }
    return sha(data), repacked({
        **members,
        _path(sha(data)): data,
        "index.json": json.dumps(top).encode(),
        "manifest.json": json.dumps([item]).encode(),
    })  # fmt: skip


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest[7:]}"


def entry_of(archive: bytes) -> str:
    [entry] = json.loads(members_of(archive)["index.json"])["manifests"]
    return str(entry["digest"])


@pytest.mark.parametrize("kind", ["gzip", ""], ids=["compressed", "plain"])
async def test_it_keeps_its_digest(images: Images, registry: str, kind: str) -> None:
    name = f"{registry}/beside/app{kind}:1"
    digest, archive = both(name, PACKED if kind else PARTS, kind)
    await collect(images.loader.load(pieces(archive)))
    image = images.library.find(name)
    assert (image.manifest, image.index) == (digest, "")
    saved = await save(images, name)
    assert entry_of(saved) == digest
    told = await collect(images.pusher.push(parse(name)))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    assert (await Repository(images.transport, parse(name)).manifest("1")).digest == digest
    # Nor does a push change what a save writes.
    assert await save(images, name) == saved
    await remove(images, name)
    await collect(images.loader.load(pieces(saved)))
    assert images.library.find(name).manifest == digest
    await remove(images, name)


def no_layer(manifest: dict[str, Any]) -> None:
    del manifest["layers"][0]


def other_config(manifest: dict[str, Any]) -> None:
    manifest["config"]["digest"] = sha(b"another")


def other_layer(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["digest"] = sha(b"another")


def other_order(manifest: dict[str, Any]) -> None:
    manifest["layers"].reverse()


def odd_digest(manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["digest"] = "md5:1"


@pytest.mark.parametrize("edit", [no_layer, other_config, other_layer, other_order, odd_digest])
async def test_one_of_something_else_is_left_alone(images: Images, edit: Edit) -> None:
    name = "beside:1"
    _, archive = both(name, PACKED)
    item = json.loads(members_of(archive)["manifest.json"])
    digest, edited = both(name, PACKED, edit=edit)
    members = {**members_of(edited), "manifest.json": json.dumps(item).encode()}
    await collect(images.loader.load(pieces(repacked(members))))
    assert images.library.find(name).manifest == ""
    assert entry_of(await save(images, name)) != digest
    await remove(images, name)


async def test_what_a_save_made_changes_no_push(images: Images, registry: str) -> None:
    """The manifest of plain tars that goes with a save is nobody's: the image keeps its own."""
    name = f"{registry}/beside/ours:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    saved = await save(images, name)
    await collect(images.loader.load(pieces(saved)))
    assert images.library.find(name).manifest == ""
    await collect(images.pusher.push(parse(name)))
    pushed = images.library.find(name).manifest
    await collect(images.loader.load(pieces(saved)))
    assert images.library.find(name).manifest == pushed
    assert await save(images, name) == saved
    await remove(images, name)
