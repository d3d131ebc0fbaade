"""Run by test_faults in a process of its own, to be killed: pull, load, tag and remove, again and
again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from naru.spec.reference import parse
from tests.system.images.archives import collect, docker_archive, pieces
from tests.system.images.conftest import Images


async def main(root: Path, name: str) -> None:
    images = await Images(root).open()
    print("ready", flush=True)
    while True:
        await collect(images.puller.pull(parse(name)))
        await collect(images.loader.load(pieces(docker_archive("loaded:1"), 4096)))
        await images.library.tag("loaded:1", parse("other:2"))
        for ref in (name, "loaded:1", "other:2"):
            await images.removal.remove(ref)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
