"""Images with what BuildKit attests to them: it comes along, is no platform, and goes out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from naru.registry.repository import Repository
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec.oci import parse_platform
from naru.spec.reference import parse
from tests.harness.pieces import joined
from tests.system.images.archives import collect, docker_archive, pieces, sha
from tests.system.images.conftest import Images

STATEMENT = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": []}).encode()


async def attested(images: Images, name: str, folder: Path) -> str:
    """Push an image and what attests to it, as buildx does -> the digest of the index."""
    await collect(images.loader.load(pieces(docker_archive(name))))
    await collect(images.pusher.push(parse(name)))
    image = images.library.find(name)
    data = images.blobs.read(image.manifest)
    await images.removal.remove(name)
    uploader = await Uploader.open(Repository(images.transport, parse(name), push=True))
    config = json.dumps({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha(STATEMENT)]},
    }).encode()  # fmt: skip
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": oci.OCI_MANIFEST,
        "config": await _sent(uploader, folder, config, oci.OCI_CONFIG),
        "layers": [await _sent(uploader, folder, STATEMENT, "application/vnd.in-toto+json")],
    }).encode()  # fmt: skip
    await uploader.put_manifest(sha(manifest), manifest, oci.OCI_MANIFEST)
    here = oci.host_platform()
    index = json.dumps({
        "schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [
            {**_descriptor(manifest, oci.OCI_MANIFEST),
             "annotations": {"vnd.docker.reference.type": "attestation-manifest",
                             "vnd.docker.reference.digest": image.manifest},
             "platform": {"architecture": "unknown", "os": "unknown"}},
            {**_descriptor(data, oci.read_manifest(data).media_type),
             "platform": {"architecture": here.architecture, "os": here.os}},
        ],
    }).encode()  # fmt: skip
    await uploader.put_manifest("1", index, oci.OCI_INDEX)
    return sha(index)


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha(data), "size": len(data)}


async def _sent(uploader: Uploader, folder: Path, data: bytes, media_type: str) -> dict[str, Any]:
    path = folder / sha(data)[7:]
    path.write_bytes(data)
    await uploader.upload(sha(data), len(data), path, lambda _: None)
    return _descriptor(data, media_type)


async def test_they_come_and_go_with_the_image(
    images: Images, registry: str, tmp_path: Path
) -> None:
    name = f"{registry}/attested/app:1"
    digest = await attested(images, name, tmp_path)
    assert list(images.blobs.digests()) == []
    await collect(images.puller.pull(parse(name)))
    image = images.library.find(name)
    assert image.architecture == oci.host_platform().architecture
    await images.library.sweeper.sweep()
    await images.close()
    await images.open()
    shown = images.listing.inspect(name, manifests=True)
    assert shown["Descriptor"]["digest"] == digest
    statement, own = shown["Manifests"]
    assert (statement["Kind"], statement["Available"]) == ("attestation", True)
    assert statement["AttestationData"] == {"For": own["ID"]}
    assert statement["Size"]["Content"] > len(STATEMENT)
    assert (own["Kind"], own["Available"]) == ("image", True)
    [listed] = images.listing.images(manifests=True)
    assert [m["Kind"] for m in listed["Manifests"]] == ["attestation", "image"]
    copy = parse(f"{registry}/attested/copy:1")
    await images.library.tag(name, copy)
    told = await collect(images.pusher.push(copy))
    assert [m["aux"]["Digest"] for m in told if "aux" in m] == [digest]
    again = await Repository(images.transport, copy).manifest("1")
    assert again.digest == digest
    saved = await joined(images.saver.save([name]))
    for each in (name, copy.familiar):
        await images.removal.remove(each)
    assert list(images.blobs.digests()) == []
    await collect(images.loader.load(pieces(saved)))
    assert images.library.find(name).id == image.id


async def test_one_that_cannot_be_had_is_left_out(
    images: Images, registry: str, tmp_path: Path
) -> None:
    name = f"{registry}/attested/less:1"
    await attested(images, name, tmp_path)
    url = f"http://{registry}/v2/attested/less/blobs/{sha(STATEMENT)}"
    async with images.transport.request("DELETE", url):
        pass
    await collect(images.puller.pull(parse(name), platform=parse_platform("linux")))
    kinds = {
        m["Kind"]: m["Available"]
        for m in images.listing.inspect(name, manifests=True)["Manifests"]
    }  # fmt: skip
    assert kinds == {"attestation": False, "image": True}
    await images.removal.remove(name)
    assert list(images.blobs.digests()) == []
