"""Archives whose layers are unpacked beside each other, while the stream goes on."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from naru.spec.errors import InvalidParameter
from naru.spec.layers import LayerRecord, chains
from naru.store.compression import Readable
from naru.store.tarentry import SYMLINK, Entry
from tests.system.images.archives import (
    collect,
    docker_archive,
    layers,
    members_of,
    pieces,
    sha,
    tar,
)
from tests.system.images.conftest import Images


def parts_of(count: int) -> list[bytes]:
    return [tar([(Entry(f"of-{n}"), bytes([n]) * 400_000)]) for n in range(count)]


async def test_many_layers(images: Images) -> None:
    parts = parts_of(9)
    await collect(images.loader.load(pieces(docker_archive("many:1", parts))))
    expected = list(chains([sha(part) for part in parts]))
    assert {record.chain_id for record in images.records.layers.values()} == set(expected)
    top = await images.layers.view(expected[-1])
    assert sorted(path.name for path in top.iterdir()) == [f"of-{n}" for n in range(9)]
    await images.layers.end_view(expected[-1])


async def test_the_same_layer_twice(images: Images) -> None:
    once, other = parts_of(2)
    await collect(images.loader.load(pieces(docker_archive("twice:1", [once, other, once]))))
    assert len(images.records.layers.values()) == 3


LINK = (Entry("0/layer.tar", SYMLINK, linkname="../nowhere"), b"")
OTHER = (Entry("0/layer.tar"), parts_of(2)[1])
PACKED = (Entry("0/layer.tar"), gzip.compress(parts_of(2)[1]))
SMALL = (Entry("0/layer.tar"), b"{}")
LARGE = (Entry("0/layer.tar"), b"{" + b" " * 500_000 + b"}")
EMPTY = (Entry("manifest.json"), b"[]")


@pytest.mark.parametrize(
    "other", [LINK, OTHER, PACKED, SMALL, LARGE, EMPTY],
    ids=["link", "layer", "packed layer", "document", "large document", "manifest"],
)  # fmt: skip
async def test_of_members_of_one_name_the_last_counts(
    images: Images, other: tuple[Entry, bytes]
) -> None:
    """As with dockerd, which makes files of them all first."""
    [part] = parts_of(1)
    archive = docker_archive("same:1", [part])
    members = [(Entry(name), data) for name, data in members_of(archive).items()]
    told = await collect(images.loader.load(pieces(tar([other, *members]))))
    assert told[-1] == {"stream": "Loaded image: same:1\n"}
    image = images.library.find("same:1")
    assert image.size == 400_000
    assert image.diff_ids == [sha(part)]
    await images.removal.remove("same:1")
    later = pieces(tar([*members, other]))
    if other is EMPTY:
        assert await collect(images.loader.load(later)) == []
    else:
        with pytest.raises(InvalidParameter, match=r"no such file|expected"):
            await collect(images.loader.load(later))
    assert images.records.images.values() == []
    assert list(images.blobs.digests()) == []
    assert list(images.layers.driver.layers()) == []


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_a_damaged_layer_leaves_nothing(images: Images, place: int) -> None:
    parts = parts_of(7)
    damaged = bytearray(parts[place])
    damaged[148:156] = b"0000000\0"  # the first header's checksum
    parts[place] = bytes(damaged)
    with pytest.raises(InvalidParameter, match="invalid tar header"):
        await collect(images.loader.load(pieces(docker_archive("bad:1", parts))))
    assert images.records.layers.values() == []
    assert list(images.layers.driver.layers()) == []


async def test_a_stream_that_ends_early_leaves_nothing(images: Images) -> None:
    archive = docker_archive("cut:1", parts_of(5))
    with pytest.raises(InvalidParameter, match="unexpected EOF"):
        await collect(images.loader.load(pieces(archive[: len(archive) // 2])))
    assert list(images.layers.driver.layers()) == []


async def test_two_loads_of_one_archive_at_once(images: Images) -> None:
    archive = docker_archive("both:1", [*layers(), *parts_of(4)])
    await images.tasks.together(
        collect(images.loader.load(pieces(archive, 30_000))) for _ in range(3)
    )
    assert len(images.records.layers.values()) == 6
    assert len(list(images.layers.driver.layers())) == 6


async def test_blobs_are_unpacked_from_the_lowest_up(
    tmp_path: Path, needs_root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the driver needs the layer below, none is begun before that one has its record."""
    images = await Images(tmp_path, driver="vfs").open()
    try:
        parts = parts_of(4)
        register = images.layers.register

        async def checked(parent: str | None, diff_id: str, tar: Readable) -> LayerRecord:
            assert parent is None or images.layers.get(parent) is not None
            return await register(parent, diff_id, tar)

        monkeypatch.setattr(images.layers, "register", checked)
        await collect(images.loader.load(pieces(docker_archive("up:1", parts))))
        assert len(images.records.layers.values()) == 4
    finally:
        await images.close()
