"""Attestations in archives: a save writes them with the image as it came, a load keeps them."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from naru.registry.repository import Repository
from naru.spec import oci
from naru.spec.errors import NotFound
from naru.spec.oci import Platform, parse_platform
from naru.spec.reference import parse
from naru.store.tarentry import Entry
from tests.harness.pieces import joined
from tests.system.images.archives import (
    collect,
    docker_archive,
    layers,
    members_of,
    oci_index,
    oci_index_archive,
    oci_layout,
    pieces,
    sha,
    tar,
)
from tests.system.images.conftest import Images
from tests.system.images.test_attestations import STATEMENT, attested
from tests.system.images.test_round_trips import skopeo

HERE = str(oci.host_platform())
OTHER = "linux/s390x" if "s390x" not in HERE else "linux/amd64"
STATEMENTS = {
    platform: json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "for": platform}).encode()
    for platform in (HERE, OTHER)
}


@pytest.fixture(params=[False, True], ids=["kept", "dropped"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Images]:
    """With the compressed layers kept, and dropped to be made again."""
    (tmp_path / "either").mkdir()
    opened = await Images(tmp_path / "either", drop=request.param).open()
    yield opened
    await opened.close()


async def save(images: Images, name: str, platforms: Sequence[str] = ()) -> bytes:
    wanted: list[Platform] | None = [parse_platform(each) for each in platforms] or None
    return await joined(images.saver.save([name], platforms=wanted))


async def remove(images: Images, *names: str) -> None:
    for name in names:
        await images.removal.remove(name)
    await images.tasks.settled()
    assert list(images.blobs.digests()) == []
    assert images.records.images.values() == []


def nested(archive: bytes) -> tuple[str, list[dict[str, Any]]]:
    """The index within the index of an archive: its digest, and its entries."""
    members = members_of(archive)
    [entry] = json.loads(members["index.json"])["manifests"]
    data = members[f"blobs/sha256/{entry['digest'][7:]}"]
    assert sha(data) == entry["digest"]
    return entry["digest"], json.loads(data)["manifests"]


async def test_a_round_trip(
    needs_root: None, either: Images, registry: str, tmp_path: Path
) -> None:
    images, name = either, f"{registry}/saved/app{either.drop:d}:1"
    digest = await attested(images, name, tmp_path)
    before = Repository(images.transport, parse(name))
    await collect(images.puller.pull(parse(name)))
    await images.tasks.settled()
    image = images.library.find(name)
    assert images.blobs.has(image.layers[0].digest) != images.drop
    saved = await save(images, name)
    assert saved == await save(images, name)
    assert nested(saved)[0] == digest
    members = members_of(saved)
    assert members[f"blobs/sha256/{sha(STATEMENT)[7:]}"] == STATEMENT
    blobs = {n[13:]: data for n, data in members.items() if n.startswith("blobs/sha256/")}
    assert all(sha(data) == f"sha256:{digits}" for digits, data in blobs.items())

    await remove(images, name)
    told = await collect(images.loader.load(pieces(saved)))
    assert told[-1] == {"stream": f"Loaded image: {name}\n"}
    await images.library.sweeper.sweep()
    loaded = images.library.find(name)
    assert (loaded.id, loaded.manifest, loaded.index) == (image.id, image.manifest, digest)
    assert await save(images, name) == saved
    copy = parse(f"{registry}/saved/elsewhere{either.drop:d}:1")
    await images.library.tag(name, copy)
    told = await collect(images.pusher.push(copy))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    after = Repository(images.transport, copy)
    index = await after.manifest(copy.tag)
    assert index.data == (await before.manifest(digest)).data
    [entry] = [e for e in oci.read_manifest(index.data).manifests if e.attests]
    assert entry.attests == image.manifest
    manifest = await after.manifest(entry.digest)
    assert manifest.data == (await before.manifest(entry.digest)).data
    [statement] = oci.read_manifest(manifest.data).layers
    assert await after.document(statement.digest, statement.size) == STATEMENT
    await remove(images, name, copy.familiar)


async def test_each_platform_has_its_own(images: Images) -> None:
    archive = oci_index_archive("several:1", [HERE, OTHER], STATEMENTS)
    digest, entries = nested(archive)
    await collect(images.loader.load(pieces(archive)))
    assert len(images.records.images.values()) == 2
    shown = images.listing.inspect("several:1", manifests=True)["Manifests"]
    assert [(m["Kind"], m["Available"]) for m in shown] == [("image", True)] * 2 + [
        ("attestation", True)
    ] * 2
    assert nested(await save(images, "several:1")) == (digest, entries)
    one = await save(images, "several:1", [OTHER])
    assert nested(one)[1] == [entries[1], entries[3]]
    assert STATEMENTS[HERE] not in members_of(one).values()
    assert STATEMENTS[OTHER] in members_of(one).values()
    await remove(images, "several:1")
    await collect(images.loader.load(pieces(archive), platforms=[parse_platform(OTHER)]))
    [image] = images.records.images.values()
    assert f"linux/{image.architecture}" == OTHER
    assert image.attestations[0] == entries[3]["digest"]
    assert not images.blobs.has(entries[2]["digest"])
    assert nested(await save(images, "several:1"))[1] == [entries[1], entries[3]]
    await remove(images, "several:1")
    await collect(images.loader.load(pieces(one)))
    assert [i.id for i in images.records.images.values()] == [image.id]
    with pytest.raises(NotFound, match="matches"):
        await collect(
            images.loader.load(pieces(archive), platforms=[Platform("unknown", "unknown")])
        )


async def test_other_readers(images: Images, tmp_path: Path) -> None:
    archive = oci_index_archive("several:1", [HERE, OTHER], STATEMENTS)
    _, entries = nested(archive)
    await collect(images.loader.load(pieces(archive)))
    image = images.library.find("several:1")
    path, copied, layout = tmp_path / "saved.tar", tmp_path / "copied", tmp_path / "layout"
    path.write_bytes(await save(images, "several:1"))
    skopeo("copy", f"docker-archive:{path}", f"dir:{copied}")
    assert json.loads((copied / "manifest.json").read_text())["config"]["digest"] == image.id
    layout.mkdir()
    shutil.unpack_archive(path, layout, filter="data")
    skopeo("copy", "--all", f"oci:{layout}:1", f"dir:{copied}")
    assert json.loads((copied / "manifest.json").read_text())["manifests"] == entries
    for digest in (entries[2]["digest"], entries[3]["digest"]):
        assert (copied / f"{digest[7:]}.manifest.json").exists()


@pytest.mark.parametrize(
    "harm", ["no statement", "no manifest", "no config", "other statement", "other manifest"]
)
async def test_half_of_one_is_no_reason_not_to_load(images: Images, harm: str) -> None:
    members, index = oci_index([HERE], {HERE: STATEMENTS[HERE]})
    entry = json.loads(index)["manifests"][1]
    manifest = json.loads(members[entry["digest"]])
    part, what = harm.split()[1], harm.split()[0]
    digest = {
        "statement": manifest["layers"][0]["digest"],
        "manifest": entry["digest"],
        "config": manifest["config"]["digest"],
    }[part]
    if what == "no":
        del members[digest]
    else:
        members[digest] = b'{"layers": 7}'
    await collect(images.loader.load(pieces(oci_layout("half:1", members, index))))
    await images.tasks.settled()
    image = images.library.find("half:1")
    assert image.attestations == []
    assert sha(STATEMENTS[HERE]) not in images.blobs.digests()
    [loadable] = json.loads(members_of(await save(images, "half:1"))["index.json"])["manifests"]
    assert loadable["mediaType"] == oci.OCI_MANIFEST
    await remove(images, "half:1")


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_damaged_one_is_not_saved(images: Images, place: int) -> None:
    archive = oci_index_archive("several:1", [HERE, OTHER], STATEMENTS)
    _, entries = nested(archive)
    await collect(images.loader.load(pieces(archive)))
    image = images.library.find("several:1")
    path = images.blobs.path(image.attestations[place])
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    saved = await save(images, "several:1")
    assert nested(saved)[1] == [entries[0], entries[1], entries[3]]
    await images.removal.remove("several:1")
    await collect(images.loader.load(pieces(saved)))
    assert images.library.find("several:1").id == image.id


async def test_plain_tars_go_without(images: Images, registry: str, tmp_path: Path) -> None:
    """Of layers that were here in another form the registry's blobs are not fetched."""
    name = f"{registry}/saved/plain:1"
    await attested(images, name, tmp_path)
    await collect(images.loader.load(pieces(docker_archive("other:1", env=["A=other"]))))
    await collect(images.puller.pull(parse(name)))
    image = images.library.find(name)
    assert image.attestations
    assert not images.blobs.has(image.layers[0].digest)
    members = members_of(await save(images, name))
    [entry] = json.loads(members["index.json"])["manifests"]
    assert entry["mediaType"] == oci.OCI_MANIFEST
    assert entry["digest"] != image.manifest
    assert all(part in members.values() for part in layers())
    assert STATEMENT not in members.values()


