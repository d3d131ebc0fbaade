"""Documents of images that the disk gives back as others: not used, and fetched again."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.engine.check.blobs import BlobInspection
from naru.engine.check.check import Check
from naru.spec.errors import InternalError
from naru.spec.reference import parse
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images


async def _damaged(images: Images, registry: str, root: Path) -> tuple[str, Images]:
    """An image that came from a registry, and whose config and manifest are others by now."""
    name = f"{registry}/rotten:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    await collect(images.pusher.push(parse(name)))
    root.mkdir()
    puller = await Images(root).open()
    await collect(puller.puller.pull(parse(name)))
    image = puller.library.find(name)
    for digest in (image.id, image.manifest):
        path = puller.blobs.path(digest)
        path.write_bytes(path.read_bytes().replace(b"sha256", b"sha512"))  # still JSON
        assert not puller.blobs.verify(digest)
    # As after the next start: a sound one may be remembered.
    await puller.close()
    return name, await Images(root).open()


async def test_they_are_not_used(images: Images, registry: str, tmp_path: Path) -> None:
    name, puller = await _damaged(images, registry, tmp_path / "puller")
    try:
        image = puller.library.find(name)
        for use in (puller.library.config, puller.blobs.read):
            with pytest.raises(InternalError, match=f"blob {image.id} is damaged"):
                use(image.id)
    finally:
        await puller.close()


async def test_a_pull_fetches_them_again(images: Images, registry: str, tmp_path: Path) -> None:
    name, puller = await _damaged(images, registry, tmp_path / "puller")
    try:
        await collect(puller.puller.pull(parse(name)))
        image = puller.library.find(name)
        assert puller.library.config(image.id).os == "linux"
        check = Check(inspections=[BlobInspection(library=puller.library)])
        assert [problem async for problem in check.run(verify=True)] == []
    finally:
        await puller.close()
