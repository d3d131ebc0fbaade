"""Layers that arrive in another order than they lie on each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from naru.spec.layers import LayerRecord
from naru.spec.reference import parse
from naru.store.compression import Readable
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images


@pytest.fixture(params=["vfs", "overlay2"])
def root(request: pytest.FixtureRequest, needs_root: None, tmp_path: Path) -> Images:
    return Images(tmp_path, driver=request.param)


async def test_the_upper_layer_first(
    root: Images, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = await root.open()
    try:
        name = parse(f"{registry}/order/{root.driver}:1")
        await collect(images.loader.load(pieces(docker_archive("app:1"))))
        await images.library.tag("app:1", name)
        await collect(images.pusher.push(name))
        for each in ("app:1", name.familiar):
            await images.removal.remove(each)
        assert images.records.layers.values() == []
        came = asyncio.Event()
        register = images.layers.register

        async def late(parent: str | None, diff_id: str, tar: Readable) -> LayerRecord:
            if parent is None:
                await came.wait()
                for _ in range(10):  # the other has got as far as it gets
                    await asyncio.sleep(0)
            else:
                came.set()
            return await register(parent, diff_id, tar)

        monkeypatch.setattr(images.layers, "register", late)
        await collect(images.puller.pull(name))
        assert len(images.library.find(name.familiar).diff_ids) == 2
        assert came.is_set()
    finally:
        await images.close()