async def test_a_large_sbom(images: Images, registry: str) -> None:
    """More than any manifest may have."""
    statement = json.dumps({"packages": ["p" * 60] * 80_000}).encode()
    assert len(statement) > oci.MAX_DOCUMENT
    name = f"{registry}/saved/large:1"
    archive = oci_index_archive(name, [HERE], {HERE: statement})
    digest, _ = nested(archive)
    await collect(images.loader.load(pieces(archive)))
    saved = await save(images, name)
    assert nested(saved)[0] == digest
    assert statement in members_of(saved).values()
    told = await collect(images.pusher.push(parse(name)))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    await remove(images, name)
    await collect(images.puller.pull(parse(name)))
    assert await save(images, name) == saved
    await remove(images, name)


async def test_none_is_taken_for_an_image(images: Images) -> None:
    """Not even one that has lost its annotations, or that index.json itself names."""
    members, index = oci_index([HERE], {HERE: STATEMENTS[HERE]})
    own, attestation = json.loads(index)["manifests"]
    bare = {key: value for key, value in attestation.items() if key != "annotations"}
    for entries in ([attestation, own], [bare, own]):
        document = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": entries}
        top = members_of(oci_layout("bare:1", members, json.dumps(document).encode()))
        flat = {**top, "index.json": json.dumps(document).encode()}
        for archive in (top, flat):
            await collect(images.loader.load(pieces(repacked(archive))))
            [image] = images.records.images.values()
            assert image.manifest == own["digest"]
            await images.removal.remove(image.id, force=True)


