"""One image under several names: each name keeps the index, and what attests to it, by which the
image came under it."""

from __future__ import annotations

import json

import msgspec

from naru.engine.images.statements import statements
from naru.registry.repository import Repository
from naru.spec import oci
from naru.spec.images import TagRecord
from naru.spec.oci import parse_platform
from naru.spec.reference import parse
from naru.store.records import put
from tests.harness.pieces import joined
from tests.system.images.archives import (
    collect,
    docker_archive,
    members_of,
    oci_index_archive,
    pieces,
    sha,
)
from tests.system.images.conftest import Images
from tests.system.images.test_attestations_saved import nested, remove, repacked, save
from tests.system.images.test_faults import problems

HERE = str(oci.host_platform())
OTHER = "linux/s390x" if "s390x" not in HERE else "linux/amd64"
ONE, TWO = b'{"x":1}', b'{"x":2}'


def stated(name: str, statement: bytes | None = None) -> bytes:
    """An image of this platform, with a statement about it or without."""
    return oci_index_archive(name, [HERE], {HERE: statement} if statement else {})


async def load(images: Images, archive: bytes) -> None:
    await collect(images.loader.load(pieces(archive)))


async def test_each_name_goes_out_as_it_came(images: Images) -> None:
    archives = {"a:1": stated("a:1", ONE), "a:2": stated("a:2", TWO)}
    for archive in archives.values():
        await load(images, archive)
    [image] = images.records.images.values()
    await images.close()
    await images.open()
    assert image.id == images.library.find("a:1").id == images.library.find("a:2").id
    for name, archive in archives.items():
        assert nested(await save(images, name)) == nested(archive)
    assert ONE in members_of(await save(images, "a:1")).values()
    assert TWO not in members_of(await save(images, "a:1")).values()
    both = members_of(await joined(images.saver.save(["a"])))
    indexes = [entry["digest"] for entry in json.loads(both["index.json"])["manifests"]]
    assert indexes == [nested(archive)[0] for archive in archives.values()]
    assert {ONE, TWO} <= {*both.values()}
    # By its id it is what it was last.
    assert nested(await save(images, image.id)) == nested(archives["a:2"])
    await remove(images, "a:1", "a:2")


async def test_one_that_comes_without_takes_nothing_from_the_others(images: Images) -> None:
    for name, statement in (("a:1", ONE), ("a:2", TWO), ("a:3", None)):
        await load(images, stated(name, statement))
    assert len({images.library.find(name).id for name in ("a:1", "a:2", "a:3")}) == 1
    saved = members_of(await joined(images.saver.save(["a:1", "a:2", "a:3"])))
    assert {ONE, TWO} <= {*saved.values()}
    assert images.library.find("a:3").attestations == []
    alone = members_of(await save(images, "a:3"))
    assert {ONE, TWO}.isdisjoint(alone.values())
    # An archive that says nothing of it leaves the name what it had.
    await load(images, plain("a:1", stated("a:1")))
    assert ONE in members_of(await save(images, "a:1")).values()
    await remove(images, "a:1", "a:2", "a:3")


def plain(name: str, archive: bytes) -> bytes:
    """The image as a docker-archive alone, which knows of no manifests."""
    _, [entry] = nested(archive)
    members = members_of(archive)
    manifest = json.loads(members[f"blobs/sha256/{entry['digest'][7:]}"])
    config, *parts = (
        f"blobs/sha256/{each['digest'][7:]}" for each in (manifest["config"], *manifest["layers"])
    )
    item = {"Config": config, "RepoTags": [name], "Layers": parts}
    return repacked({
        **{part: members[part] for part in (config, *parts)},
        "manifest.json": json.dumps([item]).encode(),
    })  # fmt: skip


