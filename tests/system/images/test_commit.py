"""Commit: a container's changes over its image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from naru.engine.images.commit import Committer
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    Status,
)
from naru.spec.errors import InvalidParameter
from naru.spec.reference import parse
from naru.store.records import put
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images

CONTAINER = "c" * 64


class Engine:
    """The part of the container engine that a commit uses."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self.told: list[str] = []

    def find(self, ref: str) -> ContainerRecord:
        record = self._images.records.containers.get(ref)
        assert record is not None
        return record

    async def pause(self, ref: str) -> None:
        self.told.append("pause")

    async def unpause(self, ref: str) -> None:
        self.told.append("unpause")


@pytest.fixture
async def root(images: Images) -> Path:
    """The mounted tree of a container over app:1."""
    await collect(images.loader.load(pieces(docker_archive("app:1"))))
    image = images.library.find("app:1")
    record = ContainerRecord(
        id=CONTAINER, name="box", created=1, image_id=image.id, chain_id=image.chain_id,
        driver="overlay2", config=ContainerConfig(cmd=["run", "it"], env=["A=b"], image="app:1"),
        host_config=HostConfig(), path="run", args=["it"],
        state=ContainerState(status=Status.RUNNING),
    )  # fmt: skip
    await images.records.commit(put(images.records.containers, record))
    await images.layers.create_writable(CONTAINER, image.chain_id)
    return await images.layers.mount(CONTAINER)


async def test_commit_and_run_on(images: Images, root: Path) -> None:
    engine = Engine(images)
    committer = Committer(library=images.library, containers=engine, pauses=engine, version="0.1")
    try:
        (root / "etc/added").write_text("added")
        os.remove(root / "etc/owned")
        image = await committer.commit(
            CONTAINER, name=parse("app:2"), changes=["ENV C=d", "CMD next"], author="me",
            comment="why",
        )  # fmt: skip
        assert engine.told == ["pause", "unpause"]
        path = await images.layers.view(image.chain_id)
        assert (path / "etc/added").read_text() == "added"
        assert not (path / "etc/owned").exists()
        assert (path / "bin/tool").exists()
        await images.layers.end_view(image.chain_id)
        shown = images.listing.inspect("app:2")
        assert shown["Parent"] == images.library.find("app:1").id
        assert shown["Author"] == "me"
        assert shown["Config"]["Env"] == ["A=b", "C=d"]
        assert shown["Config"]["Cmd"] == ["/bin/sh", "-c", "next"]
        history = images.listing.history("app:2")
        assert [step["CreatedBy"] for step in history] == ["run it", "step 1", "step 0"]
        assert history[0]["Size"] == len("added")
        # Nothing changed: the same layers, one step more.
        await images.layers.unmount(CONTAINER)
        [told] = [e for e in images.records.events() if e.action == "commit"]
        assert told.attributes["imageID"] == image.id
        assert told.attributes["imageRef"] == "app:2"
        with pytest.raises(InvalidParameter, match="unknown instruction"):
            await committer.commit(CONTAINER, changes=["NONSENSE x"])
    finally:
        await images.layers.remove_writable(CONTAINER)


async def test_commit_without_changes_adds_no_layer(images: Images, root: Path) -> None:
    engine = Engine(images)
    committer = Committer(library=images.library, containers=engine, pauses=engine, version="0.1")
    try:
        image = await committer.commit(CONTAINER, pause=False)
        assert engine.told == []
        assert image.diff_ids == images.library.find("app:1").diff_ids
        assert images.listing.history(image.id)[0]["Size"] == 0
    finally:
        await images.layers.remove_writable(CONTAINER)