def flat(members: dict[str, bytes], entries: list[dict[str, Any]], names: dict[str, str]) -> bytes:
    """A layout whose index.json itself names the manifests; `names` by digest."""
    named = [
        {**e, "annotations": {"io.containerd.image.name": names[e["digest"]]}}
        if e["digest"] in names else e
        for e in entries
    ]  # fmt: skip
    top = {"schemaVersion": 2, "manifests": named}
    blobs = {f"blobs/sha256/{digest[7:]}": data for digest, data in members.items()}
    return repacked({**blobs, "index.json": json.dumps(top).encode()})


@pytest.mark.parametrize("named", [False, True])
async def test_those_that_index_json_itself_names(
    images: Images, registry: str, named: bool
) -> None:
    """They come with the image, and go out by an index that is made of them."""
    name = f"{registry}/saved/flat:1"
    members, index = oci_index([HERE], {HERE: STATEMENTS[HERE]})
    own, attestation = json.loads(index)["manifests"]
    del own["platform"]  # the index that is made has it from the config
    archive = flat(members, [attestation, own], {own["digest"]: name} if named else {})
    await collect(images.loader.load(pieces(archive)))
    [image] = images.records.images.values()
    assert (image.manifest, image.attestations[0]) == (own["digest"], attestation["digest"])
    if not named:
        await images.library.tag(image.id, parse(name))
    await images.library.sweeper.sweep()
    saved = await save(images, name)
    digest, entries = nested(saved)
    assert digest == image.index
    assert [e["digest"] for e in entries] == [own["digest"], attestation["digest"]]
    assert entries[0]["platform"]["architecture"] == oci.host_platform().architecture
    assert "annotations" not in entries[0]
    assert entries[1] == attestation
    assert STATEMENTS[HERE] in members_of(saved).values()
    told = await collect(images.pusher.push(parse(name)))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    await remove(images, name)
    await collect(images.puller.pull(parse(name)))
    assert images.library.find(name).attestations == image.attestations
    await remove(images, name)


async def test_platforms_side_by_side_share_their_name(images: Images) -> None:
    members, index = oci_index([HERE, OTHER], {OTHER: STATEMENTS[OTHER]})
    here, other, attestation = json.loads(index)["manifests"]
    names = {here["digest"]: "several:1", other["digest"]: "several:1"}
    archive = flat(members, [attestation, here, other], names)
    await collect(images.loader.load(pieces(archive)))
    assert len(images.records.images.values()) == 2
    assert nested(await save(images, "several:1"))[1] == [here, other, attestation]
    assert images.library.find("several:1").attestations == []
    assert images.library.find("several:1", parse_platform(OTHER)).attestations
    await remove(images, "several:1")
    await collect(images.loader.load(pieces(archive), platforms=[parse_platform(OTHER)]))
    [image] = images.records.images.values()
    assert image.attestations[0] == attestation["digest"]
    await remove(images, "several:1")
    names = {here["digest"]: "one:1", other["digest"]: "other:1"}
    await collect(images.loader.load(pieces(flat(members, [here, other, attestation], names))))
    assert images.library.find("one:1").index == ""
    assert nested(await save(images, "other:1"))[1] == [other, attestation]
    await remove(images, "one:1", "other:1")


async def test_a_docker_archive_beside_them_says_less(images: Images) -> None:
    members, index = oci_index([HERE], {HERE: STATEMENTS[HERE]})
    own, attestation = json.loads(index)["manifests"]
    manifest = json.loads(members[own["digest"]])
    item = {
        "Config": f"blobs/sha256/{manifest['config']['digest'][7:]}",
        "RepoTags": ["beside:1"],
        "Layers": [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]],
    }
    laid_out = flat(members, [own, attestation], {own["digest"]: "beside:1"})
    both = {**members_of(laid_out), "manifest.json": json.dumps([item]).encode()}
    await collect(images.loader.load(pieces(repacked(both))))
    assert images.library.find("beside:1").attestations[0] == attestation["digest"]
    await remove(images, "beside:1")
    lost = {**attestation["annotations"], "vnd.docker.reference.digest": sha(b"another")}
    laid_out = flat(members, [own, {**attestation, "annotations": lost}], {})
    both = {**members_of(laid_out), "manifest.json": json.dumps([item]).encode()}
    await collect(images.loader.load(pieces(repacked(both))))
    assert images.library.find("beside:1").attestations == []
    await remove(images, "beside:1")


def repacked(members: dict[str, bytes]) -> bytes:
    return tar([(Entry(name), data) for name, data in members.items()])