async def test_what_one_name_alone_needed_goes_with_it(images: Images) -> None:
    for name, statement in (("a:1", ONE), ("a:2", TWO)):
        await load(images, stated(name, statement))
    first, second = images.library.find("a:1"), images.library.find("a:2")
    assert first.manifest == second.manifest
    await images.removal.remove("a:1")
    gone = {first.index, *first.attestations} - {second.index, *second.attestations}
    assert gone.isdisjoint(images.blobs.digests())
    assert {second.index, *second.attestations} <= {*images.blobs.digests()}
    assert await problems(images) == []
    # So it is where a name moves: to what comes, or by a tag.
    await load(images, stated("a:2", ONE))
    assert sha(TWO) not in images.blobs.digests()
    await load(images, stated("a:1", TWO))
    await images.library.tag("a:2", parse("a:1"))
    assert images.library.find("a:1").index == first.index
    await load(images, stated("a:2", ONE))
    assert sha(TWO) not in images.blobs.digests()
    assert await problems(images) == []
    await remove(images, "a:1", "a:2")


async def test_what_a_name_needs_and_lacks_is_found(images: Images) -> None:
    await load(images, stated("a:1", ONE))
    await load(images, stated("a:2", TWO))
    index = images.library.find("a:1").index
    images.blobs.path(index).unlink()
    found = [(problem.kind, problem.what) for problem in await problems(images)]
    assert ("missing-blob", index) in found


async def test_a_push_is_of_the_name_s_own(images: Images, registry: str) -> None:
    """By way of a registry, from which both come by the same manifest."""
    names = {f"{registry}/single/app:{tag}": each for tag, each in (("1", ONE), ("2", TWO))}
    indexes = {}
    for name, statement in names.items():
        await load(images, stated(name, statement))
        await collect(images.pusher.push(parse(name)))
        indexes[name] = images.library.find(name).index
    await remove(images, *names)
    for name in names:
        await collect(images.puller.pull(parse(name)))
    [image] = images.records.images.values()
    for number, (name, statement) in enumerate(names.items()):
        index = indexes[name]
        shown = images.listing.inspect(name, manifests=True)
        assert shown["Descriptor"]["digest"] == index
        assert shown["RepoDigests"] == [f"{parse(name).familiar_name}@{index}"]
        assert all(each["Available"] for each in shown["Manifests"])
        [listed] = images.listing.images(manifests=True, filters={"reference": [name]})
        assert listed["Descriptor"]["digest"] == index
        [said] = await statements(images.library, name, bodies=True)
        assert bytes(said["Statement"]) == statement
        copy = parse(f"{registry}/single/copy:{number}")
        await images.library.tag(name, copy)
        told = await collect(images.pusher.push(copy))
        assert [m["aux"]["Digest"] for m in told if "aux" in m] == [index]
        assert (await Repository(images.transport, copy).manifest(copy.tag)).digest == index
        by_digest = images.library.find(f"{parse(name).name}@{index}")
        assert (by_digest.index, by_digest.id) == (index, image.id)
        await images.removal.remove(copy.familiar)
    assert len(images.listing.inspect(image.id)["RepoDigests"]) == 2
    first, second = names
    await images.removal.remove(first)
    assert images.listing.inspect(image.id)["RepoDigests"] == [
        f"{parse(second).familiar_name}@{indexes[second]}"
    ]
    assert indexes[first] not in images.blobs.digests()
    await remove(images, second)


async def test_platforms_of_one_name_are_not_another_s(images: Images) -> None:
    await load(images, oci_index_archive("both:1", [HERE, OTHER], {HERE: ONE, OTHER: TWO}))
    await load(images, stated("one:1", ONE))
    assert len(nested(await save(images, "one:1"))[1]) == 2
    assert len(nested(await save(images, "both:1"))[1]) == 4
    assert images.library.find("both:1").id == images.library.find("one:1").id
    assert [i.id for i in images.library.find_all("one:1")] == [images.library.find("one:1").id]
    await images.removal.remove("both:1", platforms=[parse_platform(OTHER)])
    assert len(nested(await save(images, "both:1"))[1]) == 2
    await remove(images, "both:1", "one:1")


