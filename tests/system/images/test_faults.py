"""kill -9 in the middle of pulls, loads and removals leaves a store that a check calls clean."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from naru.engine.check.blobs import BlobInspection
from naru.engine.check.check import Check, Problem
from naru.engine.check.images import ImageInspection
from naru.engine.check.layers import LayerInspection
from naru.spec.reference import parse
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images

_REPOSITORY = Path(__file__).parents[3]


async def problems(images: Images, *, repair: bool = False) -> list[Problem]:
    check = Check(
        inspections=[
            ImageInspection(library=images.library),
            BlobInspection(library=images.library),
            LayerInspection(library=images.library),
        ]
    )
    return [problem async for problem in check.run(repair=repair, verify=True)]


@pytest.mark.parametrize("seed", range(6))
async def test_kill_in_the_middle(images: Images, registry: str, tmp_path: Path, seed: int) -> None:
    name = f"{registry}/killed:1"
    await collect(images.loader.load(pieces(docker_archive(name))))
    await collect(images.pusher.push(parse(name)))
    root = tmp_path / "killed"
    root.mkdir()
    script = Path(__file__).parent / "pull_forever.py"
    environment = {**os.environ, "PYTHONPATH": f"{_REPOSITORY}{os.pathsep}{_REPOSITORY / 'src'}"}
    process = subprocess.Popen(  # noqa: ASYNC220  (short, and nothing else runs here)
        [sys.executable, script, root, name], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        # Any moment will do: the point is that no moment is special.
        time.sleep(random.Random(seed).uniform(0.01, 0.4))  # noqa: ASYNC251
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    again = await Images(root).open()
    try:
        assert await problems(again) == []
        for image in again.records.images.values():
            await again.removal.remove(image.id, force=True)
        assert list(again.blobs.digests()) == []
        await collect(again.puller.pull(parse(name)))
        assert await problems(again) == []
    finally:
        await again.close()


async def test_check_finds_and_repairs(images: Images) -> None:
    await collect(images.loader.load(pieces(docker_archive("app:1"))))
    image = images.library.find("app:1")
    assert await problems(images) == []
    orphan = images.blobs.put(b"nobody's")
    with images.blobs.lease() as lease:
        damaged = await images.layer_blobs.of(image.diff_ids[0], lease)
    images.blobs.path(damaged.id).write_bytes(b"rotten")
    (images.root / "overlay2" / ("e" * 64)).mkdir()
    found = {problem.kind: problem.what for problem in await problems(images)}
    assert found == {
        "orphan-blob": orphan, "damaged-blob": damaged.id, "orphan-layer": "e" * 64,
    }  # fmt: skip
    assert {problem.state for problem in await problems(images, repair=True)} == {"repaired"}
    assert await problems(images) == []
    images.blobs.remove(image.id)
    assert [problem.kind for problem in await problems(images)] == ["missing-blob"]
