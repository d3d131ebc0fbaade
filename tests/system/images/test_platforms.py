"""Images of several platforms: one name, each platform's image when it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from naru.spec import oci
from naru.spec.errors import NotFound
from naru.spec.oci import parse_platform
from naru.spec.reference import parse
from tests.harness.pieces import joined
from tests.system.images.archives import collect, docker_archive, oci_index_archive, pieces, sha
from tests.system.images.conftest import Images

HERE = str(oci.host_platform())
OTHER = "linux/s390x" if "s390x" not in HERE else "linux/amd64"
THIRD = "linux/riscv64"


async def pushed(images: Images, registry: str, name: str) -> str:
    """An index of two platforms in the registry -> its digest."""
    archive = oci_index_archive(name, [HERE, OTHER])
    await collect(images.loader.load(pieces(archive)))
    told = await collect(images.pusher.push(parse(name)))
    await images.removal.remove(name)
    assert images.listing.images() == []
    assert list(images.blobs.digests()) == []
    return str([m["aux"]["Digest"] for m in told if "aux" in m][-1])


def tree_of(images: Images, name: str) -> list[tuple[str, bool]]:
    [shown] = [
        i for i in images.listing.images(manifests=True)
        if name in i["RepoTags"]
    ]  # fmt: skip
    return [
        (str(_platform(m["ImageData"]["Platform"])), m["Available"]) for m in shown["Manifests"]
    ]


def _platform(shown: dict[str, Any]) -> str:
    return f"{shown['os']}/{shown['architecture']}"


async def test_platforms_are_pulled_one_by_one(images: Images, registry: str) -> None:
    name = f"{registry}/several/app:1"
    digest = await pushed(images, registry, name)
    await collect(images.puller.pull(parse(name)))
    assert tree_of(images, name) == [(HERE, True), (OTHER, False)]
    here = images.library.find(name)
    with pytest.raises(NotFound, match="does not match the specified platform"):
        images.library.find(name, parse_platform(OTHER))
    told = await collect(images.puller.pull(parse(name), platform=parse_platform(OTHER)))
    assert {"status": f"Digest: {digest}"} in told
    assert tree_of(images, name) == [(HERE, True), (OTHER, True)]
    assert images.library.find(name) == here
    other = images.library.find(name, parse_platform(OTHER))
    assert f"linux/{other.architecture}" == OTHER
    assert images.listing.inspect(name, platform=parse_platform(OTHER))["Id"] == other.id
    assert images.listing.inspect(other.id)["RepoTags"] == [name]
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        images.library.find(name, parse_platform(THIRD))
    # Both are shown by one row, none is dangling, and nothing is left once the name is gone.
    assert len(images.listing.images()) == 1
    assert (await images.removal.prune({}))["ImagesDeleted"] is None
    assert images.library.find(name, parse_platform(OTHER)) == other
    await images.removal.remove(name)
    assert images.records.images.values() == []
    assert list(images.blobs.digests()) == []


async def test_what_has_no_manifest_shows_none(images: Images, registry: str) -> None:
    """As dockerd's own image store shows none of any image; a push makes one."""
    name = f"{registry}/several/none:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    [listed] = images.listing.images(manifests=True, identity=True)
    inspected = images.listing.inspect(name, manifests=True)
    assert {"Manifests", "Descriptor"}.isdisjoint({*listed, *inspected})
    await collect(images.pusher.push(parse(name)))
    [listed] = images.listing.images(manifests=True)
    inspected = images.listing.inspect(name, manifests=True)
    for shown in (listed, inspected):
        [only] = shown["Manifests"]
        assert only["Descriptor"] == shown["Descriptor"]
        data = images.blobs.read(only["ID"])
        assert (shown["Descriptor"]["digest"], shown["Descriptor"]["size"]) == (
            sha(data),
            len(data),
        )
    assert "Manifests" not in images.listing.inspect(name)
    await images.removal.remove(name)


async def test_an_index_goes_out_as_it_came(images: Images, registry: str) -> None:
    name = f"{registry}/several/again:1"
    digest = await pushed(images, registry, name)
    for platform in (HERE, OTHER):
        await collect(images.puller.pull(parse(name), platform=parse_platform(platform)))
    copy = parse(f"{registry}/several/copy:2")
    await images.library.tag(name, copy)
    told = await collect(images.pusher.push(copy))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    assert images.library.find(f"{copy.name}@{digest}") == images.library.find(name)
    told = await collect(images.pusher.push(copy, platform=parse_platform(OTHER)))
    other = images.library.find(name, parse_platform(OTHER))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [other.manifest]
    await images.removal.remove(name)
    await images.removal.remove(copy.familiar)
    assert [t.name for t in images.records.tags.values()] == []
    assert images.records.images.values() == []


async def test_one_platform_is_removed(images: Images, registry: str) -> None:
    name = f"{registry}/several/less:1"
    await pushed(images, registry, name)
    for platform in (HERE, OTHER):
        await collect(images.puller.pull(parse(name), platform=parse_platform(platform)))
    here = images.library.find(name)
    told = await images.removal.remove(name, platforms=[parse_platform(HERE)])
    assert {"Deleted": here.id} in told
    assert f"linux/{images.library.find(name).architecture}" == OTHER
    assert tree_of(images, name) == [(HERE, False), (OTHER, True)]
    await images.removal.remove(name, platforms=[parse_platform(OTHER)])
    assert images.records.images.values() == []
    assert images.records.tags.values() == []


async def test_several_platforms_are_saved_and_loaded(images: Images, tmp_path: Path) -> None:
    await collect(images.loader.load(pieces(oci_index_archive("several:1", [HERE, OTHER]))))
    ids = {p: images.library.find("several:1", parse_platform(p)).id for p in (HERE, OTHER)}
    saved = await joined(images.saver.save(["several:1"]))
    one = await joined(images.saver.save(["several:1"], platforms=[parse_platform(OTHER)]))
    await images.removal.remove("several:1")
    assert images.records.images.values() == []
    told = await collect(images.loader.load(pieces(saved)))
    assert [m["stream"] for m in told if "stream" in m] == ["Loaded image: several:1\n"]
    found = {p: images.library.find("several:1", parse_platform(p)).id for p in (HERE, OTHER)}
    assert found == ids
    await images.removal.remove("several:1")
    await collect(images.loader.load(pieces(one)))
    assert [i.id for i in images.records.images.values()] == [ids[OTHER]]
    await images.removal.remove("several:1")
    await collect(images.loader.load(pieces(saved), platforms=[parse_platform(HERE)]))
    assert [i.id for i in images.records.images.values()] == [ids[HERE]]
    with pytest.raises(NotFound, match="matches"):
        await collect(images.loader.load(pieces(saved), platforms=[parse_platform(THIRD)]))


async def test_a_tag_that_moves_leaves_its_platforms(images: Images, registry: str) -> None:
    name = f"{registry}/several/moved:1"
    await collect(images.loader.load(pieces(oci_index_archive(name, [HERE, OTHER]))))
    await collect(images.loader.load(pieces(docker_archive(name))))
    assert len(images.records.images.values()) == 3
    shown = images.listing.images()
    assert sorted(len(image["RepoTags"]) for image in shown) == [0, 0, 1]
    pruned = await images.removal.prune({})
    assert len([d for d in pruned["ImagesDeleted"] if d.get("Deleted")]) >= 2
    assert len(images.records.images.values()) == 1
    json.dumps(images.listing.images(manifests=True))
