"""A tree deeper than Python's stack is unpacked, and removed again."""

from __future__ import annotations

from naru.store.tarentry import Entry
from tests.system.images.archives import collect, docker_archive, pieces, tar
from tests.system.images.conftest import Images


async def test_a_deep_image_comes_and_goes(images: Images) -> None:
    layer = tar([(Entry("a/" * 1500 + "f"), b"deep")])
    await collect(images.loader.load(pieces(docker_archive("deep:1", [layer]))))
    await images.removal.remove("deep:1")
    assert images.records.layers.values() == []
    assert list(images.layers.driver.layers()) == []
