"""What is kept of a layer: no compressed copy without need, and a push has the digests all the
same."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.spec.errors import InternalError, Unsupported
from naru.spec.reference import parse
from tests.harness.pieces import joined
from tests.system.images.archives import collect, docker_archive, layers, oci_archive, pieces, sha
from tests.system.images.conftest import Images


@pytest.fixture(params=["overlay2", "erofs"])
async def dropping(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Images]:
    (tmp_path / "dropping").mkdir()
    made = Images(tmp_path / "dropping", driver=request.param, drop=True)
    try:
        await made.open()
    except Unsupported as error:
        pytest.skip(str(error))
    yield made
    await made.close()


def compressed(images: Images) -> list[str]:
    """The blobs that are here, but for documents."""
    return [d for d in images.blobs.digests() if images.blobs.open(d).read(1) != b"{"]


async def test_a_loaded_image_has_no_blobs_of_layers(dropping: Images, registry: str) -> None:
    name = f"{registry}/dropped/app:1"
    await collect(dropping.loader.load(pieces(docker_archive(name))))
    assert compressed(dropping) == []
    first = await collect(dropping.pusher.push(parse(name)))
    await dropping.tasks.settled()
    assert compressed(dropping) == []
    await dropping.library.sweeper.sweep()
    # Elsewhere the registry knows nothing of it: the blobs are made again.
    await dropping.library.tag(name, parse(f"{registry}/dropped/other:1"))
    for blob in dropping.records.blobs.values():
        assert blob.recipe
    again = await collect(dropping.pusher.push(parse(f"{registry}/dropped/other:1")))
    digests = [[m["aux"]["Digest"] for m in told if "aux" in m] for told in (first, again)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("level", [1, 6, 9])
async def test_a_pulled_blob_is_dropped_and_made_again(
    dropping: Images, registry: str, level: int
) -> None:
    """Packed by zlib, as Python, and much else, does it."""
    name = f"{registry}/zlib/app:{level}"
    blobs = [gzip.compress(part, level, mtime=0) for part in layers()]
    other = Images(dropping.root / "other")
    other.root.mkdir()
    await other.open()
    try:
        await collect(other.loader.load(pieces(oci_archive(name, blobs, layers()))))
        told = await collect(other.pusher.push(parse(name)))
    finally:
        await other.close()
    digest = next(m["aux"]["Digest"] for m in told if "aux" in m)
    await collect(dropping.puller.pull(parse(name)))
    await dropping.tasks.settled()
    assert compressed(dropping) == []
    kept = {blob.id: blob.recipe for blob in dropping.records.blobs.values()}
    assert set(kept) == {sha(blob) for blob in blobs}
    assert all(recipe.startswith(f"zlib:{level}:") for recipe in kept.values())
    await dropping.library.tag(name, parse(f"{registry}/zlib/again{level}:1"))
    # What the registry could share is made anew all the same.
    for blob in dropping.records.blobs.values():
        with dropping.blobs.lease() as lease:
            await dropping.layer_blobs.restore(blob.id, blob.diff_id, lease)
            assert dropping.blobs.verify(blob.id)
    told = await collect(dropping.pusher.push(parse(f"{registry}/zlib/again{level}:1")))
    assert next(m["aux"]["Digest"] for m in told if "aux" in m) == digest
    saved = await joined(dropping.saver.save([name]))
    assert all(part in saved for part in layers())


async def test_a_blob_without_a_recipe_stays(dropping: Images, registry: str) -> None:
    name = f"{registry}/strange/app:1"
    blobs = []
    for part in layers():
        deflate = zlib.compressobj(7, zlib.DEFLATED, 31, 3, zlib.Z_FILTERED)
        blobs.append(deflate.compress(part) + deflate.flush())
    await collect(dropping.loader.load(pieces(oci_archive(name, blobs, layers()))))
    told = await collect(dropping.pusher.push(parse(name)))
    await dropping.tasks.settled()
    assert sorted(compressed(dropping)) == sorted(sha(blob) for blob in blobs)
    await dropping.removal.remove(name)
    assert compressed(dropping) == []
    told = await collect(dropping.puller.pull(parse(name)))
    await dropping.tasks.settled()
    assert told[-1]["status"].startswith("Status: Downloaded newer image")
    assert sorted(compressed(dropping)) == sorted(sha(blob) for blob in blobs)


async def test_a_changed_layer_is_never_pushed(dropping: Images, registry: str) -> None:
    name = f"{registry}/changed/app:1"
    await collect(dropping.loader.load(pieces(docker_archive(name))))
    home = dropping.root / dropping.driver
    files = [*home.glob("*/diff/etc/owned"), *home.glob("*/layer.tar")]
    [path] = [file for file in files if b"mine" in file.read_bytes()]
    data = bytearray(path.read_bytes())
    data[data.index(b"mine")] = ord("M")
    path.write_bytes(data)
    with pytest.raises(InternalError, match="is damaged"):
        await collect(dropping.pusher.push(parse(name)))
    assert compressed(dropping) == []
