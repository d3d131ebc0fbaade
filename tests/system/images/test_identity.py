"""Where an image came from: told by registries alone, and not by its names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from naru.spec.reference import from_repo_tag, parse
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images


def pulled(*repositories: str) -> dict[str, Any]:
    return {"Pull": [{"Repository": repository} for repository in repositories]}


async def test_a_push_and_a_pull_are_remembered(
    images: Images, registry: str, tmp_path: Path
) -> None:
    one, other = f"{registry}/from/here", f"{registry}/and/there"
    await collect(images.loader.load(pieces(docker_archive(f"{one}:1"))))
    assert "Identity" not in images.listing.inspect(f"{one}:1")
    await images.library.tag(f"{one}:1", from_repo_tag(other, "1"))
    await collect(images.pusher.push(parse(f"{one}:1")))
    assert images.listing.inspect(f"{one}:1")["Identity"] == pulled(one)
    await collect(images.pusher.push(parse(f"{other}:1")))
    await images.close()
    await images.open()
    # Known of the image, whatever it is called now.
    await images.removal.remove(f"{one}:1")
    assert images.listing.inspect(f"{other}:1")["Identity"] == pulled(one, other)
    [shown] = images.listing.images(manifests=True, identity=True)
    assert shown["Manifests"][0]["ImageData"]["Identity"] == pulled(one, other)
    [shown] = images.listing.images(manifests=True)
    assert "Identity" not in shown["Manifests"][0]["ImageData"]

    (tmp_path / "elsewhere").mkdir()
    elsewhere = await Images(tmp_path / "elsewhere").open()
    try:
        await collect(elsewhere.puller.pull(parse(f"{other}:1")))
        assert elsewhere.listing.inspect(f"{other}:1")["Identity"] == pulled(other)
    finally:
        await elsewhere.close()


async def test_a_digest_in_an_archive_is_no_origin(images: Images, registry: str) -> None:
    name = f"{registry}/never/pulled@sha256:{'1' * 64}"
    await collect(images.loader.load(pieces(docker_archive(name))))
    [shown] = images.listing.images()
    assert "Identity" not in images.listing.inspect(shown["Id"])