async def test_names_of_before_are_those_of_the_image(images: Images) -> None:
    """As they were written by a daemon that kept one form of an image."""
    archive = stated("old:1", ONE)
    await load(images, archive)
    [tag] = images.records.tags.values()
    bare = {
        key: value for key, value in msgspec.to_builtins(tag).items() if key != "arrivals"
    }  # fmt: skip
    await images.records.commit(put(images.records.tags, msgspec.convert(bare, TagRecord)))
    assert nested(await save(images, "old:1")) == nested(archive)
    await load(images, stated("new:1", TWO))
    # It cannot be told any more: the image's own was all that was known.
    assert images.library.find("old:1").index == images.library.find("new:1").index
    assert await problems(images) == []
    await remove(images, "old:1", "new:1")


async def test_a_name_of_what_was_made_here_is_pushed_once(images: Images, registry: str) -> None:
    """The manifest of its first push is all of its names'."""
    names = [parse(f"{registry}/made/app:{tag}") for tag in "12"]
    await load(images, docker_archive(names[0].familiar))
    await images.library.tag(names[0].familiar, names[1])
    told = [m for name in names for m in await collect(images.pusher.push(name))]
    [first, second] = [m["aux"]["Digest"] for m in told if "aux" in m]
    assert first == second == images.library.find(names[1].familiar).manifest
    assert images.listing.inspect(names[1].familiar)["RepoDigests"] == [
        f"{names[0].familiar_name}@{first}"
    ]
    await remove(images, *(name.familiar for name in names))


async def test_the_descriptor_of_a_platform(images: Images) -> None:
    archive = oci_index_archive("several:1", [HERE, OTHER], {HERE: ONE, OTHER: TWO})
    digest, entries = nested(archive)
    await load(images, archive)
    assert images.listing.inspect("several:1")["Descriptor"]["digest"] == digest
    for entry, platform in zip(entries, (HERE, OTHER), strict=False):
        shown = images.listing.inspect(
            "several:1", manifests=True, platform=parse_platform(platform)
        )
        assert shown["Descriptor"] == entry
        manifest = json.loads(members_of(archive)[f"blobs/sha256/{entry['digest'][7:]}"])
        [own] = [each for each in shown["Manifests"] if each["ID"] == entry["digest"]]
        parts = [entry, manifest["config"], *manifest["layers"]]
        assert own["Size"]["Content"] == sum(part["size"] for part in parts)
        assert own["ImageData"]["Containers"] == []
    await remove(images, "several:1")


async def test_a_manifest_in_place_of_its_index_is_noted(images: Images, registry: str) -> None:
    name = f"{registry}/noted/app:1"
    archive = oci_index_archive(name, [HERE, OTHER])
    digest, entries = nested(archive)
    await load(images, archive)
    told = await collect(images.pusher.push(parse(name)))
    assert [m["aux"] for m in told if "Tag" not in m.get("aux", {"Tag": ""})] == []
    await images.removal.remove(name, platforms=[parse_platform(OTHER)])
    told = await collect(images.pusher.push(parse(name)))
    [sent, note] = [m["aux"] for m in told if "aux" in m]
    assert sent["Digest"] == entries[0]["digest"]
    index = oci.read_manifest(images.blobs.read(digest))
    assert note == {
        "manifestPushedInsteadOfIndex": True,
        "originalIndex": {
            "mediaType": index.media_type, "digest": digest,
            "size": images.blobs.size(digest),
        },
        "selectedManifest": entries[0],
    }  # fmt: skip
    # Who asks for one platform is told nothing.
    told = await collect(images.pusher.push(parse(name), platform=parse_platform(HERE)))
    assert [m["aux"].get("Digest") for m in told if "aux" in m] == [entries[0]["digest"]]
    await remove(images, name)
