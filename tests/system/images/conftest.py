"""An image store of its own for each test, and Debian's docker-registry for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from naru.engine.images.imports import Importer
from naru.engine.images.layer_blobs import LayerBlobs
from naru.engine.images.library import Library
from naru.engine.images.listing import Listing
from naru.engine.images.load import Loader
from naru.engine.images.pull import Puller
from naru.engine.images.push import Pusher
from naru.engine.images.removal import Removal
from naru.engine.images.save import Saver
from naru.engine.tasks import Tasks
from naru.kernel.workers import Workers
from naru.registry.endpoints import Resolver
from naru.registry.transport import Transport
from naru.store.blobs import BlobStore
from naru.store.choice import choose
from naru.store.layers import LayerStore
from naru.store.records import Records
from tests.system.images.loopback_registry import loopback_registry


class Images:
    """The wired parts; `close()` and `open()` again stand for a restart of the daemon."""

    def __init__(
        self,
        root: Path,
        mirrors: tuple[str, ...] = (),
        *,
        driver: str = "overlay2",
        drop: bool = False,
    ) -> None:
        self.root = root
        self.mirrors = mirrors
        self.driver = driver
        self.drop = drop

    async def open(self) -> Images:
        self.records = Records.open(self.root / "records.db")
        self.blobs = BlobStore(self.root / "blobs")
        driver = choose(self.driver, self.root)
        self.layers = LayerStore(
            root=self.root,
            records=self.records,
            driver=driver,
            run_root=self.root / "run",
            workers=Workers(self.root / "workers.lock"),
        )
        self.tasks = Tasks()
        self.library = Library(records=self.records, blobs=self.blobs, layers=self.layers)
        self.transport = Transport(resolver=Resolver(mirrors=self.mirrors), user_agent="naru/test")
        blobs = self.layer_blobs = LayerBlobs(library=self.library, drop=self.drop)
        self.puller = Puller(
            library=self.library, transport=self.transport, tasks=self.tasks, blobs=blobs
        )
        self.pusher = Pusher(
            library=self.library, transport=self.transport, tasks=self.tasks, blobs=blobs
        )
        self.importer = Importer(library=self.library, transport=self.transport, version="0.1")
        self.loader = Loader(library=self.library)
        self.saver = Saver(library=self.library)
        self.listing = Listing(library=self.library)
        self.removal = Removal(library=self.library)
        await self.layers.recover()
        await self.library.sweeper.recover()
        return self

    async def close(self) -> None:
        await self.tasks.settled()
        await self.tasks.close()
        await self.transport.close()
        await self.layers.close()
        await self.records.close()


@pytest.fixture
async def images(tmp_path: Path) -> AsyncIterator[Images]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "root").mkdir()
    opened = await Images(tmp_path / "root").open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of an empty registry."""
    if shutil.which("docker-registry") is None:
        pytest.skip("needs docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    with loopback_registry(folder, storage={"delete": {"enabled": True}}) as port:
        yield f"127.0.0.1:{port}"
